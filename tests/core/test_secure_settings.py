"""``[secure_aggregation]``: what it refuses when the experiment is read, and what is derived from it."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.experiment_commands import app
from leptonic.experiment_file import from_mapping


def made(**sections: Any) -> Experiment:
    return from_mapping({"name": "secure", "secure_aggregation": {}, **sections})


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"aggregation": {"rule": "krum"}}, "looks at single updates"),
        ({"aggregation": {"rule": "median"}}, "looks at single updates"),
        ({"evaluation": {"on": ["server", "clients"], "holdout": 0.2}}, "each one's metrics"),
        ({"scenario": {"asynchronous": {"concurrency": 5, "buffer": 5}}}, "discounted one by one"),
        ({"secure_aggregation": {"bits": 20}}, "24 or more"),
        ({"secure_aggregation": {"neighbours": 7}}, "an even number"),
        ({"secure_aggregation": {"threshold": 3}}, "threshold"),
        ({"secure_aggregation": {"protocol": "leptonic-secagg/2"}}, "leptonic-secagg/1"),
        ({"federation": {"clients": 2}}, "take 3 or more"),
        ({"secure_aggregation": {"colluders": 9}}, "assume fewer"),
        ({"federation": {"clients": 30, "cohort": 10, "over_selection": 1.0}}, "waits for fewer"),
        ({"secure_aggregation": {"neighbours": 4}}, "4 neighbours are not enough"),
    ],
)
def test_what_cannot_be_summed_securely_is_refused(sections: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExperimentError, match=reason):
        made(**sections)


@pytest.mark.parametrize(("clients", "needed"), [(3, 3), (4, 3), (5, 4), (10, 7), (20, 14), (50, 34), (100, 67)])
def test_as_many_are_needed_as_a_third_of_colluders_asks_for(clients: int, needed: int) -> None:
    assert made(federation={"clients": clients}).needed == needed


def test_the_file_can_ask_for_more_and_never_for_less() -> None:
    assert made(federation={"clients": 10, "minimum": 9}).needed == 9
    assert made(federation={"clients": 10, "minimum": 2}).needed == 7


def test_without_the_section_nothing_changes() -> None:
    plain = from_mapping({"name": "secure"})
    assert b"secure_aggregation" not in plain.canonical
    assert plain.hash != made().hash
    assert plain.needed == plain.federation.needed == 5


def test_masks_or_none_is_how_a_simulation_executes_and_not_the_experiment() -> None:
    assert made(simulation={"secure_aggregation": "ideal"}).hash == made().hash


def test_a_check_says_what_a_sum_bears(tmp_path: Path) -> None:
    file = tmp_path / "secure.toml"
    file.write_text("[secure_aggregation]\n[federation]\nclients = 20\n")
    said = CliRunner().invoke(app, ["check", str(file)]).output
    assert "against a lying coordinator that 6 clients may help" in said
    assert "bears 6 drop-outs, a sum holds 8 honest updates at least" in said
