"""Messages between coordinator and client: versioned, strictly decoded, signed.

A message is a header (canonical JSON, at most 64 KiB) and a payload (raw bytes). The header says where the
payload is: beside it (``inline``), in this process (``memory``), or as content-addressed objects
(``objects``), whose names are SHA-256 hashes. A signature over the header therefore covers the payload in
every form that leaves the process. Flower carries header, signature and inline payload in one
ConfigRecord; a payload held elsewhere is fetched through :class:`PayloadStore` by whoever needs it, one
at a time.
"""

import hashlib
from typing import Annotated, Literal, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.app import ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leptonic.errors import BadSignature, DecodeError, VersionMismatch

__all__ = [
    "INLINE_LIMIT",
    "PROTOCOL",
    "Payload",
    "PayloadStore",
    "Reply",
    "Request",
    "Step",
    "inline",
    "pack",
    "record_bytes",
    "sign",
    "unpack",
    "verify",
]

PROTOCOL: Literal["leptonic/1"] = "leptonic/1"
HEADER_LIMIT = 64 * 1024
INLINE_LIMIT = 32 * 1024
"""Payloads up to this size travel beside their header: one request less for each side."""

_RECORD = "leptonic"
_SIGNED = b"leptonic/1/reply\x00"

Step = Literal["join", "train", "evaluate", "end"]
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


class _Version(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    protocol: Annotated[str, Field(max_length=64)]


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

    client: roster index, -1 before the client has joined. counted: the last round in which this client's
    update was counted, 0 if none; the client continues from the state it had then.
    """

    counted: Count = 0


class Reply(_Header):
    """What a client answers; names the request it answers by its numbers.

    key: the client's Ed25519 public key, hexadecimal. seconds: of local work. epsilon: spent so far in this run.
    carried_by: in a simulation, the client whose payload is a sum that holds this one's contribution too; never signed.
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


HeaderT = TypeVar("HeaderT", Request, Reply)


class _Packed(ConfigRecord):  # type: ignore[misc]
    """A record that was packed in this process and never left it: its header need not be decoded again."""

    def __init__(self, header: Request | Reply, record: dict[str, bytes]) -> None:
        super().__init__(record)
        self._header, self._packed = header, record

    def opened(self, kind: type[HeaderT]) -> HeaderT | None:
        """The header, unless it is of another kind, or the record holds other bytes than were packed."""
        as_packed = len(self) == len(self._packed) and all(
            self.get(name) is self._packed[name] for name in self._packed
        )
        return self._header if as_packed and isinstance(self._header, kind) else None


def inline(content: bytes) -> Payload:
    """The description of a payload that travels beside its header."""
    return Payload(kind="inline", length=len(content), sha256=hashlib.sha256(content).hexdigest())


def pack(header: Request | Reply, *, content: bytes = b"", key: Ed25519PrivateKey | None = None) -> RecordDict:
    """A Flower record of the header, its signature if a key is given, and an inline payload."""
    encoded = header.model_dump_json().encode()
    if len(encoded) > HEADER_LIMIT:
        raise DecodeError(
            f"a header of {len(encoded)} bytes is over the limit of {HEADER_LIMIT}: the payload has too many parts"
        )
    record: dict[str, bytes] = {"header": encoded}
    if key is not None:
        record["signature"] = sign(key, encoded)
    if header.payload.kind == "inline":
        record["payload"] = content
    return RecordDict({_RECORD: _Packed(header, record)})


def unpack(content: RecordDict, kind: type[HeaderT]) -> tuple[HeaderT, bytes]:
    """The header and the inline payload (empty if it is elsewhere). Raises DecodeError, VersionMismatch.

    The signature is not looked at: see :func:`verify`.
    """
    record = _record(content)
    if isinstance(record, _Packed) and (opened := record.opened(kind)) is not None:
        return opened, bytes(record.get("payload", b""))
    encoded, signature, payload = (
        record.get("header"),
        record.get("signature", b""),
        record.get("payload", b""),
    )
    if not isinstance(encoded, bytes) or not isinstance(signature, bytes) or not isinstance(payload, bytes):
        raise DecodeError("a message needs a header of bytes")
    if set(record) - {"header", "signature", "payload"}:
        raise DecodeError("a message with unknown fields")
    if len(encoded) > HEADER_LIMIT:
        raise DecodeError(f"a header of {len(encoded)} bytes is over the limit of {HEADER_LIMIT}")
    _check_version(encoded)
    try:
        header = kind.model_validate_json(encoded)
    except ValidationError as error:
        first = error.errors()[0]
        raise DecodeError(f"header: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if header.model_dump_json().encode() != encoded:
        raise DecodeError("a header that is not in its canonical form")
    _check_inline(header.payload, payload)
    return header, payload


def record_bytes(content: RecordDict) -> int:
    """Bytes of the header, signature and inline payload of a message."""
    return sum(len(value) for value in _record(content).values() if isinstance(value, bytes))


def sign(key: Ed25519PrivateKey, encoded: bytes) -> bytes:
    """Ed25519 over the reply's domain and its encoded header."""
    return key.sign(_SIGNED + encoded)


def verify(content: RecordDict, key: str, who: str) -> None:
    """Raise BadSignature unless the record's header is signed by ``key`` (hexadecimal Ed25519 public key)."""
    record = _record(content)
    encoded, signature = record.get("header"), record.get("signature")
    try:
        if not isinstance(encoded, bytes) or not isinstance(signature, bytes):
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, _SIGNED + encoded)
    except (InvalidSignature, ValueError):
        raise BadSignature(f"the reply in the name of {who} is not signed with its key") from None


def _record(content: RecordDict) -> ConfigRecord:
    record = content.get(_RECORD)
    if not isinstance(record, ConfigRecord) or len(content) != 1:
        raise DecodeError("not a Leptonic message")
    return record


def _check_version(encoded: bytes) -> None:
    """Read the version alone first: another version's header has other fields."""
    try:
        spoken = _Version.model_validate_json(encoded).protocol
    except ValidationError:
        raise DecodeError("a header that does not name its protocol") from None
    if spoken != PROTOCOL:
        raise VersionMismatch(f"the other side speaks {spoken!r}, this side {PROTOCOL!r}: install the same version")


def _check_inline(payload: Payload, content: bytes) -> None:
    if payload.kind != "inline":
        if content:
            raise DecodeError("a message with a payload both beside its header and elsewhere")
        return
    if len(content) != payload.length or hashlib.sha256(content).hexdigest() != payload.sha256:
        raise DecodeError("the inline payload does not match its header")
