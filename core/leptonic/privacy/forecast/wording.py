"""A forecast on the terminal, and as JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from leptonic.privacy.forecast.client_unit import ClientForecast
from leptonic.privacy.forecast.example_unit import ExampleForecast, ExampleOutlook
from leptonic.privacy.forecast.points import Target, some_rounds
from leptonic.privacy.forecast.signal import Signal
from leptonic.privacy.hadamard import padded_size

__all__ = ["json_of", "print_forecast", "title_of"]

MOST_ROWS = 8
_MECHANISMS = {
    "distributed": "shares of noise within secure aggregation",
    "local": "noise in each client's own message",
    "server": "noise by a trusted server",
    "correlated": "correlated noise by a trusted server",
}


def json_of(forecast: ClientForecast | ExampleForecast) -> str:
    """One JSON object, infinities as null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [finite(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(asdict(forecast)), indent=2, allow_nan=False)


def title_of(forecast: ClientForecast | ExampleForecast) -> str:
    """What is promised, in a line."""
    stated = forecast.stated
    how = "DP-SGD on each client" if isinstance(forecast, ExampleForecast) else _MECHANISMS[str(stated["mechanism"])]
    unit = "example" if isinstance(forecast, ExampleForecast) else "client"
    return (
        f"{forecast.name}: epsilon {stated['target_epsilon']:g} at delta {stated['delta']:g} per {unit}, by {how},"
        f" over {forecast.rounds} rounds"
    )


def print_forecast(forecast: ClientForecast | ExampleForecast) -> None:
    """Tables to the terminal."""
    console = Console(highlight=False)
    console.print(title_of(forecast), style="bold", markup=False)
    console.print()
    if isinstance(forecast, ClientForecast):
        console.print(_facts(_client_facts(forecast)))
    else:
        console.print(_outlooks(forecast))
    console.print(_by_round(forecast))
    console.print(_targets(forecast))
    if isinstance(forecast, ClientForecast) and forecast.collusion:
        console.print(_collusion(forecast))
    _paragraphs(console, "", dict.fromkeys(_impossible(forecast)))
    several = isinstance(forecast, ExampleForecast) and len(forecast.outlooks) > 1
    _paragraphs(console, "the median client: " if several else "", [forecast.statement])
    _paragraphs(console, "assumes: ", forecast.assumptions)
    _paragraphs(console, "warning: ", forecast.warnings, style="yellow")


def _paragraphs(console: Console, lead: str, texts: Iterable[str], style: str | None = None) -> None:
    for text in texts:
        console.print(lead + text, style=style, markup=False)


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value, style=None)
    return table


def _client_facts(forecast: ClientForecast) -> list[tuple[str, str]]:
    stated = forecast.stated
    rows = [
        ("model", f"{forecast.size:,} parameters"),
        ("clip", f"{stated['clip_norm']:g}, on the norm of a client's whole update"),
        ("clients", _counts(forecast)),
        ("joins", f"{stated['participations']} rounds of one client at most, of {forecast.rounds}"),
    ]
    rows += _integer_noise(forecast) if "scale" in stated else _server_noise(forecast)
    return [*rows, *_signal(forecast.signal, "mean of a round")]


def _counts(forecast: ClientForecast) -> str:
    stated = forecast.stated
    honest = f", {stated['honest']} of them honest" if stated.get("colluders") else ""
    return (
        f"{forecast.clients:,}; {stated['invited']:,} invited to a round, a sum holds {stated['minimum']:,} at"
        f" least{honest}, divided by {stated['denominator']:,.0f}"
    )


def _integer_noise(forecast: ClientForecast) -> list[tuple[str, str]]:
    stated = forecast.stated
    deviation, clip_norm = float(stated["local_deviation"]), float(stated["clip_norm"])
    law = str(stated["noise"]).replace("_", " ")
    wrap, inflation = forecast.wrap_chance or 0.0, (forecast.inflation or 1.0) - 1
    return [
        ("noise", f"{law}; each client's has deviation {deviation:.4g}, {deviation / clip_norm:.3g} of the clip"),
        (
            "integers",
            f"{padded_size(forecast.size):,} words of {stated['bits']} bits, {stated['scale']:,.6g} steps to a unit",
        ),
        ("rounding", f"lengthens a clipped update by {inflation:.2%} at most; counted in the noise"),
        ("wrapping", f"{wrap:.1e} of the coordinates at most; costs accuracy, no privacy"),
    ]


def _server_noise(forecast: ClientForecast) -> list[tuple[str, str]]:
    stated = forecast.stated
    noise = f"Gaussian, multiplier {stated['noise_multiplier']:.4g}"
    rows = [("noise", noise + (" for the whole run" if "band" in stated else " on each sum"))]
    if "update_noise_multiplier" in stated:
        rows.append(
            (
                "adaptive clip",
                f"counts with deviation {stated['bit_deviation']:.3g}, which leaves the updates a multiplier of"
                f" {stated['update_noise_multiplier']:.4g}",
            )
        )
    if forecast.against_fresh is not None:
        rows.append(("band", f"{stated['band']} rounds from one of a client to its next; all together are one release"))
        rows.append(("correlation", f"over all rounds, {forecast.against_fresh:.3g} of fresh noise's deviation"))
    return rows


