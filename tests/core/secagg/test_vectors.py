"""The vectors in tests/vectors/secagg: what must come out, and what must be refused with which error."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic import errors
from leptonic.secagg import messages, roster
from leptonic.secagg.binding import PROTOCOL, bound, derived_key, hashed, signed, verified
from leptonic.secagg.bounds import Bounds
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.masks import Mask, add_to_sums, add_to_words
from leptonic.secagg.packing import packed, unpacked
from leptonic.secagg.sealing import Box, agreed, check_public, opened, public_of, sealed, secret_key
from leptonic.secagg.shamir import joined, recovered

FOLDER = Path(__file__).parents[2] / "vectors" / "secagg" / "v1"
FILES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
OK = FILES["ok"]
BAD = [
    pytest.param(file["operation"], case, id=f"{name}-{case['about']}")
    for name, file in sorted(FILES.items())
    if name.startswith("bad_")
    for case in file["cases"]
]
Case = Mapping[str, Any]
raw = bytes.fromhex


def kind_of(name: str) -> type:
    if name == "Box":
        return Box
    kind: type = getattr(messages if hasattr(messages, name) else roster, name)
    return kind


def value(hint: Any, content: Any) -> Any:
    """What a field of this type is, from JSON."""
    if isinstance(content, list):
        return tuple(value(get_args(hint)[0], element) for element in content)
    if isinstance(content, dict):
        hints = get_type_hints(hint, include_extras=True)
        assert list(content) == [field.name for field in fields(hint)]
        return hint(**{name: value(hints[name], inner) for name, inner in content.items()})
    assert isinstance(content, int) == (hint is int)
    assert get_origin(hint) is not tuple
    return content if isinstance(content, int) else raw(content)


def message_of(case: Case) -> Any:
    return value(kind_of(case["kind"]), case["fields"])


def shares_of(case: Case) -> dict[int, bytes]:
    return {int(place): raw(share) for place, share in case["shares"].items()}


def cases(section: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", OK[section], ids=lambda case: case.get("kind", ""))


def test_every_file_is_of_this_protocol_and_read() -> None:
    assert {file["protocol"] for file in FILES.values()} == {PROTOCOL}
    assert all(name == "ok" or name.startswith("bad_") for name in FILES)
    assert {file["operation"] for name, file in FILES.items() if name != "ok"} == OPERATIONS.keys()


def test_there_is_a_vector_of_every_message() -> None:
    assert set(messages.__all__) <= {case["kind"] for case in OK["messages"]}


@cases("messages")
def test_messages_have_these_bytes_and_hashes(case: Case) -> None:
    message = message_of(case)
    assert encoded(message).hex() == case["encoding"]
    assert decoded(kind_of(case["kind"]), raw(case["encoding"])) == message
    if "hash" in case:
        assert hashed(message).hex() == case["hash"]


@cases("signatures")
def test_signatures_are_these(case: Case) -> None:
    key = Ed25519PrivateKey.from_private_bytes(raw(case["secret"]))
    assert key.public_key().public_bytes_raw().hex() == case["public"]
    assert signed(key, message_of(case)).hex() == case["signature"]
    verified(raw(case["public"]), raw(case["signature"]), bound(message_of(case)), b"")


@cases("keys")
def test_derived_keys_are_these(case: Case) -> None:
    assert derived_key(raw(case["secret"]), message_of(case), session=raw(case["session"])).hex() == case["key"]


@cases("agreements")
def test_agreed_secrets_are_these(case: Case) -> None:
    assert public_of(raw(case["secret"])).hex() == case["public"]
    assert agreed(secret_key(raw(case["secret"])), raw(case["other"]), b"").hex() == case["agreed"]


@cases("boxes")
def test_boxes_are_these(case: Case) -> None:
    box, (first, second) = value(Box, case["box"]), map(raw, case["shares"])
    assert sealed(raw(case["secret"]), box, (first, second)).hex() == case["content"]
    assert opened(raw(case["secret"]), box, raw(case["content"])) == (first, second)


@cases("masks")
def test_masks_begin_like_this(case: Case) -> None:
    expected, sums = np.frombuffer(raw(case["words"]), "<u4"), np.frombuffer(raw(case["sums"]), "<u8")
    mask = Mask(raw(case["key"]), negative=case["negative"])
    words, beside = np.zeros(len(expected), np.uint32), np.zeros(len(sums), np.uint64)
    add_to_words(words, [mask], start=case["start"])
    add_to_sums(beside, [mask])
    assert words.tolist() == expected.tolist()
    assert beside.tolist() == sums.tolist()


@cases("packing")
def test_packed_words_are_these(case: Case) -> None:
    words, bits = np.array(case["words"], np.uint32), case["bits"]
    assert bytes(packed(words, bits)).hex() == case["packed"]
    assert unpacked(raw(case["packed"]), len(words), bits).tolist() == [word % 2**bits for word in case["words"]]


@cases("sharings")
def test_shares_give_these_secrets(case: Case) -> None:
    assert len(case["shares"]) == case["threshold"]
    assert joined(shares_of(case)).hex() == case["secret"]


@cases("graphs")
def test_rings_are_these(case: Case) -> None:
    clients = tuple(map(raw, case["clients"]))
    bounds = Bounds(
        clients=len(clients),
        neighbours=case["neighbours"],
        threshold=2,
        quorum=5,
        abort_quorum=5,
        survivors=5,
        window=1,
    )
    graph = Graph(raw(case["session"]), clients, bounds)
    assert [client.hex() for client in graph.ring] == case["ring"]
    around = {client.hex(): [other.hex() for other in graph.neighbours(client)] for client in clients}
    assert around == case["around"]


def read(case: Case) -> Any:
    reader = {name: entry if isinstance(entry, int) else raw(entry) for name, entry in case["reader"].items()}
    return roster.Roster.read(raw(case["content"]), **reader)


def recover(case: Case) -> Any:
    def fits(secret: bytes) -> bool:
        return hashlib.sha256(secret).hexdigest() == case["digest"]

    return recovered(shares_of(case), case["threshold"], fits)


OPERATIONS: dict[str, Callable[[Case], Any]] = {
    "decode": lambda case: decoded(kind_of(case["kind"]), raw(case["content"])),
    "unpack": lambda case: unpacked(raw(case["content"]), case["count"], case["bits"]),
    "join": lambda case: joined(shares_of(case)),
    "recover": recover,
    "check_public": lambda case: check_public(raw(case["public"]), b""),
    "agree": lambda case: agreed(secret_key(raw(case["secret"])), raw(case["public"]), b""),
    "open": lambda case: opened(raw(case["secret"]), value(Box, case["box"]), raw(case["content"])),
    "verify": lambda case: verified(raw(case["key"]), raw(case["signature"]), bound(message_of(case)), b""),
    "read": read,
}


@pytest.mark.parametrize(("operation", "case"), BAD)
def test_what_is_bad_is_refused_with_its_error(operation: str, case: Case) -> None:
    with pytest.raises(errors.LeptonicError) as refusal:
        OPERATIONS[operation](case)
    assert type(refusal.value).__name__ == case["error"]
