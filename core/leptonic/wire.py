"""What coordinator and client say to each other.

A message is a header (canonical JSON, at most 64 KiB) and a payload (raw bytes). The header says where the
payload is: beside it (``inline``), in this process (``memory``), or as content-addressed objects
(``objects``), whose names are SHA-256 hashes. A signature over the header therefore covers the payload in
every form that leaves the process. :mod:`leptonic.records` packs a message for Flower; a payload held
elsewhere is fetched through :class:`PayloadStore` by whoever needs it, one at a time.
"""

import hashlib
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from leptonic.errors import DecodeError

__all__ = [
    "HEADER_LIMIT",
    "INLINE_LIMIT",
    "PROTOCOL",
    "Payload",
    "PayloadStore",
    "Reply",
    "Request",
    "Step",
    "header_bytes",
    "inline",
]

PROTOCOL: Literal["leptonic/1"] = "leptonic/1"
HEADER_LIMIT = 64 * 1024
"""Bytes of a header."""
INLINE_LIMIT = 32 * 1024
"""Payloads up to this size travel beside their header: one request less for each side."""

Step = Literal["join", "open", "share", "train", "evaluate", "abort", "record", "end"]
"""What is asked. open, share, abort and record belong to secure aggregation."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Payload(_Strict):
    """Where a message's payload is.

    length: bytes. parts: names of its pieces, in order. sha256: of the bytes, for an inline payload.
    """

    kind: Literal["inline", "memory", "objects"]
    length: Count
    parts: list[str] = Field(default=[], max_length=65536)
    sha256: Hash | None = None


class _Header(_Strict):
    protocol: Literal["leptonic/1"] = PROTOCOL
    run: Annotated[str, Field(pattern=r"^[0-9a-z-]{1,64}$")]
    experiment: Hash
    round: Count
    step: Step
    attempt: Count
    client: Annotated[int, Field(ge=-1, lt=2**31)]
    payload: Payload


class Request(_Header):
    """What the coordinator asks of one client.

    client: roster index, -1 before the client has joined. counted: where clients keep a state, the last round in which
    this client's update was counted, 0 if none; it continues from the state it had then. payload: the same for
    everyone who is asked. own: what is for this client alone.
    """

    counted: Count = 0
    own: Payload | None = None


class Reply(_Header):
    """What a client answers; names the request it answers by its numbers.

    key: the client's Ed25519 public key, hexadecimal. seconds: of local work, 0 from a node under privacy. epsilon:
    spent so far in this run. carried_by: in a simulation, the client whose payload is a sum that holds this one's
    contribution too; never signed.
    """

    status: Literal["done", "refused", "failed"]
    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$")] = ""
    key: Hash | None = None
    detail: Annotated[str, Field(max_length=4096)] = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    carried_by: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    def answers(self, request: Request) -> bool:
        """Whether this reply names exactly that request."""
        names = ("run", "experiment", "round", "step", "attempt", "client")
        return all(getattr(self, name) == getattr(request, name) for name in names)


class PayloadStore(Protocol):
    """Holds payloads on their way; each grid brings its own.

    inline_limit: bytes up to which a payload travels beside its header instead.
    """

    inline_limit: int

    def put(self, content: bytes | memoryview) -> Payload:
        """Make the content available to the receiver of the next message that names it."""
        ...

    def get(self, payload: Payload) -> bytes | memoryview:
        """The whole content of a reply's payload, checked against its names and length. Raises DecodeError.

        It can be had until messages are pulled again.
        """
        ...

    def release(self, payload: Payload) -> None:
        """What was put is not needed any more."""
        ...


def inline(content: bytes) -> Payload:
    """The description of a payload that travels beside its header."""
    return Payload(kind="inline", length=len(content), sha256=hashlib.sha256(content).hexdigest())


def header_bytes(header: Request | Reply) -> bytes:
    """A header as it travels: canonical JSON. Raises DecodeError if it is over the limit."""
    content = header.model_dump_json().encode()
    if len(content) > HEADER_LIMIT:
        raise DecodeError(
            f"a header of {len(content)} bytes is over the limit of {HEADER_LIMIT}: the payload has too many parts"
        )
    return content
