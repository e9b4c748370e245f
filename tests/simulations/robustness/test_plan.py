"""The runs of a study: alike but for the rule and the attack, and refused before any work."""

from typing import Any

import pytest
from tests.simulations.small import experiment

from leptonic.errors import ExperimentError
from leptonic.experiment import KrumRule, TrimmedMeanRule
from leptonic_simulations.robustness.plan import ATTACKS, RULES, Plan, plan_of


def made(*, rules: tuple[str, ...] = RULES, attacks: tuple[str, ...] = ATTACKS, **sections: Any) -> Plan:
    return plan_of(experiment(**{"federation": {"clients": 10}, **sections}), rules, attacks)


def test_every_rule_meets_every_attack_and_none_first() -> None:
    plan = made()
    assert [cell.name for cell in plan.cells[:6]] == [f"{rule}-none" for rule in RULES]
    assert {(cell.rule, cell.attack) for cell in plan.cells} == {(r, a) for r in RULES for a in (*ATTACKS, "none")}
    assert len({cell.experiment.hash for cell in plan.cells}) == 42 == len(plan.cells)


def test_cells_differ_in_rule_and_attack_alone() -> None:
    scenario = {"stragglers": {}, "liars": {"clients": [1, 4], "attack": {"name": "scale", "factor": 3.0}}}
    plan = made(scenario=scenario)
    contents = [cell.experiment.model_dump(exclude={"aggregation", "scenario"}) for cell in plan.cells]
    assert all(content == contents[0] for content in contents)
    for cell in plan.cells:
        found = cell.experiment.scenario
        assert found is not None
        assert found.stragglers is not None
        assert (found.liars is None) == (cell.attack == "none")
        if found.liars is not None:
            assert found.liars.clients == [1, 4]
            assert found.liars.attack.name == cell.attack
            assert found.liars.attack.model_dump().get("factor") == {"scale": 3.0, "sign_flip": 1.0}.get(
                cell.attack, 1.0 if cell.attack == "inner_product" else None
            )


def test_without_a_scenario_of_its_own_nobody_lies_in_the_first_column_and_a_fifth_in_the_others() -> None:
    plan = made(rules=("mean",))
    assert plan.cells[0].experiment.scenario is None
    assert plan.liars == plan.expected == 2


def test_rules_are_made_for_the_liars_that_are_expected() -> None:
    federation = {"clients": 40, "cohort": 12, "minimum": 6}
    plan = made(federation=federation, scenario={"liars": {"fraction": 0.2}}, attacks=("scale",))
    rules = {cell.rule: cell.experiment.aggregation for cell in plan.cells}
    assert plan.expected == 3  # 8 of 40, so 2.4 of 12
    trimmed, krum, multi = rules["trimmed_mean"], rules["krum"], rules["multi_krum"]
    assert isinstance(trimmed, TrimmedMeanRule)
    assert isinstance(krum, KrumRule)
    assert isinstance(multi, KrumRule)
    assert trimmed.trim == 0.25
    assert (krum.byzantine, krum.select) == (3, 1)
    assert (multi.byzantine, multi.select) == (3, 6)
    assert plan.cells[0].experiment.federation.minimum == 9  # 2 * 3 + 3


def test_a_rule_that_the_experiment_sets_stays_as_it_is() -> None:
    plan = made(aggregation={"rule": "trimmed_mean", "trim": 0.4, "range": 2.0}, rules=("trimmed_mean", "median"))
    assert plan.cells[0].experiment.aggregation == TrimmedMeanRule(rule="trimmed_mean", trim=0.4, range=2.0)
    assert plan.cells[1].experiment.aggregation.range == 2.0


def test_a_cohort_too_small_for_krum_is_said() -> None:
    plan = made(federation={"clients": 6}, scenario={"liars": {"fraction": 0.5}}, attacks=("scale",))
    assert [note for note in plan.notes if "krum" in note] == [
        "krum: made for 1 of 3 liars, the most that cohorts of 6 allow",
        "multi_krum: made for 1 of 3 liars, the most that cohorts of 6 allow",
    ]


def test_an_attack_that_only_repeats_the_mean_is_said() -> None:
    assert "only repeats the honest mean" in made().notes[0]
    assert made(attacks=("scale",)).notes == []
    liars = {"fraction": 0.2, "attack": {"name": "a_little_is_enough", "z": 1.5}}
    assert made(scenario={"liars": liars}).notes == []


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"rules": ("average",)}, "--rules: average"),
        ({"attacks": ()}, "--attacks: none"),
        ({"attacks": ("none",)}, "--attacks: none"),
        ({"evaluation": {"on": []}}, "evaluation.on"),
        ({"federation": {"clients": 2}}, "nobody of 2 clients lies"),
        ({"scenario": {"asynchronous": {"concurrency": 2, "buffer": 2}}}, "compared by rounds"),
        ({"federation": {"clients": 2}, "scenario": {"liars": {"fraction": 0.5}}}, "against none: .* needs"),
        ({"algorithm": {"name": "scaffold"}}, "needs exact sums"),
    ],
)
def test_what_is_impossible_is_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        made(**sections)
