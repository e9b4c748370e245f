"""The whole page, and its file. No scripts, no requests: a policy in the page forbids both."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic import __version__
from leptonic.errors import RunError
from leptonic.files import write_atomic
from leptonic_server.report.curves import curves
from leptonic_server.report.facts import Facts, read_facts
from leptonic_server.report.heat_map import label_map
from leptonic_server.report.markup import Markup, tag
from leptonic_server.report.overview import overview
from leptonic_server.report.tables import clients_table, rounds_table, settings_tables
from leptonic_server.report.wording import counted
from leptonic_server.store import RunStore

__all__ = ["write_report"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_report(
    store: RunStore, *, label_counts: NDArray[np.int64] | None = None, class_names: Sequence[str] = ()
) -> Path:
    """Write ``report.html`` into the run's folder, whole or not at all; the same store gives the same bytes.

    label_counts: (clients, classes), examples by label, which only a simulation can know. class_names: of the
    classes, by label. Returns the file's path. Raises RunError if no round is committed yet, or if label
    counts are given for a deployed run.
    """
    facts = read_facts(store)
    if label_counts is not None and facts.mode != "simulated":
        raise RunError(f"{store.folder}: label counts of a {facts.mode} run must not be known here; leave them out")
    if label_counts is not None and (label_counts.ndim != 2 or not label_counts.size):
        raise RunError(f"label_counts has shape {label_counts.shape}, expected (clients, classes)")
    path = store.folder / "report.html"
    write_atomic(path, _page(facts, label_counts, class_names).encode())
    return path


def _page(facts: Facts, label_counts: NDArray[np.int64] | None, class_names: Sequence[str]) -> str:
    labels = Markup() if label_counts is None else label_map(label_counts, class_names, facts.name)
    body = tag(
        "main",
        overview(facts),
        tag("section", tag("h2", "Rounds"), curves(facts), _folded("All rounds as a table", rounds_table(facts))),
        tag("section", tag("h2", "Clients"), labels, tag("div", clients_table(facts), class_="card")),
        tag("section", tag("h2", "Settings"), _folded(_settings_summary(facts), settings_tables(facts))),
        _footer(facts),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{facts.experiment.name} \u00b7 Leptonic"),
        tag("style", Markup(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def _folded(summary: str, content: Markup) -> Markup:
    return tag("details", tag("summary", summary), content, class_="card")


def _settings_summary(facts: Facts) -> str:
    settings, federation = facts.experiment, facts.experiment.federation
    return (
        f"All settings of the experiment: {settings.algorithm.name}, {settings.model.name}, {settings.data.name}, "
        f"{counted(federation.clients)} clients, {counted(settings.training.rounds)} rounds, seed {settings.seed}"
    )


def _footer(facts: Facts) -> Markup:
    return tag(
        "footer",
        tag("p", "Run ", tag("code", facts.run), " \u00b7 experiment ", tag("code", facts.experiment.hash)),
        tag("p", f"Made from run.sqlite by Leptonic {__version__}. This page loads nothing and runs no scripts."),
    )
