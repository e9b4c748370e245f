"""Noise of client-level privacy: exact integer draws and the rotation, beside NumPy's draws of unknown error.

On one thread, medians. The first draw of a width also computes its tables. Stored as docs/results/private_noise.json,
with a table beside it.

    python benchmarks/private_noise.py [--quick] [--json]
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from reporting import Figure, arguments, report, write_table

from leptonic.privacy.hadamard import walsh_hadamard
from leptonic.privacy.integer_noise import discrete_gaussian, skellam
from leptonic.randomness import SecureStream

DEVIATIONS = (1.0, 1e3, 1e6)
LIMIT = 3.0
"""Seconds for a million draws."""

ABOUT = """A million draws each, on one thread. *ours*: exact integer laws (within 2^-119 of them) from ChaCha20's
keystream. *NumPy*: PCG64 and floating-point rejection, which no privacy proof covers: the price of exactness."""


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of ``work``."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def draws(name: str, ours: Callable[[int], object], numpys: Callable[[int], object], repeats: int) -> list[Figure]:
    """The tables' time, and that of a million draws beside NumPy's."""
    tables = seconds(lambda: ours(1), 1)
    exact, floating = seconds(lambda: ours(10**6), repeats), seconds(lambda: numpys(10**6), repeats)
    return [
        Figure(f"{name}: tables, once", "s", round(tables, 3)),
        Figure(
            f"{name}: 10^6 draws",
            "s",
            round(exact, 3),
            round(floating, 3),
            "NumPy",
            round(floating / exact, 3),
            target=f"<= {LIMIT:g} s",
            met=exact <= LIMIT,
        ),
    ]


def measured(repeats: int) -> list[Figure]:
    """All figures."""
    stream, generator, figures = SecureStream(), np.random.default_rng(), []
    for deviation in DEVIATIONS:
        half = deviation**2 / 2
        figures += draws(
            f"discrete Gaussian, deviation {deviation:g}",
            lambda count, deviation=deviation: discrete_gaussian(deviation, count, stream),
            lambda count, deviation=deviation: np.rint(generator.normal(0, deviation, count)),
            repeats,
        )
        figures += draws(
            f"Skellam, deviation {deviation:g}",
            lambda count, half=half: skellam(2 * half, count, stream),
            lambda count, half=half: generator.poisson(half, count) - generator.poisson(half, count),
            repeats,
        )
    vector = np.random.default_rng(0).normal(size=2**20)
    figures.append(Figure("Walsh-Hadamard, d = 2^20", "s", round(seconds(lambda: walsh_hadamard(vector), repeats), 4)))
    return figures


def main() -> None:
    """Measure, print, store."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    started = time.time()
    figures = measured(repeats=3 if options.quick else 11)
    report("private_noise", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("private_noise", "Noise of client-level privacy", ABOUT)


if __name__ == "__main__":
    main()
