"""Which runs a study is made of: one experiment for each rule and attack, alike in everything else."""

import math
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from leptonic.errors import ExperimentError
from leptonic.experiment import ALittleIsEnough, Attack, Experiment, KrumRule, Liars, OwnData, Scenario
from leptonic.experiment_file import from_mapping
from leptonic_simulations.scenario.liars import attack_of
from leptonic_simulations.scenario.lies import hidden_deviations

__all__ = ["ATTACKS", "NONE", "RULES", "Cell", "Plan", "plan_of"]

RULES = ("mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median")
ATTACKS = ("sign_flip", "scale", "label_flip", "gaussian", "a_little_is_enough", "inner_product")
NONE = "none"
"""The name of the column in which nobody lies."""
USUAL_LIARS = Liars(fraction=0.2)
"""Who lies where the experiment does not say."""
LARGEST_TRIM = 0.49


@dataclass(frozen=True)
class Cell:
    """One run. attack: its name, NONE where nobody lies."""

    rule: str
    attack: str
    experiment: Experiment

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.rule}-{self.attack}"


@dataclass(frozen=True)
class Plan:
    """A study. cells: those without an attack first. liars: of all clients; expected: of a cohort, rounded up."""

    base: Experiment
    rules: tuple[str, ...]
    attacks: tuple[str, ...]
    liars: int
    expected: int
    cells: tuple[Cell, ...]

    @property
    def notes(self) -> list[str]:
        """What a reader of the outcome should know."""
        cohort = self.base.federation.wanted
        said = [
            f"{cell.rule}: made for {cell.experiment.aggregation.byzantine} of {self.expected} liars, "
            f"the most that cohorts of {cohort} allow"
            for cell in self.cells[: len(self.rules)]
            if isinstance(cell.experiment.aggregation, KrumRule)
            and cell.experiment.aggregation.byzantine < self.expected
        ]
        if any(_hides(cell.experiment) for cell in self.cells):
            z = hidden_deviations(cohort, self.expected)
            said.append(f"a_little_is_enough: z = {z:.3g}, by its formula for {self.expected} liars of {cohort}")
            said[-1] += "; it only repeats the honest mean" if z == 0 else ""
        return said


def plan_of(base: Experiment, rules: tuple[str, ...], attacks: tuple[str, ...]) -> Plan:
    """The study of an experiment. Raises ExperimentError where a cell is impossible, before any work."""
    for given, allowed, option in ((rules, RULES, "--rules"), (attacks, ATTACKS, "--attacks")):
        unknown = [name for name in given if name not in allowed]
        if unknown or not given:
            raise ExperimentError(f"{option}: {unknown[0] if unknown else 'none'}: choose of {', '.join(allowed)}")
    if "server" not in base.evaluation.on or (isinstance(base.data, OwnData) and base.data.test_path is None):
        raise ExperimentError(
            "evaluation: what a rule survives is measured on the server's test data; "
            "set evaluation.on = ['server'], and data.test_path with data of one's own"
        )
    if base.scenario and base.scenario.asynchronous:
        raise ExperimentError("scenario.asynchronous: rules are compared by rounds, which it has none of; leave it out")
    liars = base.scenario.liars if base.scenario and base.scenario.liars else USUAL_LIARS
    count = liars.count(base.federation.clients)
    if not count:
        raise ExperimentError(f"scenario.liars: nobody of {base.federation.clients} clients lies; name more")
    expected = math.ceil(count * base.federation.wanted / base.federation.clients)
    attacks = tuple(dict.fromkeys(attacks))
    rules = tuple(dict.fromkeys(rules))
    cells = [
        Cell(rule, attack, _experiment(base, liars, rule, attack, expected))
        for attack in (NONE, *attacks)
        for rule in rules
    ]
    return Plan(base, rules, attacks, count, expected, tuple(cells))


def _experiment(base: Experiment, liars: Liars, rule: str, attack: str, expected: int) -> Experiment:
    wanted = base.federation.wanted
    # The same for all rules, and enough for Krum to be defined.
    minimum = max(base.federation.needed, min(wanted, 2 * expected + 3))
    content = base.model_dump()
    content["federation"]["minimum"] = minimum
    content["aggregation"] = _rule(base, rule, expected, minimum)
    content["scenario"] = _scenario(base, liars, attack)
    content["outputs"] |= {"report": False, "tensorboard": False}
    return from_mapping(content, source=f"{rule} against {attack}")


def _rule(base: Experiment, rule: str, expected: int, minimum: int) -> dict[str, Any]:
    """The rule as the experiment sets it, else made for as many liars as are expected."""
    settings = base.aggregation
    multi = settings.rule == "krum" and settings.select > 1
    if rule == ("multi_krum" if multi else settings.rule):
        return settings.model_dump()
    byzantine = max(0, min(expected, (minimum - 3) // 2))
    made_for: dict[str, dict[str, Any]] = {
        "trimmed_mean": {"trim": min(LARGEST_TRIM, expected / base.federation.wanted)},
        "krum": {"byzantine": byzantine},
        "multi_krum": {"byzantine": byzantine, "select": minimum - byzantine},
    }
    name = "krum" if rule == "multi_krum" else rule
    return {"rule": name, "range": settings.range, **made_for.get(rule, {})}


def _scenario(base: Experiment, liars: Liars, attack: str) -> dict[str, Any] | None:
    scenario = base.scenario or Scenario()
    if attack == NONE:
        left = scenario.model_copy(update={"liars": None})
        return None if left == Scenario() else left.model_dump()
    default: Attack = TypeAdapter(Attack).validate_python({"name": attack})
    chosen = liars.attack if liars.attack.name == attack else default
    return scenario.model_copy(update={"liars": liars.model_copy(update={"attack": chosen})}).model_dump()


def _hides(experiment: Experiment) -> bool:
    """Whether the liars hide among the honest as deep as the formula says."""
    attack = attack_of(experiment)
    return isinstance(attack, ALittleIsEnough) and attack.z is None
