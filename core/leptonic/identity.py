"""Ed25519 keys in files: made when they are first asked for, readable by their owner alone."""

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

__all__ = ["public_hex", "signing_key"]


def signing_key(path: Path, whose: str) -> Ed25519PrivateKey:
    """The key in this file; made if there is none. whose: for messages.

    Raises PolicyRefused for a file that is no such key or that others can read, RunError if it cannot be made.
    """
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunError(f"{path.parent}: cannot hold {whose} key: {error.strerror}") from None
        made = Ed25519PrivateKey.generate()
        write_atomic(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), private=True)
    if path.stat().st_mode & 0o077:
        raise PolicyRefused(
            f"{path}: others can read {whose} key; run: chmod 600 {path}, or remove it to get a new one"
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
