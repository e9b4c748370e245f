"""Secure aggregation in simulations: the same model as sums in the clear, whatever goes wrong on the way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import TRAINING, Run, experiment, stopped_at

from leptonic.errors import RunError
from leptonic.secagg import expansion
from leptonic.secagg.ahead import Ahead, Part
from leptonic.secagg.binding import hashed
from leptonic.secagg.client import ready
from leptonic.secagg.client.masked import Agreed, Unmasked
from leptonic.secagg.client.ready import pair_mask
from leptonic.secagg.encoding import decoded
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import SignedRecord
from leptonic_server.outputs import Result
from leptonic_server.secure.coordinator import SecureCoordinator
from leptonic_server.store import RunStore
from leptonic_simulations import run as simulation
from leptonic_simulations import secure
from leptonic_simulations.run import simulate

TEN = {"clients": 10}
UNIFORM = {"rule": "mean", "weighting": "uniform"}

CASES: dict[str, dict[str, Any]] = {
    "three clients": {},
    "ten clients": {"federation": TEN},
    "control variates": {"federation": TEN, "algorithm": {"name": "scaffold"}},
    "normalised steps": {"federation": TEN, "algorithm": {"name": "fednova"}},
    "a drawn cohort": {"federation": {"clients": 20, "cohort": 8, "over_selection": 0.25}},
    "a ring of neighbours": {
        "federation": {"clients": 20},
        "secure_aggregation": {"adversary": "curious", "neighbours": 8, "colluders": 1, "drop_outs": 1},
    },
    "24 bits": {"federation": TEN, "secure_aggregation": {"bits": 24}},
    "11 bits": {"federation": TEN, "secure_aggregation": {"bits": 11}, "aggregation": {**UNIFORM, "range": 0.5}},
    "trained together": {"federation": TEN, "simulation": {"engine": "batched"}},
    "in processes": {"federation": TEN, "simulation": {"engine": "processes", "workers": 2}},
    "silent before training": {"federation": TEN, "scenario": {"drop_outs": {"probability": 0.15}}},
    "silent after training": {
        "federation": TEN,
        "scenario": {"drop_outs": {"probability": 0.15, "at": "after_training"}},
    },
    "slow": {"federation": {**TEN, "deadline": 4.0}, "scenario": {"stragglers": {"compute_spread": 1.0}}},
}


def both(run: Run, **sections: Any) -> tuple[Result, Result]:
    """The same experiment with sums in the clear, and with masks."""
    content = {"secure_aggregation": {}, **sections}
    settings = {"engine": "sequential", **sections.get("simulation", {})}
    ideal = run(experiment(**{**content, "simulation": {**settings, "secure_aggregation": "ideal"}}))
    return ideal, run(experiment(**{**content, "simulation": settings}))


@pytest.mark.parametrize("case", CASES)
def test_masks_change_nothing_in_the_model(run: Run, case: str) -> None:
    ideal, real = both(run, **CASES[case])
    assert real.model_sha256 == ideal.model_sha256
    assert real.bytes_up > ideal.bytes_up


@pytest.fixture
def found_ahead(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Masks are expanded ahead by two processes, however few. Of every sum of masks: whether it was foreseen."""
    monkeypatch.setattr(expansion, "WORTH_IT", 0)
    monkeypatch.setattr(simulation, "cores", lambda: 2)
    found: list[bool] = []
    sum_of = Ahead.sum_of

    @contextmanager
    def noted(ahead: Ahead, length: int, masks: Sequence[Mask]) -> Iterator[Part | None]:
        with sum_of(ahead, length, masks) as summed:
            found.append(summed is not None)
            yield summed

    monkeypatch.setattr(Ahead, "sum_of", noted)
    return found


@pytest.mark.parametrize("case", ["ten clients", "a ring of neighbours", "24 bits", "silent after training"])
def test_masks_that_are_expanded_ahead_change_nothing_either(run: Run, case: str, found_ahead: list[bool]) -> None:
    ideal, real = both(run, **CASES[case])
    assert real.model_sha256 == ideal.model_sha256
    assert all(found_ahead) == (case != "silent after training")


