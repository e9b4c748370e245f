"""The node's Ed25519 key, made at its first start and kept in its home; its public half is its identity."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from leptonic.errors import PolicyRefused, RunError
from leptonic.files import write_atomic

__all__ = ["node_key", "public_hex"]


def node_key(home: Path) -> Ed25519PrivateKey:
    """The node's key, readable by its owner alone; made if there is none. Raises PolicyRefused for another file."""
    path = home / "node.key"
    if not path.exists():
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunError(f"{home}: cannot be a client's home: {error.strerror}") from None
        made = Ed25519PrivateKey.generate()
        write_atomic(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), private=True)
    if path.stat().st_mode & 0o077:
        raise PolicyRefused(
            f"{path}: others can read the node's key; run: chmod 600 {path}, or remove it to get a new one"
        )
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise PolicyRefused(f"{path}: not a private key ({error}); restore it, or remove it to get a new one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PolicyRefused(f"{path}: not an Ed25519 key; restore it, or remove it to get a new one")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public key, 64 hexadecimal digits."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
