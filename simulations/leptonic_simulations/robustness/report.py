"""What a study leaves behind: JSON for programs, a table for the terminal; the picture is drawn elsewhere."""

import json
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from leptonic import __version__
from leptonic.files import write_atomic
from leptonic_simulations.robustness.plan import NONE, Cell
from leptonic_simulations.robustness.study import Study
from leptonic_simulations.scenario.liars import attack_of

__all__ = ["as_json", "meaning_of", "table", "title_of", "write_json"]


def title_of(study: Study) -> str:
    """What was studied, in a line."""
    base = study.plan.base
    return (
        f"{base.name}: {study.plan.liars} of {base.federation.clients} clients lie, "
        f"cohorts of {base.federation.wanted}, {base.training.rounds} rounds"
    )


def meaning_of(study: Study) -> str:
    """What it means to survive."""
    return f"survives: at most {study.within:g} points below the same rule without an attack"


def table(study: Study) -> Table:
    """Accuracy in percent by rule and attack; what survives is marked."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("rule", no_wrap=True)
    for attack in (NONE, *study.plan.attacks):
        shown.add_column(attack.replace("_", " "), justify="right")
    for rule in study.plan.rules:
        shown.add_row(rule.replace("_", " "), *(_cell(study, rule, attack) for attack in (NONE, *study.plan.attacks)))
    return shown


def as_json(study: Study) -> str:
    """Everything that was found, with the settings of every rule and attack."""
    base, plan = study.plan.base, study.plan
    content = {
        "version": __version__,
        "experiment": base.model_dump(mode="json"),
        "clients": base.federation.clients,
        "cohort": base.federation.wanted,
        "liars": plan.liars,
        "within_points": study.within,
        "notes": plan.notes,
        "rules": {cell.rule: cell.experiment.aggregation.model_dump(mode="json") for cell in plan.cells},
        "attacks": {
            cell.attack: attack.model_dump(mode="json") for cell in plan.cells if (attack := attack_of(cell.experiment))
        },
        "outcomes": [_outcome(study, cell) for cell in plan.cells],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_json(study: Study, path: Path) -> None:
    """Write :func:`as_json`, whole or not at all."""
    write_atomic(path, as_json(study).encode())


def _cell(study: Study, rule: str, attack: str) -> str:
    accuracy = study.outcome(rule, attack).accuracy
    shown = "broke down" if accuracy is None else f"{100 * accuracy:.1f}"
    if attack == NONE:
        return shown
    return f"[green]{shown}+[/green]" if study.survives(rule, attack) else f"[red]{shown} [/red]"


def _outcome(study: Study, cell: Cell) -> dict[str, object]:
    one = study.outcome(cell.rule, cell.attack)
    return {
        "rule": one.rule,
        "attack": one.attack,
        "accuracy": one.accuracy,
        "best_accuracy": one.best_accuracy,
        "points_lost": study.lost(one.rule, one.attack),
        "survives": study.survives(one.rule, one.attack),
        "model_sha256": one.model_sha256,
        "seconds": one.seconds,
        "reason": one.reason,
        "hash": cell.experiment.hash,
        "folder": cell.name,
    }