def test_a_client_that_derives_other_masks_is_not_helped(
    run: Run, found_ahead: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's keys but its own decide what a client's input is masked with."""

    def deviating(secret: bytes, session: bytes, view: bytes, client: bytes, other: bytes) -> Mask:
        mask = pair_mask(secret, session, view, client, other)
        return Mask(bytes(32), mask.negative) if (client, other) == (b"client-1", b"client-2") else mask

    monkeypatch.setattr(ready, "pair_mask", deviating)
    with pytest.raises(RunError, match="the sum of 10 clients was opened and cannot be right"):
        run(experiment(federation=TEN, secure_aggregation={}))
    assert not all(found_ahead)


def test_a_session_that_comes_to_nothing_is_given_up_and_its_work_asked_for_again(run: Run) -> None:
    """Of ten clients seven are needed, and often fewer answer: the same model is asked for in several sessions."""
    silent = {"drop_outs": {"probability": 0.35, "at": "after_training"}}
    training = {**TRAINING, "rounds": 4}
    ideal, real = both(run, federation={**TEN, "attempts": 40}, scenario=silent, training=training)
    assert real.model_sha256 == ideal.model_sha256
    store = RunStore(Path(real.run_dir))
    attempts = [record.attempt for record in store.rounds()]
    store.close()
    assert max(attempts) > 1


def test_without_the_quorum_that_gives_up_the_work_is_not_done_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leptonic_server.secure.given_up.GivenUp.give_up", lambda *_: None)
    silent = {"drop_outs": {"probability": 0.35, "at": "after_training"}}
    made = experiment(
        federation={**TEN, "attempts": 5}, scenario=silent, training={**TRAINING, "rounds": 4}, secure_aggregation={}
    )
    with pytest.raises(RunError, match="nobody proves that it was given up"):
        run(made)


def test_a_resumed_run_ends_with_the_same_model(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment(federation=TEN, secure_aggregation={}, training={**TRAINING, "rounds": 4})
    whole = run(made)
    with stopped_at(monkeypatch, "round_committed", 3), pytest.raises(KeyboardInterrupt):
        simulate(made, folder=tmp_path / "broken", quiet=True)
    resumed = simulate(made, folder=tmp_path / "broken", resume=True, quiet=True)
    assert resumed.model_sha256 == whole.model_sha256
    records(resumed, rounds=4)


def test_every_round_leaves_a_record_that_names_the_one_before(run: Run) -> None:
    result = run(experiment(federation=TEN, secure_aggregation={}, training={**TRAINING, "rounds": 3}))
    made = records(result, rounds=3)
    assert len({record.record.sum for record in made}) == 3
    for record in made:
        assert len(record.record.survivors.survivors) == 10
        assert len(record.record.signatures) >= 7


def records(result: Result, *, rounds: int) -> list[SignedRecord]:
    """The records of a run's rounds, whose chain is checked."""
    store = RunStore(Path(result.run_dir))
    made = [decoded(SignedRecord, content) for content in store.transcripts()]
    store.close()
    assert [record.record.opening.round for record in made] == list(range(1, rounds + 1))
    previous = bytes(32)
    for record in made:
        assert record.record.previous == previous
        previous = hashed(record.record)
    return made


def test_a_steady_round_takes_three_trips(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    ask = SecureCoordinator._begin

    def noted(coordinator: SecureCoordinator, *arguments: Any) -> Any:
        exchange, original = coordinator._exchange, coordinator._exchange.ask
        if not hasattr(exchange, "noted"):
            exchange.noted = True  # type: ignore[attr-defined]
            exchange.ask = lambda step, **named: (  # type: ignore[method-assign]
                asked.append((named["round_number"], step)),
                original(step, **named),
            )[1]
        return ask(coordinator, *arguments)

    monkeypatch.setattr(SecureCoordinator, "_begin", noted)
    run(experiment(federation=TEN, secure_aggregation={}, training={**TRAINING, "rounds": 3}))
    trips = ["open", "share", "train"]
    ends = [(4, "open"), (4, "share"), (3, "record")]
    assert asked == [(number, step) for number in (1, 2, 3) for step in trips] + ends


def test_who_may_have_lied_about_a_secret_is_kept_with_the_round(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unmask = Agreed.unmask

    def lied(agreed: Agreed, content: bytes) -> Unmasked:
        unmasked = unmask(agreed, content)
        if agreed.standing.client != b"client-1":
            return unmasked
        return Unmasked(unmasked.agreement, replace(unmasked._released, seed=bytes(32)))

    made = experiment(federation=TEN, secure_aggregation={})
    honest = run(made)
    monkeypatch.setattr(Agreed, "unmask", lied)
    result = run(made)
    assert result.model_sha256 == honest.model_sha256
    store = RunStore(Path(result.run_dir))
    said = {record.client: record.detail for number, _, record in store.clients() if number == 1}
    store.close()
    assert said.pop(1) == "client-1 has released another seed than its own"
    assert set(said.values()) == {""}


def test_a_population_without_keys_is_refused_with_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure, "MOST_CLIENTS", 5)
    with pytest.raises(RunError, match=r"set simulation\.secure_aggregation"):
        run(experiment(federation=TEN, secure_aggregation={}))
