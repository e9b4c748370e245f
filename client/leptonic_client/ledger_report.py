"""A ledger in tables for its owner, and as JSON and CSV for a record."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from leptonic.plain_text import plain
from leptonic.privacy.ledger import Cost, Limits
from leptonic.privacy.ledger.books import Books, Group
from leptonic.privacy.ledger.entries import Data, Reserve, Settle
from leptonic.privacy.ledger.file import Link
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, SampledGaussian, Skellam

__all__ = ["as_csv", "as_json", "tables"]

BAR = 24
"""Letters of a bar."""


def tables(books: Books, limits: Limits, *, lineage: str | None, delta: float) -> Iterator[Table]:
    """What each run of each data set has cost, then what is left of the limits on this lineage."""
    for name in sorted({group.lineage for group in books.charged}):
        yield _runs(books, name, delta)
    if limits and lineage is not None:
        yield _limits(books, limits, lineage)


def as_json(links: Sequence[Link]) -> str:
    """Every entry with its number and hash; of data, only that they were noted."""
    rows = []
    for link in links:
        left_out = {"fingerprint"} if isinstance(link.entry, Data) else None
        entry = link.entry.model_dump(mode="json", exclude=left_out)
        rows.append({"number": link.number, **entry, "hash": link.hash.hex()})
    return json.dumps({"entries": rows, "head": links[-1].hash.hex()}, indent=2, allow_nan=False) + "\n"


def as_csv(links: Sequence[Link]) -> str:
    """A row for each reservation, with what became of it; without the curves."""
    outcomes = {link.entry.reservation: link.entry.outcome for link in links if isinstance(link.entry, Settle)}
    rows: list[dict[str, Any]] = []
    for link in links:
        if isinstance(link.entry, Reserve):
            entry = link.entry.model_dump(mode="json", exclude={"kind", "curve"})
            entry["parameters"] = json.dumps(entry["parameters"], sort_keys=True)
            row = {"number": link.number, **entry, "outcome": outcomes.get(link.number, ""), "hash": link.hash.hex()}
            rows.append({key: _inert(value) if isinstance(value, str) else value for key, value in row.items()})
    names = ["number", *(name for name in Reserve.model_fields if name not in ("kind", "curve")), "outcome", "hash"]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _inert(text: str) -> str:
    """Not a formula to a spreadsheet: run and purpose are words of the coordinator."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _runs(books: Books, lineage: str, delta: float) -> Table:
    table = Table(title=f"data set {plain(lineage)}: epsilon at delta {delta:g}", title_justify="left")
    for column in ("run", "purpose", "mechanism", "rounds"):
        table.add_column(column, overflow="fold")
    for column in ("per example", "per client"):
        table.add_column(column, justify="right", no_wrap=True)
    groups = [group for group in books.charged if group.lineage == lineage]
    for run in dict.fromkeys(group.run for group in groups):
        own = [group for group in groups if group.run == run]
        table.add_row(
            plain(run),
            plain(own[0].purpose or ""),
            "\n".join(_mechanism(group.cost) for group in own),
            _rounds(books, own),
            *_epsilons(books, delta, lambda group, own=own: group in own),  # type: ignore[misc]
        )
    table.add_section()
    table.add_row("together", "", "", "", *_epsilons(books, delta, lambda group: group.lineage == lineage))
    return table


def _limits(books: Books, limits: Limits, lineage: str) -> Table:
    assert limits.delta is not None
    title = f"limits per {limits.unit} on {plain(lineage)}, at delta {limits.delta:g}"
    table = Table(title=title, title_justify="left")
    for column in ("limit", "spent", "of", "left", ""):
        table.add_column(column, justify="left" if column in ("limit", "") else "right", no_wrap=True)
    for limit in limits.standing(lineage):
        spent = books.spent(limits.unit, limit.where).epsilon(limits.delta)
        left = max(0.0, limit.most - spent)
        table.add_row(limit.name, _number(spent), f"{limit.most:g}", f"{left:.3f}", _bar(spent / limit.most))
    if limits.run is not None:
        table.add_row("max_epsilon_run", "", f"{limits.run:g}", "", "of each run")
    return table


def _bar(part: float) -> Text:
    full = round(BAR * min(1.0, part))
    colour = "green" if part < 0.75 else "yellow" if part <= 1 else "red"
    return Text("█" * full, style=colour) + Text("░" * (BAR - full), style="dim")


def _rounds(books: Books, groups: Sequence[Group]) -> str:
    """How often rounds were charged, and of how many no outcome is known or none came."""
    run = groups[0].run
    if any(group.cost.mechanism is None for group in groups):
        return "any number"
    notes = {"unsettled": books.waits(run), "failed": books.failed[run]}
    said = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
    return f"{sum(books.charged[group] for group in groups)}" + (f" ({said})" if said else "")


def _epsilons(books: Books, delta: float, where: Callable[[Group], bool]) -> list[str]:
    return [_number(books.spent(unit, where).epsilon(delta)) for unit in ("example", "client")]


def _number(epsilon: float) -> str:
    return f"{epsilon:.3f}" if math.isfinite(epsilon) else "unbounded"


def _mechanism(cost: Cost) -> str:
    """One round's mechanism, in a line."""
    match cost.mechanism:
        case None:
            return "none: without privacy"
        case SampledGaussian(noise_multiplier=noise, sample_rate=rate):
            said = f"Gaussian, noise {noise:.4g}" + (f", sampled at {rate:.4g}" if rate < 1 else "")
        case Skellam(variance=variance):
            said = f"Skellam, variance {variance:.4g}"
        case DistributedDiscreteGaussian(local_variance=variance, parties=parties):
            said = f"discrete Gaussian, variance {variance:.4g} of {parties} parties"
    return f"{said}, {cost.times} steps" if cost.times != 1 else said
