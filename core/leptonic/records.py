"""Messages as Flower's records: versioned, strictly decoded, signed.

Header, signature and inline payload travel in one ConfigRecord. See :mod:`leptonic.wire` for what they say.
"""

import hashlib
from typing import Annotated, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.app import ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leptonic.errors import BadSignature, DecodeError, VersionMismatch
from leptonic.wire import HEADER_LIMIT, PROTOCOL, Payload, Reply, Request, header_bytes

__all__ = ["own_of", "pack", "record_bytes", "sign", "unpack", "verify"]

_RECORD = "leptonic"
_SIGNED = b"leptonic/1/reply\x00"

_NOTHING = Payload(kind="memory", length=0)

HeaderT = TypeVar("HeaderT", Request, Reply)


class _Version(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    protocol: Annotated[str, Field(max_length=64)]


def pack(
    header: Request | Reply, *, content: bytes = b"", own: bytes = b"", key: Ed25519PrivateKey | None = None
) -> RecordDict:
    """A Flower record of the header, its signature if a key is given, and inline payloads."""
    record = {"header": header_bytes(header)}
    if key is not None:
        record["signature"] = sign(key, record["header"])
    if header.payload.kind == "inline":
        record["payload"] = content
    if isinstance(header, Request) and header.own is not None and header.own.kind == "inline":
        record["own"] = own
    return RecordDict({_RECORD: ConfigRecord(record)})


def unpack(content: RecordDict, kind: type[HeaderT]) -> tuple[HeaderT, bytes]:
    """The header and the inline payload (empty if it is elsewhere). Raises DecodeError, VersionMismatch.

    The signature is not looked at: see :func:`verify`.
    """
    record = _record(content)
    encoded, signature, payload = (
        record.get("header"),
        record.get("signature", b""),
        record.get("payload", b""),
    )
    if not isinstance(encoded, bytes) or not isinstance(signature, bytes) or not isinstance(payload, bytes):
        raise DecodeError("a message needs a header of bytes")
    if set(record) - {"header", "signature", "payload", "own"}:
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
    _check_inline(getattr(header, "own", None) or _NOTHING, own_of(content))
    return header, payload


def own_of(content: RecordDict) -> bytes:
    """What a request brings inline for its receiver alone, which :func:`unpack` has checked. Raises DecodeError."""
    own = _record(content).get("own", b"")
    if not isinstance(own, bytes):
        raise DecodeError("a message's own part is made of bytes")
    return own


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
