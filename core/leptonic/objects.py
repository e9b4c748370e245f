"""Large payloads as Flower's content-addressed objects.

A payload is cut into chunks; each is framed as Flower frames an array chunk and is named by the SHA-256 of
its frame, which Flower's link verifies when it is stored and we verify when it is fetched. A model that goes to a whole
cohort is therefore stored once. One of the few files that touch Flower's internals: its wire format.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

from flwr.proto.message_pb2 import ObjectTree

from leptonic.errors import DecodeError
from leptonic.wire import Payload

__all__ = ["assemble", "cut", "describe", "root", "tree"]

CHUNK = 4 * 1024 * 1024
"""Bytes per object: large enough that requests cost little, small enough to add while the next one travels."""

_DIVIDER = b"\x00"


def cut(content: bytes | memoryview) -> Iterator[tuple[str, bytes]]:
    """The objects of a payload, in order: (name, frame)."""
    view = memoryview(content)
    for start in range(0, len(view), CHUNK):
        body = view[start : start + CHUNK]
        frame = b"".join((b"ArrayChunk  %d" % len(body), _DIVIDER, body))
        yield hashlib.sha256(frame).hexdigest(), frame


def describe(content: bytes | memoryview, names: Sequence[str]) -> Payload:
    """The payload that these objects make up."""
    return Payload(kind="objects", length=len(content), parts=list(names))


def assemble(payload: Payload, fetch: Callable[[str], bytes]) -> bytearray:
    """Fetch, check and join the objects of a payload. Raises DecodeError before memory is taken for a wrong count."""
    if payload.kind != "objects" or len(payload.parts) != -(-payload.length // CHUNK):
        raise DecodeError(f"a payload of {payload.length} bytes is not made of {len(payload.parts)} objects")
    whole, position = bytearray(payload.length), 0
    for name in payload.parts:
        frame = fetch(name)
        if hashlib.sha256(frame).hexdigest() != name:
            raise DecodeError(f"object {name[:16]} does not have the content that its name says")
        head, divider, _ = frame[:64].partition(_DIVIDER)
        body = memoryview(frame)[len(head) + len(divider) :]
        expected = min(CHUNK, payload.length - position)
        if head != b"ArrayChunk  %d" % expected or len(body) != expected:
            raise DecodeError(f"object {name[:16]} is not the chunk of {expected} bytes that belongs there")
        whole[position : position + expected] = body
        position += expected
    return whole


def root() -> tuple[str, bytes]:
    """A fresh message's own object: Flower names a message by one, and forgets the upload once it is stored."""
    frame = b"ArrayChunk  32" + _DIVIDER + os.urandom(32)
    return hashlib.sha256(frame).hexdigest(), frame


def tree(message_id: str, payload: Payload) -> ObjectTree:
    """A message's object tree: its own object, and those of its payload once each."""
    parts = dict.fromkeys(payload.parts if payload.kind == "objects" else ())
    return ObjectTree(object_id=message_id, children=[ObjectTree(object_id=part) for part in parts])