def _signal(signal: Signal, what: str) -> list[tuple[str, str]]:
    return [
        (what, f"noise of {signal.deviation:.3g} in each coordinate, {signal.of_clip:.3g} of the clip"),
        (
            "",
            f"in norm {_times(signal.per_round)} the clip; over the run {_times(signal.over_run)} what updates add to",
        ),
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times"


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _outlooks(forecast: ExampleForecast) -> Table:
    table = _table("client", *(one.which for one in forecast.outlooks))
    table.columns[0].justify = "left"
    rows: list[tuple[str, list[str]]] = [
        ("examples", [f"{one.examples:,}" for one in forecast.outlooks]),
        ("batch, steps", [f"{one.batch_size:,}, {one.steps:,}" for one in forecast.outlooks]),
        ("sampling rate", [f"{one.sample_rate:.4g}" for one in forecast.outlooks]),
        ("noise multiplier", [f"{one.noise_multiplier:.4f}" for one in forecast.outlooks]),
        ("epsilon, PRV", [_up(one.epsilon) for one in forecast.outlooks]),
        ("epsilon, Renyi", [_up(one.epsilon_rdp) for one in forecast.outlooks]),
        ("epsilon, PLD", [_pld(one) for one in forecast.outlooks]),
        ("noise in a coordinate / clip", [f"{one.signal.of_clip:.3g}" for one in forecast.outlooks]),
        ("noise of a step / clip, in norm", [f"{one.signal.per_round:.3g}" for one in forecast.outlooks]),
        ("the same over the run", [f"{one.signal.over_run:.3g}" for one in forecast.outlooks]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _pld(outlook: ExampleOutlook) -> str:
    return "not installed" if outlook.epsilon_pld is None else _up(outlook.epsilon_pld)


def _up(epsilon: float) -> str:
    """Rounded up: it is a bound."""
    return f"{math.ceil(round(epsilon * 1000, 6)) / 1000:.3f}"


def _by_round(forecast: ClientForecast | ExampleForecast) -> Table:
    """One column for each client whose plan is told."""
    joined = isinstance(forecast, ClientForecast)
    if isinstance(forecast, ClientForecast):
        names, curves = ["epsilon"], [forecast.curve]
    else:
        several = len(forecast.outlooks) > 1
        names = [f"epsilon, {one.which}" if several else "epsilon" for one in forecast.outlooks]
        curves = [one.curve for one in forecast.outlooks]
    table = _table("after round" if joined else "rounds trained", *["rounds joined"] * joined, *names)
    points = curves[0]
    for place in some_rounds(len(points), MOST_ROWS):
        row = points[place - 1]
        epsilons = [next(one.epsilon for one in curve if one.round == row.round) for curve in curves]
        table.add_row(str(row.round), *[str(row.joined)] * joined, *(_up(each) for each in epsilons))
    return table


def _targets(forecast: ClientForecast | ExampleForecast) -> Table:
    distributed = "scale" in forecast.stated
    noise = "each client's noise / clip" if distributed else "noise multiplier"
    table = _table("for epsilon", noise, f"noise of a {_mean(forecast)} / clip, in norm", "over the run")
    unit = float(forecast.stated["clip_norm"]) if distributed else 1.0
    for target in forecast.targets:
        table.add_row(f"{target.epsilon:g}", *_needs(target, unit))
    return table


def _mean(forecast: ClientForecast | ExampleForecast) -> str:
    return "mean" if isinstance(forecast, ClientForecast) else "step"


def _needs(target: Target, unit: float) -> list[str]:
    if target.noise is None or target.signal is None:
        return ["cannot be met", "", ""]
    return [f"{target.noise / unit:.4g}", f"{target.signal.per_round:.3g}", f"{target.signal.over_run:.3g}"]


def _impossible(forecast: ClientForecast | ExampleForecast) -> Iterable[str]:
    return (f"epsilon {one.epsilon:g}: {one.impossible}" for one in forecast.targets if one.impossible)


def _collusion(forecast: ClientForecast) -> Table:
    fewest = forecast.stated["minimum"]
    table = _table(
        f"if of {fewest} clients",
        "collude, honest",
        "epsilon is",
        "or each one's noise / clip",
        "noise of a mean / clip",
    )
    clip_norm = float(forecast.stated["clip_norm"])
    for row in forecast.collusion:
        needs = _needs(Target(0.0, row.noise, row.signal), clip_norm)[:2]
        mark = "as assumed" if row.colluders == forecast.stated["colluders"] else ""
        table.add_row(mark, f"{row.colluders}, {row.honest}", _up(row.epsilon), *needs)
    return table
