"""What a client keeps between rounds, on its own disk: algorithm state, its ledger of privacy, last replies.

State is kept by round, so that a client can continue from the last round in which its update was counted,
whatever happened since. Under privacy a round is reserved in the ledger before any training and settled when its
reply is kept, just before it may leave: from then on only those bytes can be had for it, whatever the coordinator
asks. A run belongs to one experiment and one index, so that neither buys a fresh budget.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import safetensors.numpy

from leptonic.database import transaction
from leptonic.errors import ReplayedSession, RunError
from leptonic.files import write_atomic
from leptonic.privacy.ledger import Charge, Ledger, Limits, RoundKey
from leptonic.update import Vector

__all__ = ["ClientHome", "KeptReply", "Refusal", "noted_head"]

HOME_FILE = "home.sqlite"
"""Name of the database in a node's folder."""

MOST_REFUSALS = 10_000
"""Refusals that are kept, so that nobody fills the owner's disk by asking."""
REASON_LIMIT = 500
"""Characters of a reason."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, experiment TEXT NOT NULL, client INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (place INTEGER PRIMARY KEY CHECK (place = 0), head BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS replies (
    run TEXT NOT NULL, step TEXT NOT NULL, digest TEXT NOT NULL, reply TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (run, step)
) STRICT;
CREATE TABLE IF NOT EXISTS refusals (
    run TEXT NOT NULL, round INTEGER NOT NULL, step TEXT NOT NULL, reason TEXT NOT NULL, last TEXT NOT NULL,
    times INTEGER NOT NULL, PRIMARY KEY (run, round, step, reason)
) STRICT;
"""


@dataclass(frozen=True)
class KeptReply:
    """The newest reply of one step of a run. digest: of the request. reply: its header as JSON."""

    step: str
    digest: str
    reply: str
    payload: bytes


@dataclass(frozen=True)
class Refusal:
    """What this node has refused. last: when it did the last time, UTC. times: how often it was asked."""

    run: str
    round: int
    step: str
    reason: str
    last: str
    times: int


