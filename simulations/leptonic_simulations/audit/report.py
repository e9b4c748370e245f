"""What an audit leaves behind: a table for the terminal, JSON for programs, a page with the picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from leptonic import __version__
from leptonic.files import write_atomic
from leptonic_simulations.audit.findings import LEVEL, Finding
from leptonic_simulations.audit.study import Study

__all__ = ["table", "title_of", "verdict_of", "write"]

COLOURS = {"holds": "green", "contradicted": "bold red", "warns": "yellow", "shown": "dim"}
TOLD = ("guesses who was there", "canary clients")
"""Audits whose details are worth a line on the terminal."""
ABOUT = f"""\
A claim is *contradicted* by what no correct run shows: deterministically, or, for statistical tests, with probability
{LEVEL:g} at most over all tests together. That nothing is contradicted does not prove the claim: an audit finds faults
of the code that is installed here, run under these settings; it does not look into the past of a run."""
DEMONSTRATION = """\
Each client has one image and makes one step: the easiest case for an attacker. Success shows what protection is for; an
attack that fails proves nothing, since a better one may not. The picture shows examples of the data: keep it as you
keep those."""


def title_of(study: Study) -> str:
    """What was audited, in a line."""
    privacy = study.experiment.privacy
    if privacy is None:
        return f"{study.experiment.name}: no privacy claimed"
    mechanism = "DP-SGD" if privacy.unit == "example" else privacy.mechanism
    return (
        f"{study.experiment.name}: epsilon {privacy.epsilon:g} at delta {privacy.delta:g}, per {privacy.unit}"
        f" ({mechanism})"
    )


def verdict_of(study: Study) -> str:
    """The outcome, in a line."""
    if study.experiment.privacy is None and not study.contradicted:
        return "nothing to contradict"
    count, warned = len(study.contradicted), sum(finding.verdict == "warns" for finding in study.findings)
    if count:
        return f"the claim is contradicted by {count} of {len(study.findings)} findings"
    return "nothing contradicts the claim" + (f"; {warned} warned" if warned else "")


def table(study: Study) -> Table:
    """A row for each finding, under the name of its audit; the page tells more of each."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("checked")
    shown.add_column("claimed", justify="right")
    shown.add_column("found", justify="right")
    shown.add_column("", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    last = ""
    for finding in study.findings:
        if finding.audit != last:
            shown.add_row(f"[bold]{finding.audit}[/bold]")
            last = finding.audit
        colour, told = COLOURS[finding.verdict], f"  {finding.question}"
        if finding.detail and (finding.verdict in ("contradicted", "warns") or finding.audit in TOLD):
            told += f"\n    [dim]{finding.detail}[/dim]"
        verdict = f"[{colour}]{finding.verdict}[/{colour}]"
        shown.add_row(told, _number(finding.claimed), _number(finding.found), finding.unit, verdict)
    return shown


def write(study: Study, folder: Path, *, run: str | None, picture: Path | None) -> None:
    """Write audit.json and audit.md. picture: in the folder, if one was drawn."""
    content: dict[str, Any] = {
        "experiment": study.experiment.name,
        "hash": study.experiment.hash,
        "run": run,
        "version": __version__,
        "level": LEVEL,
        "contradicted": bool(study.contradicted),
        "verdict": verdict_of(study),
        "seconds": round(study.seconds, 1),
        "notes": list(study.notes),
        "findings": [asdict(finding) for finding in study.findings],
    }
    write_atomic(folder / "audit.json", (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode())
    write_atomic(folder / "audit.md", _page(study, picture).encode())


def _page(study: Study, picture: Path | None) -> str:
    lines = [f"# Audit of {title_of(study)}", "", f"**{verdict_of(study)[0].upper()}{verdict_of(study)[1:]}.**", ""]
    lines += [ABOUT, "", "| audit | checked | claimed | found | verdict |", "|---|---|---|---|---|"]
    for finding in study.findings:
        verdict = f"**{finding.verdict}**" if finding.verdict in ("contradicted", "warns") else finding.verdict
        checked = f"{finding.question}. {finding.detail}" if finding.detail else finding.question
        cells = (finding.audit, checked, _number(finding.claimed), _with_unit(finding), verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", *(f"- {note}" for note in study.notes)]
    if picture is not None:
        lines += ["", f"![What a server makes of a first update]({picture.name})", "", DEMONSTRATION]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _with_unit(finding: Finding) -> str:
    return f"{_number(finding.found)} {finding.unit}".strip() if finding.found is not None else ""


def _finite(value: Any) -> Any:
    """JSON knows no infinity: null stands for what is not finite."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and value - value != 0 else value
