"""One client of a secure aggregation, as a process of its own that is spoken to through its pipes.

    python -m secure.one_client NAME SEED

Each message is a length (u64) and so many bytes. The first brings roster and key; then those of the protocol, in
order. Its update is made up from the seed when it is asked to work, quantised, masked and sent; the last answer says
how much memory that took.
"""

import json
import resource
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.integers import Lattice
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.encoding import decoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.journal import MemoryJournal
from leptonic.secagg.roster import Roster, SignedRoster
from leptonic.secagg.standing import Policy, Standing

LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, *parts: bytes | memoryview) -> None:
    """One message."""
    stream.write(LENGTH.pack(sum(len(part) for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def received(stream: BinaryIO) -> bytes:
    """The next message."""
    (length,) = LENGTH.unpack(stream.read(LENGTH.size))
    return stream.read(length)


def update_of(seed: int, size: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """The update of a seed: a short sequence again and again, so that both sides can make it at little cost."""
    sequence = np.random.default_rng(seed).uniform(-1, 1, 2**16).astype(np.float32)
    return np.resize(sequence, size)


def resident() -> int:
    """Resident bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    """Play one client."""
    name, seed = sys.argv[1].encode(), int(sys.argv[2])
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    key, roster = Ed25519PrivateKey.from_private_bytes(received(asked)), decoded(SignedRoster, received(asked))
    standing = Standing(name, key, Roster(roster), MemoryJournal(), Policy())
    opening = received(asked)
    session = ClientSession(standing, opening)
    send(answers, session.opened(opening))
    send(answers, session.introduced(received(asked)))
    session.train(received(asked), model=bytes(32), payload=bytes(32))
    settings = session.state.opening.settings  # type: ignore[union-attr]
    before = resident()
    update = update_of(seed, settings.words)
    words, _ = Lattice(range=8.0, clients=settings.invited).quantise(update)
    sums = np.ones(settings.sums, np.uint64)
    masked = session.mask(words, sums, Here())
    send(answers, masked.reply)
    send(answers, *masked.parts)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send(answers, session.agree(received(asked)))
    send(answers, session.unmask(received(asked)))
    send(answers, json.dumps({"before": before, "peak": peak}).encode())


if __name__ == "__main__":
    main()
