"""A session between two messages: sealed in the app's state, under a key that opens it once.

Flower runs each message of a ClientApp in a process of its own and passes ``Context.state`` on, which is anybody's to
copy. So what lies there is sealed (ChaCha20-Poly1305, RFC 8439) under a key that was drawn for it alone, and the key
lies in the node's home, whose database forgets it, on disk, before the state is opened. A copy that comes back is not
opened: no state is left twice, whoever sends what how often. Neither of the two alone tells a secret of the session, so
that what a disk still holds of a deleted key is of no use without the SuperNode's memory of that moment.
"""

import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leptonic.errors import DecodeError, ReplayedSession, RunError
from leptonic.flower.terms import Terms
from leptonic.secagg.binding import bound
from leptonic.secagg.encoding import Name, Size, decoded, encoded
from leptonic.secagg.messages import SessionSettings

__all__ = ["Keeper", "KeptSession"]

_NAME = 16
_NONCE = bytes(12)
"""A key seals one state."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (name BLOB PRIMARY KEY, run BLOB NOT NULL, key BLOB NOT NULL) STRICT;"
_Long = Annotated[bytes, Size(0, 2**30)]


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session between two messages. roster: the one it began with. state: see :mod:`...client.suspended`."""

    roster: _Long
    settings: SessionSettings
    terms: Terms
    state: _Long = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What a sealed state is bound to. step: the one that is to come."""

    TAG: ClassVar[str] = "kept session"
    run: Name
    step: Name


class Keeper:
    """Seals and opens the sessions of one node. path: its database of keys."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise RunError(f"{path}: not a database of keys ({error}); remove it between two runs") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def keep(self, run: bytes, step: str, session: KeptSession) -> bytes:
        """Seal a session for the step that is to come. Returns what may lie anywhere."""
        name, key = os.urandom(_NAME), os.urandom(32)
        self._database.execute("INSERT INTO keys VALUES (?, ?, ?)", (name, run, key))
        about = bound(_Sealed(run, step.encode()))
        return name + ChaCha20Poly1305(key).encrypt(_NONCE, encoded(session), about)

    def take(self, run: bytes, step: str, sealed: bytes) -> KeptSession:
        """Open a session for this step, for the one time that it can be. Raises ReplayedSession, DecodeError."""
        forgotten = self._database.execute(
            "DELETE FROM keys WHERE name = ? RETURNING key", (sealed[:_NAME],)
        ).fetchall()
        if not forgotten:
            raise ReplayedSession(
                f"step {step!r} is not the next one of this session: its state was taken up before, or given up"
            )
        try:
            content = ChaCha20Poly1305(forgotten[0][0]).decrypt(
                _NONCE, sealed[_NAME:], bound(_Sealed(run, step.encode()))
            )
        except InvalidTag:
            raise DecodeError(f"step {step!r} is not the next one of this session, or its state was altered") from None
        return decoded(KeptSession, content)

    def forget(self, run: bytes) -> None:
        """Give up what was kept of a run's sessions: a new one begins."""
        self._database.execute("DELETE FROM keys WHERE run = ?", (run,))
