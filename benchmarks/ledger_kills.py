"""A node that is killed at any instant: its ledger against what an independent witness has seen leave.

A process with a node's responder, home and ledger trains private rounds and sends its updates to a witness, another
process with a file of its own. It is killed (SIGKILL) at a random moment of a random stage, its ledger is verified and
compared with the witness' file, and it is started again. Stored as docs/results/ledger_kills.json, with a table beside.

    python benchmarks/ledger_kills.py [--kills 200] [--quick] [--json]
"""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from ctypes import c_int
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from killed import ROUNDS, STAGES, live, witness
from reporting import Figure, arguments, report, write_table

from leptonic.privacy.composition import Composition
from leptonic.privacy.ledger import LEDGER_FILE, Cost
from leptonic.privacy.ledger.entries import Reserve
from leptonic.privacy.ledger.file import Link
from leptonic.privacy.ledger.verification import books_of, verified

KILLS, QUICK = 200, 15
LONGEST = {
    "starting": 0.05,
    "asking": 0.003,
    "reserving": 0.01,
    "training": 0.03,
    "settling": 0.02,
    "sending": 0.002,
}
"""Seconds after a stage was entered within which the kill falls."""
DELTA = 1e-5

ABOUT = """A node is killed 200 times, at a random moment of a random stage. *Under-count*: an update that the witness
has seen, if only its header, and that no reservation of its round accounts for. *Over-count*: a reservation whose
update nobody has seen, which is the price of reserving first. A kill loses no page that the system has taken; what a
loss of power does rests on `synchronous=FULL`, and is not measured here."""


@dataclass
class Findings:
    """What was found after the kills so far. heads: of all entries that were ever read."""

    kills: Counter[str] = field(default_factory=Counter)
    heads: list[bytes] = field(default_factory=list)
    under: int = 0
    lost: int = 0
    twice: int = 0
    low: int = 0
    seen: int = 0
    reserved: int = 0


def seen_by(path: Path) -> dict[tuple[str, int], set[str]]:
    """The updates that the witness has seen of each round, by their hashes."""
    updates = defaultdict[tuple[str, int], set[str]](set)
    for line in path.read_text().splitlines():
        if line != witness.END:
            run, number, digest, _ = line.split()
            updates[run, int(number)].add(digest)
    return updates


def check(ledger: Path, notes: Path, found: Findings) -> tuple[int, int]:
    """Compare the ledger with what was seen. Returns the run and the round to go on with."""
    links, updates = verified(ledger), seen_by(notes)
    charges = Counter((link.entry.run, link.entry.round) for link in links if isinstance(link.entry, Reserve))
    found.under = sum(max(0, len(digests) - charges[key]) for key, digests in updates.items())
    found.twice = sum(len(digests) > 1 for digests in updates.values())
    hashes = [link.hash for link in links]
    found.lost += hashes[: len(found.heads)] != found.heads
    found.heads = hashes
    found.seen, found.reserved = sum(map(len, updates.values())), charges.total()
    left = Composition.of((cost.mechanism, cost.times * found.seen) for cost in _costs(links)[:1] if cost.mechanism)
    found.low += books_of(links, ledger).spent("example").epsilon(DELTA) < left.epsilon(DELTA, accountant="rdp")
    last = max(((int(run.removeprefix("run-")), number) for run, number in charges), default=(1, 1))
    return last if last[1] < ROUNDS else (last[0] + 1, 1)


def _costs(links: list[Link]) -> list[Cost]:
    """Of one round each, which are all the same."""
    costs = [link.entry.cost for link in links if isinstance(link.entry, Reserve)]
    assert len(set(costs)) <= 1
    return costs


def kill_one(start: Any, stage: c_int, chosen: str) -> str:
    """Start a node, and kill it at a moment of this stage. Returns the stage that it was killed in."""
    process = start()
    wanted, end = STAGES.index(chosen), time.monotonic() + 60
    for _ in range(random.randint(0, 4) if wanted else 0):
        _wait(lambda: stage.value == wanted, end, process)
        _wait(lambda: stage.value != wanted, end, process)
    _wait(lambda: stage.value == wanted, end, process)
    time.sleep(random.uniform(0, LONGEST[chosen]))
    process.kill()
    killed_in = STAGES[stage.value]
    process.join()
    assert process.exitcode == -9, f"the node ended by itself, with {process.exitcode}"
    return killed_in


def _wait(reached: Any, end: float, process: Any) -> None:
    while not reached():
        if time.monotonic() > end or not process.is_alive():
            raise RuntimeError(f"the node does not go on: exit code {process.exitcode}")
        time.sleep(0.0001)


def measured(kills: int, folder: Path) -> Findings:
    """Kill so often, and compare each time."""
    context, notes, address = multiprocessing.get_context("forkserver"), folder / "seen", str(folder / "socket")
    context.set_forkserver_preload(["killed.victim"])
    watching = subprocess.Popen([sys.executable, witness.__file__, address, str(notes)])
    try:
        while not Path(address).exists():
            time.sleep(0.01)
        found, first = Findings(), (1, 1)
        for number in range(kills):
            stage = context.RawValue(c_int, 0)
            chosen = random.choice(STAGES)

            def start(first: tuple[int, int] = first, stage: c_int = stage) -> Any:
                process = context.Process(target=live, args=(str(folder), address, first, stage))
                process.start()
                return process

            ends = notes.read_text().split().count(witness.END)
            found.kills[kill_one(start, stage, chosen)] += 1
            while notes.read_text().split().count(witness.END) == ends and chosen != "starting":
                time.sleep(0.001)
            if (ledger := folder / "home" / LEDGER_FILE).exists():
                first = check(ledger, notes, found)
            if number % 20 == 19:
                print(f"{number + 1} kills: {found.seen} updates seen, {found.under} not accounted for", flush=True)
    finally:
        watching.kill()
        watching.wait()
    return found


def figures_of(found: Findings) -> list[Figure]:
    """All figures."""
    kills = found.kills.total()
    nothing = {"target": "0", "unit": ""}
    return [
        Figure("kills (SIGKILL)", "", kills),
        *(Figure(f"  while {stage}", "", found.kills[stage]) for stage in STAGES),
        Figure("updates that the witness has seen", "", found.seen),
        Figure("under-counts: updates seen and not accounted for", ours=found.under, met=not found.under, **nothing),
        Figure(
            "kills after which epsilon was below that of what was seen", ours=found.low, met=not found.low, **nothing
        ),
        Figure("rounds of which two different updates were seen", ours=found.twice, met=not found.twice, **nothing),
        Figure("kills after which an entry was lost or changed", ours=found.lost, met=not found.lost, **nothing),
        Figure("over-counts: reservations of which nothing was seen", "", found.reserved - found.seen),
    ]


def main() -> None:
    """Kill, compare, print, store."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, help=f"how often; default: {KILLS}, or {QUICK} with --quick")
    options = parser.parse_args()
    started, kills = time.time(), options.kills or (QUICK if options.quick else KILLS)
    # For the server that victims are forked from, which imports what they need once.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    with tempfile.TemporaryDirectory() as folder:
        figures = figures_of(measured(kills, Path(folder)))
    store = not options.quick and kills >= KILLS
    report("ledger_kills", figures, started=started, store=store, as_json=options.json)
    if store:
        write_table("ledger_kills", "A ledger whose node is killed", ABOUT)


if __name__ == "__main__":
    main()
