"""The charts over rounds: metrics, bytes, time, epsilon, survivors."""

from collections.abc import Callable, Iterator, Mapping

from leptonic_server.report.axes import Along, ticks
from leptonic_server.report.charts import Limit, Series, line_chart, stacked_bars
from leptonic_server.report.facts import Facts
from leptonic_server.report.markup import Markup, tag
from leptonic_server.report.wording import bound, brief_size, counted, duration, measure, size
from leptonic_server.store import RoundRecord

__all__ = ["curves"]

_PHASES = {"plan": 6, "send": 4, "collect": 1, "aggregate": 3, "evaluate": 2, "commit": 5}
"""The phases of a round in order, each with its colour."""
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("min", 60.0), ("s", 1.0))
"""Units of virtual time; the largest of which a run takes two is drawn."""
_LEADS = {
    "accuracy": "The part of the examples that the model gets right.",
    "loss": "What training makes small: lower is better.",
    "staleness_mean": "Server's steps since the counted clients were given the model, on average.",
    "staleness_max": "Server's steps since the slowest counted client was given the model.",
    "stale_dropped": "Updates older than scenario.asynchronous.max_staleness.",
}


def curves(facts: Facts) -> Markup:
    """Every chart that the run has numbers for, in a grid."""
    charts = [
        *_metrics(facts),
        *_virtual_time(facts),
        *_epsilon(facts),
        *_survivors(facts),
        _bytes(facts),
        _time(facts),
    ]
    if not any(charts):
        return tag("p", "Nothing to draw yet: no round was trained or evaluated.", class_="quiet")
    return tag("div", *charts, class_="grid")


def _metrics(facts: Facts) -> Iterator[Markup]:
    rounds = facts.rounds
    names = {name for r in rounds for group in (r.metrics, r.client_metrics, r.train) for name in group}
    for name in sorted(names, key=lambda name: (name != "accuracy", name != "loss", name)):
        series = [
            Series("server's test data", 1, _values(facts, name, lambda r: r.metrics)),
            Series("clients' held-out data", 2, _values(facts, name, lambda r: r.client_metrics)),
            Series("local training, mean", 3, _values(facts, name, lambda r: r.train)),
        ]
        yield line_chart(
            f"{name.replace('_', ' ').capitalize()} by round",
            _LEADS.get(name, "As the task sums it."),
            [one for one in series if one.points],
            shown=lambda value, name=name: measure(name, value),  # type: ignore[misc]
            tick=(lambda value: f"{value:.4g}") if name != "accuracy" else _percent,
        )


def _values(
    facts: Facts, name: str, group: Callable[[RoundRecord], Mapping[str, float]]
) -> tuple[tuple[int, float], ...]:
    return tuple((record.round, group(record)[name]) for record in facts.rounds if name in group(record))


def _virtual_time(facts: Facts) -> Iterator[Markup]:
    """Accuracy against the clock of a simulation's scenario."""
    points = [
        (record.virtual_seconds, record.metrics["accuracy"])
        for record in facts.rounds
        if record.virtual_seconds is not None and "accuracy" in record.metrics
    ]
    if points and points[-1][0] > 0:
        unit, scale = next(((unit, scale) for unit, scale in _UNITS if points[-1][0] >= 2 * scale), _UNITS[-1])
        yield line_chart(
            "Accuracy by virtual time",
            "By the scenario's clock: downloads, local work, uploads and waiting. The server's own work takes none.",
            [Series("server's test data", 1, tuple((time / scale, value) for time, value in points))],
            shown=lambda value: measure("accuracy", value),
            tick=_percent,
            along=Along(
                unit,
                lambda place: f"After {duration(place * scale)}",
                lambda low, high: [mark for mark in ticks(low, high, 8) if low <= mark <= high],
            ),
        )


def _percent(value: float) -> str:
    return f"{value * 100:.4g}%"


def _epsilon(facts: Facts) -> Iterator[Markup]:
    privacy = facts.experiment.privacy
    if privacy is not None and facts.epsilons:
        yield line_chart(
            "Epsilon by round",
            f"The largest of any client so far, per {privacy.unit}, at delta = {privacy.delta:g}.",
            [Series("epsilon", 4, facts.epsilons)],
            shown=bound,
            tick=lambda value: f"{value:.4g}",
            limit=Limit(f"target {privacy.epsilon:g}", privacy.epsilon),
        )


def _survivors(facts: Facts) -> Iterator[Markup]:
    cohorts = {(record.cohort, record.survivors) for record in facts.trained}
    if len(cohorts) > 1 or any(cohort != survivors for cohort, survivors in cohorts):
        yield stacked_bars(
            "Cohort by round",
            "Invited clients, and how many of them were counted.",
            [
                Series("counted", 1, tuple((r.round, float(r.survivors)) for r in facts.trained)),
                Series("not counted", 5, tuple((r.round, float(r.cohort - r.survivors)) for r in facts.trained)),
            ],
            shown=lambda value: counted(round(value)),
            tick=lambda value: f"{value:g}",
        )


def _bytes(facts: Facts) -> Markup:
    return stacked_bars(
        "Bytes by round",
        "Encoded messages between coordinator and clients.",
        [
            Series("down, to clients", 1, tuple((r.round, float(r.bytes_down)) for r in facts.trained)),
            Series("up, from clients", 3, tuple((r.round, float(r.bytes_up)) for r in facts.trained)),
        ],
        shown=size,
        tick=brief_size,
    )


def _time(facts: Facts) -> Markup:
    seen = {phase for record in facts.trained for phase in record.seconds}
    phases = [phase for phase in _PHASES if phase in seen] + sorted(seen - _PHASES.keys())
    series = [
        Series(
            phase, _PHASES.get(phase, 1 + index % 6), tuple((r.round, r.seconds.get(phase, 0.0)) for r in facts.trained)
        )
        for index, phase in enumerate(phases)
    ]
    lead = "Where the coordinator's time went; the clients' work is in collect."
    return stacked_bars("Time by round", lead, series, shown=duration, tick=lambda value: f"{value:g} s")
