"""Secure aggregation: rounds beside Flower's SecAgg+, masking beside its limit, large vectors, many clients.

Every comparison is measured in the same run, in seconds of wall time. Stored as docs/results/secagg.json, with a table
beside it.

    python benchmarks/secagg.py [--only rounds,masking] [--quick] [--json]
    taskset -c 0,1 python benchmarks/secagg.py --baselines-python baselines/bin/python

The baseline wants Flower with Ray, which may be installed in an environment of its own. It wants the digits
(`leptonic data fetch digits`). A baseline that is absent is reported as not measured.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator

from reporting import Figure, arguments, report_part, write_parts
from secure import masking, rounds, scale
from secure.plan import Plan
from simulating.plan import say

PARTS: dict[str, tuple[str, Callable[[Plan], Iterator[Figure]]]] = {
    "rounds": ("Seconds a round, beside Flower's SecAgg+", rounds.measure),
    "masking": ("Masking, beside its limit", masking.measure),
    "large": ("A hundred million parameters", scale.large),
    "many": ("A thousand clients", scale.many),
}

ABOUT = """*Seconds a round*: 1e6 parameters in a simulation, clients that do not train but send a random vector; keys,
cohort, masked inputs, agreement and the opened sum, with quantising and encoding on both sides. Ours checks signatures
and survives a lying coordinator with a third of the clients, but where it says curious. Since all clients and the
coordinator live in one process, a keystream is expanded once for the two who add it and take it away, a pair's secrets
are agreed on once for both, a masked input is hashed once for both sides, a record is read and checked once, and a
signature that was just made there is looked up and not verified. Flower's has neither signatures nor a cryptographic
mask generator (its masks come from a Mersenne Twister of 32 bits). The median of rounds after the first; the memory is
that of the main process, beside which the workers share a sum of masks for each client, 256 MB at most. *Masking*: one
client's masks (a keystream for each neighbour and one of its own, added in place), beside the fastest loop over
keystream and addition that we could write for this machine, on one core; and a whole masked input, its keys derived,
hashed and signed. *A hundred million parameters*: ten clients, each a process of its own that works in turn; memory
beyond what a process had before it held a vector, in vectors of four bytes a parameter. *A thousand clients*: 1e5
parameters, a graph with the fewest neighbours that a tenth of colluders and a tenth of drop-outs allow, a tenth of the
clients never answers."""


def main() -> None:
    """Measure the parts that are asked for, print, store."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,...", help=", ".join(PARTS))
    parser.add_argument(
        "--baselines-python", default=sys.executable, metavar="PATH", help="interpreter that has ray and flwr"
    )
    options = parser.parse_args()
    if shutil.which(options.baselines_python) is None:
        parser.error(f"--baselines-python: {options.baselines_python} is not a program")
    plan = (Plan.quick if options.quick else Plan)(options.baselines_python)
    measured: dict[str, dict[str, object]] = {}
    for part in options.only:
        title, measure = PARTS[part]
        say(f"{part}: {title}")
        started = time.time()
        measured |= report_part("secagg", title, list(measure(plan)), started=started, store=not options.quick)
        if not options.quick:
            write_parts("secagg", "Secure aggregation", ABOUT)
    if options.json:
        print(json.dumps({"benchmark": "secagg", "parts": measured}))


def _parts(text: str) -> list[str]:
    chosen = text.split(",")
    for part in chosen:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"no part is called '{part}'; known: {', '.join(PARTS)}")
    return chosen


if __name__ == "__main__":
    main()
