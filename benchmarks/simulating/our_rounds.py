"""A simulation of ours as a command of its own: notes the time, and on demand the memory, after every commit.

    python -m simulating.our_rounds EXPERIMENT.json FOLDER [--memory]

Prints one JSON object. The memory is read from /proc: Linux only.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from processes import peak_memory

from leptonic.experiment_file import from_mapping
from leptonic_server.store import RunStore
from leptonic_simulations.run import simulate

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Resident bytes of this process and its children; what they share counts for each of them."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in ["self", *children])


def main() -> None:
    """Run, and print when each round was committed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    commits: list[float] = []
    memory: list[int] = []
    engines: set[str | None] = set()
    commit = RunStore.commit

    def noted(store: RunStore, *arguments: Any, **named: Any) -> None:
        commit(store, *arguments, **named)
        commits.append(time.perf_counter())
        engines.add(store.note("engine"))
        if options.memory:
            memory.append(resident())

    RunStore.commit = noted  # type: ignore[method-assign]
    experiment = from_mapping(json.loads(options.experiment.read_text()))
    result = simulate(experiment, folder=options.folder, quiet=True)
    # The engine that auto chose is noted in the store; a named one is not, nor one that is still being chosen.
    named = experiment.simulation.engine
    chosen = next((name for name in engines if name), "none yet" if named in ("auto", "exact") else named)
    found = {"commits": commits, "memory": memory, "peak": peak_memory(), "engine": chosen}
    print(json.dumps({**found, "model": result.model_sha256}))


if __name__ == "__main__":
    main()