class ClientHome:
    """One folder for one node, or for all clients of a simulation; readable by its owner alone.

    alone: False for a worker of the process that holds the folder. lineage, limits: of the ledger, by the owner. Raises
    RunError if the folder cannot be used, or if another process holds it.
    """

    def __init__(
        self, folder: Path, *, alone: bool = True, lineage: str = "data", limits: Limits | None = None
    ) -> None:
        self.folder, self._lineage, self._limits = folder, lineage, limits
        self._ledger: Ledger | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._lock = os.open(folder / "home.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunError(f"{folder}: cannot be a client's home: {error.strerror}") from None
        try:
            if alone:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RunError(f"{folder}: another process uses this home; give each node its own --home") from None
        self._database = _open(folder / HOME_FILE)

    def close(self) -> None:
        """Close ledger and database, and let others use the folder."""
        if self._ledger is not None:
            self._ledger.close()
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def bind(self, run: str, experiment: str, client: int | None = None) -> None:
        """Tie a run to its experiment's hash, and with ``client`` to an index; both stay for ever.

        Raises ReplayedSession if the run is known with another experiment or index.
        """
        with transaction(self._database):
            self._database.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, NULL)", (run, experiment))
            query = "SELECT experiment, client FROM runs WHERE run = ?"
            known, index = self._database.execute(query, (run,)).fetchone()
            if known != experiment:
                raise ReplayedSession(f"run {run} comes with another experiment than the one it began with")
            if client is not None and index not in (None, client):
                raise ReplayedSession(f"in run {run} this node is client {index}, and now is asked as client {client}")
            if client is not None:
                self._database.execute("UPDATE runs SET client = ? WHERE run = ?", (client, run))

    def load_state(self, run: str, client: int, counted: int) -> dict[str, Vector]:
        """The state after round ``counted``, the last that was counted; empty for 0.

        Raises RunError if it is not there any more.
        """
        if counted == 0:
            return {}
        path = self._state_path(run, client, counted)
        try:
            return safetensors.numpy.load(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise RunError(f"{path}: the client's state is damaged ({error}); restore it from a copy") from None
        except FileNotFoundError:
            raise RunError(
                f"client {client}: its state after round {counted} is not in {path.parent}; "
                "restore that folder from a copy, or start a new run"
            ) from None

    def save_state(self, run: str, client: int, round_number: int, state: Mapping[str, Vector], counted: int) -> None:
        """Keep the state after this round beside the last counted one; older ones are removed."""
        if not state:
            return
        path = self._state_path(run, client, round_number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, safetensors.numpy.save(dict(state)), private=True)
        keep = {path.name, self._state_path(run, client, counted).name}
        for old in path.parent.glob("round-*.safetensors"):
            if old.name not in keep:
                old.unlink()

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first asked for. Raises RunError as :class:`Ledger`.

        Its head is noted here with each reply that is kept: a ledger that was put back, alone, does not pass.
        """
        if self._ledger is None:
            anchor = _noted(self._database)
            self._ledger = Ledger(self.folder, lineage=self._lineage, limits=self._limits, anchor=anchor)
        return self._ledger

    def reserve(self, charge: Charge, most: int, *, apart: int = 1) -> int:
        """Charge a round before any training; see :meth:`Ledger.reserve`."""
        return self.ledger.reserve(charge, most, apart=apart)

    def release(self, key: RoundKey, kept: KeptReply) -> None:
        """Keep a reply, and settle its round's reservation; only then may it be sent."""
        ledger, run = self.ledger, key[0]
        with transaction(self._database):
            row = (run, kept.step, kept.digest, kept.reply, kept.payload)
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)
            self._database.execute("INSERT OR REPLACE INTO ledger VALUES (0, ?)", (ledger.head,))
        ledger.settle(key, "left")

    def kept(self, run: str, step: str, digest: str) -> KeptReply | None:
        """The kept reply to the request with this digest, if there is one."""
        query = "SELECT step, digest, reply, payload FROM replies WHERE run = ? AND step = ? AND digest = ?"
        row = self._database.execute(query, (run, step, digest)).fetchone()
        return KeptReply(row[0], row[1], row[2], bytes(row[3])) if row else None

    def refuse(self, run: str, round_number: int, step: str, reason: str) -> None:
        """Note that something was refused; the same again is counted. The newest :data:`MOST_REFUSALS` are kept."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with transaction(self._database):
            row = (run, round_number, step, reason[:REASON_LIMIT])
            again = "UPDATE refusals SET times = times + 1, last = ? WHERE (run, round, step, reason) = (?, ?, ?, ?)"
            if self._database.execute(again, (now, *row)).rowcount:
                return
            self._database.execute("INSERT INTO refusals VALUES (?, ?, ?, ?, ?, 1)", (*row, now))
            oldest = "SELECT rowid FROM refusals ORDER BY last DESC, rowid DESC LIMIT -1 OFFSET ?"
            self._database.execute(f"DELETE FROM refusals WHERE rowid IN ({oldest})", (MOST_REFUSALS,))  # noqa: S608

    def refusals(self) -> list[Refusal]:
        """What was refused, the last at the end."""
        rows = self._database.execute("SELECT * FROM refusals ORDER BY last, round")
        return [Refusal(*row) for row in rows]

    def _state_path(self, run: str, client: int, round_number: int) -> Path:
        return self.folder / "state" / run / f"client-{client}" / f"round-{round_number:06d}.safetensors"


def noted_head(folder: Path) -> bytes | None:
    """The head of the ledger that a home has noted, read while a node may run; None if it has noted none."""
    path = folder / HOME_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _noted(database)
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path}: not a client's database ({error}); restore it from a copy") from None


def _noted(database: sqlite3.Connection) -> bytes | None:
    row = database.execute("SELECT head FROM ledger").fetchone()
    return bytes(row[0]) if row else None


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        database.close()
        raise RunError(f"{path}: not a client's database ({error}); restore it from a copy") from None
    return database
