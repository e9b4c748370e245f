"""The tables of a report: clients, rounds, settings."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from leptonic_server.report.axes import thinned
from leptonic_server.report.facts import STATUSES, Facts, Tally
from leptonic_server.report.markup import Markup, join, tag
from leptonic_server.report.wording import bound, counted, duration, measure
from leptonic_server.store import RoundRecord

__all__ = ["clients_table", "rounds_table", "settings_tables"]

MOST_CLIENTS = 100
MOST_ROUNDS = 200
LONGEST_DETAIL = 160
"""Characters of a client's message that are shown; the run store has it whole."""


def clients_table(facts: Facts) -> Markup:
    """One row per client; of very many, those that were most often not counted."""
    shown, left_out = facts.tallies, ""
    if not any(tally.invited for tally in shown):
        return tag("p", "No client has been asked yet.", class_="quiet")
    if len(shown) > MOST_CLIENTS:
        worst = sorted(shown, key=lambda tally: -tally.missed)[:MOST_CLIENTS]
        left_out = f"Shown: the {MOST_CLIENTS} of {len(shown):,} clients that were most often not counted."
        shown = tuple(sorted(worst, key=lambda tally: tally.client))
    private = any(tally.epsilon is not None for tally in shown)
    heads = ["Client", "Invited", *(status.capitalize() for status in STATUSES), "Mean work", *["Epsilon"] * private]
    rows = [_client_row(tally, private=private) for tally in shown]
    note = tag("p", left_out, class_="quiet") if left_out else ""
    return join([note, _table([*heads, "Last trouble"], rows, class_="clients")])


def _client_row(tally: Tally, *, private: bool) -> Markup:
    # Under privacy clients do not say how long they have worked.
    work = duration(tally.seconds / tally.statuses["counted"]) if tally.statuses["counted"] and tally.seconds else ""
    cells = [tag("th", tag("bdi", tally.name), scope="row"), _number(tally.invited)]
    cells += [_number(tally.statuses[status], alarm=status != "counted") for status in STATUSES]
    cells.append(tag("td", work))
    if private:
        cells.append(tag("td", "" if tally.epsilon is None else bound(tally.epsilon)))
    return tag("tr", *cells, tag("td", _trouble(tally), class_="words"))


def _number(count: int, *, alarm: bool = False) -> Markup:
    return tag("td", counted(count), class_="nil" if not count else "alarm" if alarm else None)


def _trouble(tally: Tally) -> Markup:
    if tally.trouble is None:
        return Markup()
    number, record = tally.trouble
    detail = record.detail if len(record.detail) <= LONGEST_DETAIL else record.detail[:LONGEST_DETAIL] + "\u2026"
    return join([f"round {number}, {record.status}", ": " if detail else "", tag("bdi", detail)])


def rounds_table(facts: Facts) -> Markup:
    """The numbers behind the charts, one row per round, exact bytes."""
    rounds = thinned(facts.rounds, MOST_ROUNDS)
    groups = (("server", "metrics"), ("clients", "client_metrics"), ("training", "train"))
    columns = [
        (title, group, name)
        for title, group in groups
        for name in sorted({name for record in facts.rounds for name in getattr(record, group)})
    ]
    heads = ["Round", *(f"{name.replace('_', ' ').capitalize()}, {title}" for title, _, name in columns)]
    heads += ["Counted", "Down, bytes", "Up, bytes", "Seconds", "Learning rate", "Model"]
    rows = [_round_row(record, [(group, name) for _, group, name in columns]) for record in rounds]
    note = (
        f"Shown: {len(rounds)} of {len(facts.rounds):,} rounds; metrics.jsonl has them all."
        if len(rounds) < len(facts.rounds)
        else ""
    )
    return join([tag("p", note, class_="quiet") if note else "", _table(heads, rows)])


def _round_row(record: RoundRecord, columns: list[tuple[str, str]]) -> Markup:
    cells: list[Markup] = [tag("th", counted(record.round), scope="row")]
    for group, name in columns:
        values = getattr(record, group)
        cells.append(tag("td", measure(name, values[name]) if name in values else ""))
    cells += [
        tag("td", f"{record.survivors:,} of {record.cohort:,}"),
        tag("td", counted(record.bytes_down)),
        tag("td", counted(record.bytes_up)),
        tag("td", f"{sum(record.seconds.values()):.3f}"),
        tag("td", f"{record.learning_rate:g}"),
        tag("td", tag("code", record.model_sha256[:12], title=record.model_sha256)),
    ]
    return tag("tr", *cells)


def settings_tables(facts: Facts) -> Markup:
    """The resolved experiment by section; what differs from a default stands out."""
    experiment = facts.experiment
    plain = [_setting(*entry) for entry in _fields(experiment) if not isinstance(entry[1], BaseModel)]
    tables = [_section("experiment", plain)]
    for key, value, _ in _fields(experiment):
        if isinstance(value, BaseModel):
            tables.append(_section(key, [_setting(*entry) for entry in _flat(value)]))
    note = tag("p", "Bold: chosen for this experiment, not the default.", class_="quiet")
    return join([note, tag("div", *tables, class_="settings")])


def _fields(section: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    for key, field in type(section).model_fields.items():
        yield key, getattr(section, key), field


def _flat(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys of a section; those of a section within it as partition.scheme."""
    for key, value, field in _fields(section):
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value, field


def _setting(key: str, value: Any, field: Any) -> Markup:
    changed = "changed" if field.is_required() or value != field.default else None
    shown = "not set" if value is None else value if isinstance(value, str) else json.dumps(value)
    note = f" {field.description}" if field.description else ""
    return tag(
        "tr",
        tag("th", tag("code", key), scope="row"),
        tag("td", shown, class_=changed),
        tag("td", note, class_="words"),
    )


def _section(name: str, rows: list[Markup]) -> Markup:
    title = tag("h3", f"[{name}]" if name != "experiment" else "experiment")
    return tag("div", title, tag("table", tag("tbody", *rows)))


def _table(heads: list[str], rows: list[Markup], class_: str | None = None) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads)))
    return tag("div", tag("table", head, tag("tbody", *rows), class_=class_), class_="scroll")
