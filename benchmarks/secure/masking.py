"""Masks beside the fastest loop over keystream and addition, on one core; and unmasking on all of them."""

import os
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from reporting import Figure

from leptonic.secagg.client.ready import Ready
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.expansion import Here, Workers
from leptonic.secagg.journal import MemoryJournal
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import Open, SessionSettings
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from leptonic.secagg.standing import Policy, Standing
from secure.plan import Plan

__all__ = ["measure"]

TURNS = 9
PIECES = tuple(2**exponent for exponent in range(15, 21))


def measure(plan: Plan) -> Iterator[Figure]:
    """One client's masks; a masked input; unmasking."""
    words, sums = np.zeros(plan.parameters, np.uint32), np.zeros(4, np.uint64)
    masks = [Mask(os.urandom(32), negative=bool(index % 2)) for index in range(plan.masked)]
    volume = 4 * plan.parameters * plan.masked / 1e9
    limits = {piece: [] for piece in PIECES}
    ours: list[float] = []
    here = Here()
    for _ in range(TURNS):
        for piece in PIECES:
            limits[piece].append(_seconds(lambda piece=piece: _bare(words, masks, piece)))
        ours.append(_seconds(lambda: here.add(words, sums, masks)))
    limit = volume / min(median(times) for times in limits.values())
    rate = volume / median(ours)
    share = rate / limit
    name = f"{plan.masked} masks of {plan.parameters} words, one core"
    yield Figure(f"{name}: keystream and addition alone", "GB/s", float(f"{limit:.3g}"))
    yield Figure(f"{name}: masking", "GB/s", float(f"{rate:.3g}"))
    yield Figure(f"{name}: share of the limit", "", float(f"{share:.3g}"), target=">= 0.8", met=share >= 0.8)
    whole = median(_masked_input(plan) for _ in range(3))
    part = volume / whole / limit
    yield Figure("a masked input: keys, masks, hash, signature", "s", float(f"{whole:.3g}"))
    yield Figure("a masked input: share of the limit", "", float(f"{part:.3g}"), target=">= 0.8", met=part >= 0.8)
    cores = len(os.sched_getaffinity(0))
    workers = Workers(cores)
    workers.add(words, sums, masks)
    many = [_seconds(lambda: workers.add(words, sums, masks)) for _ in range(TURNS)]
    workers.close()
    yield Figure(
        f"unmasking {plan.masked} masks in chunks, {cores} cores", "GB/s", float(f"{volume / median(many):.3g}")
    )


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bare(words: "np.ndarray[tuple[int], np.dtype[np.uint32]]", masks: list[Mask], piece: int) -> None:
    """Nothing but the generator and additions, a piece at a time."""
    ciphers = [Cipher(ChaCha20(mask.key, bytes(16)), mode=None).encryptor() for mask in masks]
    zeros, buffer = bytes(piece), bytearray(piece)
    stream = np.frombuffer(buffer, np.uint32)
    for start in range(0, len(words), piece // 4):
        part = words[start : start + piece // 4]
        for cipher in ciphers:
            cipher.update_into(zeros, buffer)
            np.add(part, stream[: len(part)], out=part)


def _masked_input(plan: Plan) -> float:
    """Seconds that one client of a complete graph takes from its integers to its signed header."""
    names = [f"client-{index:04d}".encode() for index in range(plan.masked)]
    keys = {name: Ed25519PrivateKey.generate() for name in names}
    coordinator = Ed25519PrivateKey.generate()
    entries = tuple(RosterEntry(name, keys[name].public_key().public_bytes_raw()) for name in names)
    content = RosterContent(b"masking", 1, 2**62, coordinator.public_key().public_bytes_raw(), entries)
    roster = Roster.sign(content, Ed25519PrivateKey.generate())
    settings = SessionSettings(plan.parameters, 4, 32, len(names), 1, len(names) // 3, 0, 0, 0)
    inviting = Inviting(
        Office(coordinator, roster), Open(b"masking", b"run", 1, 0, 1, bytes(32), roster.hash, settings)
    )
    clients: dict[bytes, ClientSession] = {}
    for name in names:
        standing = Standing(name, keys[name], roster, MemoryJournal(), Policy())
        clients[name] = ClientSession(standing, inviting.message)
        inviting.take(name, clients[name].opened(inviting.message))
    sharing = inviting.close()
    for name, client in clients.items():
        sharing.take(name, client.introduced(sharing.message(name)))
    first = clients[names[0]]
    first.train(sharing.close(bytes(32), bytes(32)).message(names[0]), model=bytes(32), payload=bytes(32))
    assert isinstance(first.state, Ready)
    words, sums = np.zeros(plan.parameters, np.uint32), np.zeros(4, np.uint64)
    return _seconds(lambda: _mask(first, words, sums))


def _mask(
    client: ClientSession,
    words: "np.ndarray[tuple[int], np.dtype[np.uint32]]",
    sums: "np.ndarray[tuple[int], np.dtype[np.uint64]]",
) -> None:
    client.mask(words, sums, Here())
