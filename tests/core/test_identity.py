"""The node's key: made once, its owner's alone, and nothing else is taken for it."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from leptonic.errors import PolicyRefused
from leptonic.identity import public_hex, signing_key


def test_the_key_is_made_once_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    home, before = tmp_path / "deep" / "home", os.umask(0)
    try:
        made = signing_key(home / "node.key", "the node's")
    finally:
        os.umask(before)
    assert (home / "node.key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert public_hex(signing_key(home / "node.key", "the node's")) == public_hex(made)
    assert os.listdir(home) == ["node.key"]  # noqa: PTH208  names, hidden ones included
    assert public_hex(signing_key(tmp_path / "other" / "node.key", "the node's")) != public_hex(made)


def test_the_public_half_verifies_what_the_key_signs(tmp_path: Path) -> None:
    made = signing_key(tmp_path / "node.key", "the node's")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex(made))).verify(made.sign(b"text"), b"text")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_key_that_others_can_read_or_replace_is_refused_with_the_way_out(tmp_path: Path, mode: int) -> None:
    signing_key(tmp_path / "node.key", "the node's")
    (tmp_path / "node.key").chmod(mode)
    with pytest.raises(PolicyRefused, match=r"chmod 600.*node\.key"):
        signing_key(tmp_path / "node.key", "the node's")


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_file_that_is_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node.key").write_bytes(content)
    (tmp_path / "node.key").chmod(0o600)
    with pytest.raises(PolicyRefused, match=r"node\.key: not a private key") as caught:
        signing_key(tmp_path / "node.key", "the node's")
    assert "AAAA" not in str(caught.value)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "node.key"
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(PolicyRefused, match="Ed25519"):
        signing_key(tmp_path / "node.key", "the node's")


def test_a_key_made_elsewhere_is_taken(tmp_path: Path) -> None:
    made, path = Ed25519PrivateKey.generate(), tmp_path / "node.key"
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    assert public_hex(signing_key(tmp_path / "node.key", "the node's")) == public_hex(made)


def test_a_key_behind_a_passphrase_is_refused_by_name(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

    made, path = Ed25519PrivateKey.generate(), tmp_path / "node.key"
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    path.chmod(0o600)
    with pytest.raises(PolicyRefused, match=r"node\.key"):
        signing_key(tmp_path / "node.key", "the node's")
