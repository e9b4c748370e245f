"""How a sweep's settings and numbers are written, in table, picture and progress alike."""

from collections.abc import Mapping, Sequence

from leptonic.experiment_file import parse_value
from leptonic_simulations.sweep.metric import Metric

__all__ = ["METRIC_NAMES", "setting_text", "settings_text", "short_keys", "shown", "shown_with_spread"]

_VAGUE = ("name", "kind", "rule", "scheme")
"""Last parts of keys that say nothing without the part before."""

METRIC_NAMES = {
    Metric.ACCURACY: "accuracy",
    Metric.BEST_ACCURACY: "best accuracy",
    Metric.LOSS: "loss",
}


def shown(value: float | None, metric: Metric) -> str:
    """A metric's value; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if metric is Metric.LOSS else f"{value:.2%}"


def shown_with_spread(value: float | None, spread: float | None, metric: Metric) -> str:
    """Mean and standard deviation, the latter in percentage points for accuracies."""
    if value is None or spread is None:
        return shown(value, metric)
    return f"{shown(value, metric)} ± {f'{spread:.2g}' if metric is Metric.LOSS else f'{100 * spread:.2f}'}"


def setting_text(text: str) -> str:
    """A setting's value for people: four digits, no quotes."""
    value = parse_value(text)
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else text


def settings_text(settings: Mapping[str, str]) -> str:
    """Settings on one line, keys by their last part."""
    names = short_keys(list(settings))
    return "  ".join(f"{names[key]}={setting_text(text)}" for key, text in settings.items())


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each key by its last part, or by as many parts as tell it from the others."""

    def ending(key: str, parts: int) -> str:
        return ".".join(key.split(".")[-parts:])

    names = {}
    for key in keys:
        lengths = range(2 if ending(key, 1) in _VAGUE else 1, key.count(".") + 2)
        alone = (n for n in lengths if sum(ending(other, n) == ending(key, n) for other in keys) == 1)
        names[key] = ending(key, next(alone, key.count(".") + 1))
    return names
