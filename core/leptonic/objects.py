"""Large payloads as Flower's content-addressed objects.

A payload is cut into chunks; each is framed as Flower frames an array chunk and is named by the SHA-256 of
its frame, which Flower's link verifies when it is stored and we verify when it is fetched. A model that goes
to a whole cohort is therefore stored once. Chunks are named, sent and fetched a few at a time, since the
link hashes one while it receives the next. One of the few files that touch Flower's internals: its wire format.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from flwr.proto.message_pb2 import ObjectTree

from leptonic.errors import DecodeError
from leptonic.wire import Payload

__all__ = ["assemble", "cut", "describe", "each", "frame", "root", "tree"]

CHUNK = 4 * 1024 * 1024
"""Bytes per object: large enough that requests cost little, small enough to add while the next one travels."""

TOGETHER = 2
"""Chunks worked on at a time; more gain nothing from the link's one process."""

ARRIVAL_TIMEOUT = 120.0
"""Seconds that an announced object may take to arrive."""

_DIVIDER = b"\x00"

_mine = threading.local()

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def cut(content: bytes | memoryview) -> list[tuple[str, memoryview]]:
    """The objects of a payload, in order: (name, body). The bodies share the content's memory."""
    view = memoryview(content)
    bodies = [view[start : start + CHUNK] for start in range(0, len(view), CHUNK)]
    return list(zip(each(_name, bodies), bodies, strict=True))


def frame(body: memoryview) -> bytes:
    """A chunk as it travels."""
    return b"".join((_head(len(body)), body))


def describe(content: bytes | memoryview, names: Sequence[str]) -> Payload:
    """The payload that these objects make up."""
    return Payload(kind="objects", length=len(content), parts=list(names))


def each(
    work: Callable[[Item], Outcome], items: Iterable[Item], *, given_up: threading.Event | None = None
) -> list[Outcome]:
    """What ``work`` returns for each item, in order, :data:`TOGETHER` at a time; raises its first error.

    given_up: is set on an error, Ctrl-C included, so that work under way which would wait can end at once.
    """
    futures = [_pool().submit(work, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        if given_up is not None:
            given_up.set()
        for future in futures:
            future.cancel()
        wait(futures)
        raise


def assemble(payload: Payload, fetch: Callable[[str], bytes | None]) -> bytearray:
    """Fetch, check and join the objects of a payload.

    fetch: the object of a name, or None while it is on its way. Raises what it raises, and DecodeError: for a
    wrong count of objects before memory is taken, for a wrong object, and for one that does not arrive.
    """
    if payload.kind != "objects" or len(payload.parts) != -(-payload.length // CHUNK):
        raise DecodeError(f"a payload of {payload.length} bytes is not made of {len(payload.parts)} objects")
    whole, given_up = bytearray(payload.length), threading.Event()

    def place(index: int) -> None:
        start, name = index * CHUNK, payload.parts[index]
        expected = min(CHUNK, payload.length - start)
        whole[start : start + expected] = _body(name, _arrived(name, fetch, given_up), expected)

    each(place, range(len(payload.parts)), given_up=given_up)
    return whole


def root() -> tuple[str, bytes]:
    """A fresh message's own object: Flower names a message by one, and forgets the upload once it is stored."""
    content = _head(32) + os.urandom(32)
    return hashlib.sha256(content).hexdigest(), content


def tree(message_id: str, *payloads: Payload) -> ObjectTree:
    """A message's object tree: its own object, and those of its payloads once each."""
    parts = dict.fromkeys(part for payload in payloads if payload.kind == "objects" for part in payload.parts)
    return ObjectTree(object_id=message_id, children=[ObjectTree(object_id=part) for part in parts])


def _pool() -> ThreadPoolExecutor:
    """The calling thread's own workers. They stay: new threads would take new memory arenas, and leave holes there."""
    pool: ThreadPoolExecutor | None = getattr(_mine, "pool", None)
    if pool is None:
        pool = _mine.pool = ThreadPoolExecutor(TOGETHER)
    return pool


def _head(length: int) -> bytes:
    return b"ArrayChunk  %d" % length + _DIVIDER


def _name(body: memoryview) -> str:
    digest = hashlib.sha256(_head(len(body)))
    digest.update(body)
    return digest.hexdigest()


def _arrived(name: str, fetch: Callable[[str], bytes | None], given_up: threading.Event) -> bytes:
    """Wait for one object, looking again after growing pauses."""
    end, pause = time.monotonic() + ARRIVAL_TIMEOUT, 0.002
    while not given_up.is_set() and time.monotonic() < end:
        if (content := fetch(name)) is not None:
            return content
        given_up.wait(pause)
        pause = min(0.1, pause * 1.5)
    raise DecodeError(f"object {name[:16]} of the payload did not arrive")


def _body(name: str, content: bytes, expected: int) -> memoryview:
    """The chunk in an object. Raises DecodeError unless the object is the one that its name and place say."""
    if hashlib.sha256(content).hexdigest() != name:
        raise DecodeError(f"object {name[:16]} does not have the content that its name says")
    head = _head(expected)
    if len(content) != len(head) + expected or not content.startswith(head):
        raise DecodeError(f"object {name[:16]} is not the chunk of {expected} bytes that belongs there")
    return memoryview(content)[len(head) :]
