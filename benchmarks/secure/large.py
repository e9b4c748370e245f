"""One sum of large vectors: a coordinator here, each client a process of its own, which work in turn.

    python -m secure.large [--parameters 100000000] [--clients 10]

Prints one JSON object: seconds, whether the sum is exact, and peak memory of the coordinator and of a client, beyond
what each had before it held any vector.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from processes import peak_memory

from leptonic.integers import Lattice
from leptonic.secagg.bounds import default_colluders
from leptonic.secagg.expansion import Workers
from leptonic.secagg.messages import Open, SessionSettings
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from secure.one_client import received, resident, send, update_of

FEDERATION = b"large"


def main() -> None:
    """Sum once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--clients", type=int, default=10)
    options = parser.parse_args()
    keys = {f"client-{index:04d}".encode(): Ed25519PrivateKey.generate() for index in range(options.clients)}
    authority, coordinator = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    entries = tuple(RosterEntry(name, key.public_key().public_bytes_raw()) for name, key in keys.items())
    content = RosterContent(FEDERATION, 1, 2**62, coordinator.public_key().public_bytes_raw(), entries)
    roster = Roster.sign(content, authority)
    settings = SessionSettings(
        words=options.parameters,
        sums=1,
        bits=32,
        invited=options.clients,
        lying=1,
        colluders=default_colluders(options.clients),
        neighbours=0,
        dropping=0,
        minimum=0,
    )
    opening = Open(FEDERATION, b"run", 1, 0, 1, bytes(32), roster.hash, settings)
    clients = {
        name: subprocess.Popen(
            [sys.executable, "-m", "secure.one_client", name.decode(), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed, name in enumerate(keys)
    }
    before, started, expansion = resident(), time.perf_counter(), Workers(len(os.sched_getaffinity(0)))
    seconds: dict[str, float] = {}

    def lap(step: str) -> None:
        nonlocal started
        seconds[step], started = time.perf_counter() - started, time.perf_counter()

    inviting = Inviting(Office(coordinator, roster), opening)
    for name, client in clients.items():
        send(client.stdin, keys[name].private_bytes_raw())  # type: ignore[arg-type]
        send(client.stdin, roster.encoding)  # type: ignore[arg-type]
        send(client.stdin, inviting.message)  # type: ignore[arg-type]
        inviting.take(name, received(client.stdout))  # type: ignore[arg-type]
    sharing = inviting.close()
    for name, client in clients.items():
        send(client.stdin, sharing.message(name))  # type: ignore[arg-type]
        sharing.take(name, received(client.stdout))  # type: ignore[arg-type]
    lap("share")
    summing = sharing.close(bytes(32), bytes(32))
    for name, client in clients.items():
        send(client.stdin, summing.message(name))  # type: ignore[arg-type]
        header = received(client.stdout)  # type: ignore[arg-type]
        summing.take(name, header, received(client.stdout))  # type: ignore[arg-type]
    lap("collect")
    agreeing = summing.close()
    for name, client in clients.items():
        send(client.stdin, agreeing.message(name))  # type: ignore[arg-type]
        agreeing.take(name, received(client.stdout))  # type: ignore[arg-type]
    unmasking = agreeing.close()
    for name, client in clients.items():
        send(client.stdin, unmasking.message)  # type: ignore[arg-type]
        unmasking.take(name, received(client.stdout))  # type: ignore[arg-type]
    opened = unmasking.open(expansion, bytes(32))
    lap("unmask")
    peak = peak_memory()
    memory = [json.loads(received(client.stdout)) for client in clients.values()]  # type: ignore[arg-type]
    for client in clients.values():
        client.wait()
    expansion.close()
    lattice, exact = Lattice(range=8.0, clients=options.clients), True
    expected = np.zeros(min(options.parameters, 2**16), np.uint32)
    for seed in range(options.clients):
        expected += lattice.quantise(update_of(seed, len(expected)))[0]
    for start in range(0, options.parameters, len(expected)):
        part = opened.words[start : start + len(expected)]
        exact = exact and bool((part == expected[: len(part)]).all())
    print(
        json.dumps(
            {
                "seconds": seconds,
                "exact": exact,
                "coordinator": peak - before,
                "client": max(each["peak"] - each["before"] for each in memory),
                "vector": 4 * options.parameters,
            }
        )
    )


if __name__ == "__main__":
    main()
