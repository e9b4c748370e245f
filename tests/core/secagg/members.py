"""The members of a federation: keys, a roster, and real clients whose journals show what they were made to note."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from leptonic.secagg.binding import Verifier, verified
from leptonic.secagg.client.session import aborted
from leptonic.secagg.journal import MemoryJournal
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.standing import Policy, Standing

FEDERATION = b"clinics"


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def bytes_in(value: Any) -> Iterator[bytes]:
    """Every byte string of nested lists and dictionaries."""
    if isinstance(value, (bytes, bytearray)):
        yield bytes(value)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from bytes_in(each)
    elif isinstance(value, dict):
        yield from bytes_in(list(value.values()))


def name_of(number: int) -> bytes:
    return b"client-%04d" % number


@cache
def key_of(name: bytes) -> Ed25519PrivateKey:
    """A signing key, always the same."""
    return Ed25519PrivateKey.from_private_bytes(digest(name))


AUTHORITY, COORDINATOR = key_of(b"authority"), key_of(b"coordinator")


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@cache
def roster_of(size: int, version: int = 1) -> Roster:
    entries = tuple(RosterEntry(name_of(number), public(key_of(name_of(number)))) for number in range(size))
    return Roster.sign(RosterContent(FEDERATION, version, 2**40, public(COORDINATOR), entries), AUTHORITY)


def remembering() -> Verifier:
    """A verifier that checks each signature once."""
    seen: set[tuple[bytes, bytes, bytes]] = set()

    def verify(key: bytes, signature: bytes, statement: bytes, who: bytes) -> None:
        if (key, signature, statement) not in seen:
            verified(key, signature, statement, who)
            seen.add((key, signature, statement))

    return verify


class Diary(MemoryJournal):
    """A journal that shows what it was made to note."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, ...]] = []

    def open(self, *details: Any, **more: Any) -> None:
        super().open(*details, **more)
        self.notes.append(("open", *details))

    def enter(self, *details: Any, **more: Any) -> None:
        super().enter(*details, **more)
        self.notes.append(("enter", *details))

    def answer(self, *details: Any, **more: Any) -> None:
        super().answer(*details, **more)
        self.notes.append(("answer", *details))

    def agree(self, *details: Any, **more: Any) -> None:
        super().agree(*details, **more)
        self.notes.append(("agree", *details))

    def abort(self, *details: Any, **more: Any) -> None:
        super().abort(*details, **more)
        self.notes.append(("abort", *details))


@dataclass(frozen=True)
class Update:
    """words: (d,) int64, small enough that all clients' fit a sum. sums: (m,) int64."""

    words: NDArray[np.int64]
    sums: NDArray[np.int64]

    def encoded(self) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        return self.words.astype(np.int32).view(np.uint32), self.sums.astype(np.uint64)


class Client:
    """A real client. Its journal outlives its process, its sessions do not."""

    def __init__(self, name: bytes, roster: Roster, policy: Policy, update: Update, verify: Verifier) -> None:
        self.name, self.journal, self.update = name, Diary(), update
        self.standing = Standing(name, key_of(name), roster, self.journal, policy, verify)

    def abort(self, session: bytes) -> bytes:
        return aborted(self.standing, session)
