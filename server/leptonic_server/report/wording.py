"""How a report writes numbers: bytes, seconds, percentages, epsilons, lists of rounds."""

import math
from collections.abc import Iterable

__all__ = ["bound", "brief_size", "counted", "duration", "in_rounds", "measure", "plural", "size"]


def measure(name: str, value: float) -> str:
    """A metric: accuracy in percent, everything else with four significant digits."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4g}"


def bound(epsilon: float) -> str:
    """An upper bound, rounded up to three decimals so that it still is one."""
    if not math.isfinite(epsilon):
        return "not finite"
    return f"{math.ceil(round(epsilon * 1000, 6)) / 1000:.3f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Bytes in decimal units, three significant digits."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            value = count / scale
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return "1 byte" if count == 1 else f"{count:.0f} bytes"


def brief_size(count: float) -> str:
    """Bytes at a tick: no digits that say nothing."""
    value, unit = size(count).split()
    return "0" if not count else f"{float(value):g} {unit}"


def duration(seconds: float) -> str:
    """Seconds in the one or two units that matter."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms" if seconds else "0 s"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"


def counted(number: int) -> str:
    """A whole number with thousands set off."""
    return f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun: 1 round, 2 rounds."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def in_rounds(numbers: Iterable[int], most: int = 8) -> str:
    """Rounds for a sentence, runs of three or more joined: rounds 1, 4\u20139 and 12. At most so many parts."""
    numbers = sorted(set(numbers))
    noun = "round" if len(numbers) == 1 else "rounds"
    parts: list[str] = []
    for first, last in _runs(numbers):
        parts += [f"{first}\u2013{last}"] if last - first > 1 else [str(n) for n in range(first, last + 1)]
    if len(parts) > most:
        return f"{noun} {', '.join(parts[:most])} and others"
    words = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{noun} {words}"


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
