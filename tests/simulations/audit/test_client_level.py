"""The audits of client-level privacy find nothing in correct code, whoever adds the noise, and each planted fault."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulations.audit import faults
from tests.simulations.small import experiment

from leptonic.errors import PrivacyError
from leptonic.experiment import Experiment
from leptonic_simulations.audit.client_bounds import client_accounting, client_bounds
from leptonic_simulations.audit.client_canaries import ClientCanaries, client_canaries
from leptonic_simulations.audit.client_messages import plan_of
from leptonic_simulations.audit.client_noise import client_noise
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.subject import Auditor, Subject, auditing

PRIVACY = {"unit": "client", "epsilon": 8.0, "delta": 1e-3, "clip_norm": 0.5}
SECURE = {"bits": 20}
KINDS: dict[str, dict[str, Any]] = {
    "server": {"privacy": {**PRIVACY, "mechanism": "server"}},
    "adaptive": {"privacy": {**PRIVACY, "mechanism": "server", "epsilon": 20.0, "adaptive_clip": {}}},
    "correlated": {"privacy": {**PRIVACY, "mechanism": "correlated", "band": 2}},
    "distributed": {"privacy": {**PRIVACY, "mechanism": "distributed"}, "secure_aggregation": SECURE},
    "discrete": {
        "privacy": {**PRIVACY, "mechanism": "distributed", "noise": "discrete_gaussian"},
        "secure_aggregation": SECURE,
    },
    "local": {"privacy": {**PRIVACY, "mechanism": "local"}},
}
# Half of them are guessed: coins that fall unevenly never force a wrong guess.
CANARIES = ClientCanaries(canaries=128, seconds=60.0)
MOVES = "one client, aimed at each of 2 parameters, moves a sum by"

Audit = Callable[[Auditor], list[Finding]]


def canaries(auditor: Auditor) -> list[Finding]:
    return client_canaries(auditor, CANARIES)


def private(kind: str, **changes: Any) -> Experiment:
    sections = KINDS[kind]
    return experiment(
        federation={"clients": 200, "cohort": 60},
        aggregation={"rule": "mean", "weighting": "uniform"},
        training={"rounds": 6, "local_steps": 1, "batch_size": 2},
        **{**sections, "privacy": {**sections["privacy"], **changes}},
    )


def accused(audit: Audit, made: Experiment, **parts: Any) -> set[str]:
    """The questions whose answer contradicts the claim."""
    with auditing(Subject(made, **parts)) as auditor:
        return {finding.question for finding in audit(auditor) if finding.verdict == "contradicted"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("audit", [client_accounting, client_bounds, client_noise, canaries])
def test_nothing_is_found_in_correct_clients_and_servers(kind: str, audit: Audit) -> None:
    assert accused(audit, private(kind)) == set()


@pytest.mark.parametrize("kind", ["distributed", "local"])
def test_noise_that_clients_leave_out_is_caught(kind: str) -> None:
    found = accused(client_noise, private(kind), trainer=faults.without_share)
    assert "variance, the least of any part" in found


def test_noise_that_the_server_leaves_out_is_caught() -> None:
    found = accused(client_noise, private("server"), server_noise=faults.no_server_noise)
    assert "variance, the least of any part" in found


def test_noise_that_the_server_leaves_out_shows_who_was_there() -> None:
    made = private("server", epsilon=0.5)
    with auditing(Subject(made, server_noise=faults.no_server_noise)) as auditor:
        guessed, estimated = canaries(auditor)
    assert guessed.verdict == "contradicted"
    assert estimated.verdict == "warns"


def test_a_local_message_without_noise_shows_who_was_there() -> None:
    made = private("local", epsilon=0.5)
    assert len(accused(canaries, made, trainer=faults.without_share)) == 1


@pytest.mark.parametrize("kind", ["distributed", "discrete"])
def test_a_clip_that_leaves_entries_out_is_caught(kind: str) -> None:
    assert MOVES in accused(client_bounds, private(kind), trainer=faults.skips_entries)


def test_a_clip_for_the_server_that_leaves_entries_out_is_caught() -> None:
    assert MOVES in accused(client_bounds, private("server"), trainer=faults.skips_entries_of_clip)


def test_the_same_noise_at_two_clients_is_caught_and_nothing_else() -> None:
    assert accused(client_noise, private("distributed"), client=faults.SharedNoise) == {"left between clients"}


def test_the_same_noise_in_two_rounds_is_caught_and_nothing_else() -> None:
    assert accused(client_noise, private("distributed"), client=faults.RepeatedNoise) == {"left between rounds"}
    found = accused(client_noise, private("server"), server_noise=faults.repeated_server_noise)
    assert found == {"left between rounds"}


def test_noise_that_is_left_out_of_the_count_that_moves_the_clip_is_caught() -> None:
    with auditing(Subject(private("adaptive"), server_noise=faults.no_noise_on_counts)) as auditor:
        accused = [finding for finding in client_noise(auditor) if finding.verdict == "contradicted"]
    assert [finding.question for finding in accused] == [
        "variance of the count that moves the clip",
        "left between its rounds",
    ]


def test_a_sum_of_few_clients_cannot_be_guessed_at_and_says_so() -> None:
    made = experiment(
        federation={"clients": 10},
        aggregation={"rule": "mean", "weighting": "uniform"},
        **{**KINDS["distributed"], "privacy": {**KINDS["distributed"]["privacy"], "delta": 1e-2}},
    )
    with auditing(Subject(made)) as auditor:
        (finding,) = canaries(auditor)
    assert finding.verdict == "shown"
    assert "guesses need 8" in finding.detail


def test_an_experiment_without_client_level_privacy_is_refused() -> None:
    with auditing(Subject(experiment())) as auditor, pytest.raises(PrivacyError, match="no client-level privacy"):
        plan_of(auditor)


def test_a_sum_has_all_the_noise_that_is_counted_on_even_if_memory_holds_fewer_canaries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = private("distributed", epsilon=0.5)
    monkeypatch.setattr("leptonic_simulations.audit.client_canaries.MOST_ENTRIES", 10 * 650)
    with auditing(Subject(made)) as auditor:
        assert plan_of(auditor).honest > 10
        guessed, _ = canaries(auditor)
    assert guessed.figures["canaries"] == 10
    assert guessed.verdict == "holds"
