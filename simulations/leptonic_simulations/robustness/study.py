"""Runs a study's cells, one after another; what is done is not done again."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from leptonic.errors import RunError
from leptonic_server.evaluation import Evaluator
from leptonic_server.outputs import result_of
from leptonic_server.run_folder import open_run
from leptonic_server.store import RunStore
from leptonic_simulations.robustness.plan import NONE, Cell, Plan
from leptonic_simulations.run import simulate

__all__ = ["Outcome", "Study", "run_study"]

BROKE_DOWN = "broke_down"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell. accuracy: at the end, in [0, 1]; None if the run broke down, for a reason."""

    rule: str
    attack: str
    accuracy: float | None
    best_accuracy: float | None
    model_sha256: str | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Study:
    """All outcomes. within: points of accuracy that an attack may cost a rule that survives it."""

    plan: Plan
    within: float
    outcomes: tuple[Outcome, ...]

    def outcome(self, rule: str, attack: str) -> Outcome:
        """Of one cell."""
        return next(one for one in self.outcomes if (one.rule, one.attack) == (rule, attack))

    def lost(self, rule: str, attack: str) -> float | None:
        """Points of accuracy that the attack costs the rule; None where a run broke down."""
        without, under = self.outcome(rule, NONE).accuracy, self.outcome(rule, attack).accuracy
        return None if without is None or under is None else 100 * (without - under)

    def survives(self, rule: str, attack: str) -> bool:
        """Whether the rule, under the attack, stays within so many points of itself without one."""
        lost = self.lost(rule, attack)
        # Accuracies are counts over the test set: what is equal on paper must not fail by rounding.
        return lost is not None and lost <= self.within + 1e-9


def run_study(plan: Plan, folder: Path, *, within: float, on_outcome: Callable[[Outcome], None]) -> Study:
    """Run what is missing in ``folder``, a run's folder for each cell. Raises RunError where another run is there.

    on_outcome: is told of each cell in the plan's order, at once if it was done before.
    """
    outcomes = []
    for cell in plan.cells:
        outcomes.append(_known(cell, folder / cell.name) or _run(cell, folder / cell.name))
        on_outcome(outcomes[-1])
    return Study(plan, within, tuple(outcomes))


def _known(cell: Cell, folder: Path) -> Outcome | None:
    """The outcome that stands in the cell's folder."""
    if not (folder / "run.sqlite").exists():
        return None
    with closing(RunStore(folder)) as store:
        if store.run is None or store.experiment.hash != cell.experiment.hash:
            return None
        if store.note(BROKE_DOWN) is None and store.last_round() != cell.experiment.training.rounds:
            return None
        return _outcome(cell, store)


def _run(cell: Cell, folder: Path) -> Outcome:
    """Simulate a cell; a model that a lie has blown up is an outcome too."""
    begun = (folder / "run.sqlite").exists()
    layout = Evaluator(cell.experiment).layout.hash
    # What is wrong with the folder must not pass for the work of an attack.
    with open_run(cell.experiment, layout=layout, mode="simulated", folder=folder, resume=begun):
        pass
    try:
        simulate(cell.experiment, folder=folder, resume=True, quiet=True)
        reason = None
    except RunError as error:
        reason = str(error)
    with closing(RunStore(folder)) as store:
        if reason is not None:
            store.keep(BROKE_DOWN, reason)
        return _outcome(cell, store)


def _outcome(cell: Cell, store: RunStore) -> Outcome:
    result, reason = result_of(store), store.note(BROKE_DOWN)
    return Outcome(
        rule=cell.rule,
        attack=cell.attack,
        accuracy=None if reason else result.accuracy,
        best_accuracy=result.best_accuracy,
        model_sha256=None if reason else result.model_sha256,
        seconds=result.seconds,
        reason=reason or "",
    )
