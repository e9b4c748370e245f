"""The run store: everything a resume, a report or an auditor needs, one atomic commit per round.

A run's folder holds ``run.sqlite`` and two safetensors files (model and server state) that take turns.
The vectors are written over those of the round before the last, then one transaction names them, with their hash:
killed at any instant, the folder holds the last committed round, whole. Nothing is pickled.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from leptonic.database import transaction
from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.files import overwrite

__all__ = ["ClientRecord", "Member", "RoundRecord", "RunStore", "now"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY, experiment TEXT NOT NULL, hash TEXT NOT NULL, layout TEXT NOT NULL,
    mode TEXT NOT NULL, version TEXT NOT NULL, created TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS roster (
    client INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS rounds (
    round INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, vectors TEXT NOT NULL, sha256 TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS clients (
    round INTEGER NOT NULL, attempt INTEGER NOT NULL, client INTEGER NOT NULL, status TEXT NOT NULL,
    detail TEXT NOT NULL, seconds REAL NOT NULL, epsilon REAL, PRIMARY KEY (round, attempt, client)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transcripts (
    round INTEGER PRIMARY KEY, record BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS signed_rosters (
    digest BLOB PRIMARY KEY, content BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS refusals (
    name TEXT NOT NULL, reason TEXT NOT NULL, last TEXT NOT NULL, PRIMARY KEY (name, reason)
) STRICT;
CREATE TABLE IF NOT EXISTS notes (
    key TEXT PRIMARY KEY, value TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS clients_by_client ON clients (client, status, round);
"""

_TABLES = {"run", "roster", "rounds", "clients", "transcripts", "signed_rosters", "notes"}

_FILES = ("vectors-0.safetensors", "vectors-1.safetensors")
_VIRTUAL_SECONDS = "virtual_seconds"
MOST_REFUSALS = 1000
"""Refusals of nodes that are kept."""


@dataclass(frozen=True)
class Member:
    """One client of the roster. key: its Ed25519 public key, hexadecimal, or None in a simulation."""

    client: int
    name: str
    key: str | None = None


@dataclass(frozen=True)
class ClientRecord:
    """What became of one invited client in one attempt of a round.

    status: counted, late, failed, refused, invalid, lost. seconds: of local work, as the client says.
    """

    client: int
    status: str
    detail: str = ""
    seconds: float = 0.0
    epsilon: float | None = None


@dataclass(frozen=True)
class RoundRecord:
    """One committed round, as metrics, report and page show it.

    seconds: by phase (plan, collect, aggregate, evaluate). metrics: of the evaluation, if one was made.
    train: mean metrics of local training. clamped: values outside the range, summed over the cohort.
    epsilon: the largest that a client has reported in this round. privacy: mechanism, parameters, and epsilon so far.
    virtual_seconds: since the run began, at the end of the round, where a simulation's scenario keeps time.
    """

    round: int
    attempt: int
    model_sha256: str
    learning_rate: float
    cohort: int
    survivors: int
    bytes_down: int
    bytes_up: int
    seconds: Mapping[str, float]
    metrics: Mapping[str, float] = field(default_factory=dict)
    client_metrics: Mapping[str, float] = field(default_factory=dict)
    train: Mapping[str, float] = field(default_factory=dict)
    clamped: int = 0
    capped: int = 0
    epsilon: float | None = None
    privacy: Mapping[str, str | int | float] = field(default_factory=dict)
    finished: str = ""
    virtual_seconds: float | None = None

    @property
    def spent(self) -> float | None:
        """The largest epsilon of any client up to this round, as far as the record knows."""
        known = [self.privacy.get("epsilon"), self.epsilon]
        return max((float(epsilon) for epsilon in known if epsilon is not None), default=None)


class RunStore:
    """One run's folder, open for writing by one process; or with ``read_only`` for those who look at it."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        path = folder / "run.sqlite"
        if read_only and not path.exists():
            raise RunError(f"{path}: not there; give the folder of a run")
        mode = "" if not read_only else "?mode=ro" if _is_open(path) else "?immutable=1"
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}{mode}", uri=True, isolation_level=None)
        try:
            if read_only:
                _check_hostile(self._database)
                # One moment of a run that may be going on.
                self._database.execute("BEGIN")
                self._database.execute("SELECT 1 FROM run")
            else:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise RunError(f"{path}: not a run store ({error}); restore it from a copy") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, run: str, experiment: Experiment, *, layout: str, mode: str, version: str) -> None:
        """Record a new run. layout: hash of the model's layout; mode: simulated or deployed."""
        row = (
            run,
            json.dumps(experiment.model_dump(mode="json")),
            experiment.hash,
            layout,
            mode,
            version,
            now(),
        )
        self._database.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    @property
    def run(self) -> str | None:
        """The run's id, None before :meth:`begin`."""
        row = self._database.execute("SELECT id FROM run").fetchone()
        return row[0] if row else None

    @property
    def mode(self) -> str:
        """How the run is executed: simulated or deployed."""
        return str(self._one("SELECT mode FROM run"))

    @property
    def experiment(self) -> Experiment:
        """The resolved experiment of the run."""
        content = json.loads(self._one("SELECT experiment FROM run"))
        return from_mapping(content, source=str(self.folder / "run.sqlite"))

    def check(self, experiment: Experiment, *, layout: str, mode: str) -> None:
        """Raise RunError unless this run can continue as ``experiment``."""
        stored = (self._one("SELECT hash FROM run"), self._one("SELECT layout FROM run"), self.mode)
        if stored[2] != mode:
            raise RunError(f"{self.folder}: this run was {stored[2]}, it cannot be resumed {mode}")
        if stored[:2] != (experiment.hash, layout):
            raise RunError(
                f"{self.folder}: the experiment has changed since this run began; "
                "put the file and its --set values back, or start a new run"
            )

    def note(self, key: str) -> str | None:
        """What was kept about how the run is executed."""
        row = self._database.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keep(self, key: str, value: str) -> None:
        """Keep a note; it replaces an earlier one."""
        self._database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))

    def enrol(self, members: list[Member]) -> None:
        """Fix the roster."""
        with transaction(self._database):
            rows = [(member.client, member.name, member.key) for member in members]
            self._database.executemany("INSERT INTO roster VALUES (?, ?, ?)", rows)

    def roster(self) -> list[Member]:
        """The members, by index."""
        rows = self._database.execute("SELECT client, name, key FROM roster ORDER BY client")
        return [Member(*row) for row in rows]

    def record_clients(
        self, round_number: int, attempt: int, records: list[ClientRecord], *, virtual_seconds: float | None = None
    ) -> None:
        """Record what became of the clients of an attempt that failed, and when it ended in virtual time."""
        with transaction(self._database):
            self._insert_clients(round_number, attempt, records)
            if virtual_seconds is not None:
                self.keep(_VIRTUAL_SECONDS, repr(virtual_seconds))

    def virtual_seconds(self) -> float:
        """When the last attempt of a round that stands here ended, in virtual seconds since the run began."""
        committed = [record.virtual_seconds or 0.0 for record in self.rounds()]
        return max([float(self.note(_VIRTUAL_SECONDS) or 0.0), *committed])

    def commit(
        self,
        record: RoundRecord,
        vectors: Mapping[str, NDArray[Any]],
        clients: list[ClientRecord],
        *,
        transcript: bytes = b"",
    ) -> None:
        """Commit one round: its vectors, its record, what became of its clients, and how its sum was opened."""
        last, held = self._database.execute(
            "SELECT round, vectors FROM rounds ORDER BY round DESC LIMIT 1"
        ).fetchone() or (-1, None)
        if record.round <= last:
            raise RunError(f"{self.folder}: round {record.round} is committed already, the last is {last}")
        # The file that does not hold the last committed round.
        name, content = _FILES[held == _FILES[0]], safetensors.numpy.save(dict(vectors))
        # The server's noise can be taken off by whoever has what it was made from.
        private = any(key.startswith("privacy.") for key in vectors)
        overwrite(self.folder / name, content, private=private)
        with transaction(self._database):
            digest = hashlib.sha256(content).hexdigest()
            row = (record.round, record.attempt, name, digest, json.dumps(vars(record)))
            self._database.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?)", row)
            self._insert_clients(record.round, record.attempt, clients)
            if transcript:
                self._database.execute("INSERT INTO transcripts VALUES (?, ?)", (record.round, transcript))

    def transcript(self) -> bytes:
        """That of the last committed round whose sum was opened securely, nothing if there is none."""
        row = self._database.execute("SELECT record FROM transcripts ORDER BY round DESC LIMIT 1").fetchone()
        return bytes(row[0]) if row else b""

    def transcripts(self) -> list[bytes]:
        """Those of all committed rounds, in order."""
        return [bytes(row[0]) for row in self._database.execute("SELECT record FROM transcripts ORDER BY round")]

    def keep_roster(self, digest: bytes, content: bytes) -> None:
        """Keep a signed roster under its hash, by which transcripts name it."""
        self._database.execute("INSERT OR IGNORE INTO signed_rosters VALUES (?, ?)", (digest, content))

    def signed_rosters(self) -> dict[bytes, bytes]:
        """The signed rosters that transcripts may name, by their hashes."""
        return dict(self._database.execute("SELECT digest, content FROM signed_rosters").fetchall())

    def refused(self, name: str, reason: str) -> None:
        """Keep why a node does not join; the newest :data:`MOST_REFUSALS` are kept."""
        self._database.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?)", (name, reason, now()))
        oldest = "SELECT rowid FROM refusals ORDER BY last DESC, rowid DESC LIMIT -1 OFFSET ?"
        self._database.execute(f"DELETE FROM refusals WHERE rowid IN ({oldest})", (MOST_REFUSALS,))  # noqa: S608

    def refusals(self) -> list[tuple[str, str]]:
        """The nodes that did not join, and why, in their names' order."""
        return self._database.execute("SELECT name, reason FROM refusals ORDER BY name, last").fetchall()

    def rounds(self) -> list[RoundRecord]:
        """All committed rounds in order; round 0 is the model before training."""
        rows = self._database.execute("SELECT record FROM rounds ORDER BY round")
        return [RoundRecord(**json.loads(row[0])) for row in rows]

    def last_round(self) -> int | None:
        """The last committed round, None if not even the first model was."""
        return self._database.execute("SELECT max(round) FROM rounds").fetchone()[0]  # type: ignore[no-any-return]

    def last_attempt(self, round_number: int) -> int:
        """The highest attempt of a round that was recorded, 0 if none."""
        query = "SELECT coalesce(max(attempt), 0) FROM clients WHERE round = ?"
        return int(self._database.execute(query, (round_number,)).fetchone()[0])

    def vectors(self) -> dict[str, NDArray[Any]]:
        """Model and server state of the last committed round. Raises RunError if the file is damaged."""
        name = self._one("SELECT vectors FROM rounds ORDER BY round DESC LIMIT 1")
        digest = self._one("SELECT sha256 FROM rounds ORDER BY round DESC LIMIT 1")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise RunError(f"{self.folder / name}: cannot be read ({error}); restore it from a copy") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError(f"{self.folder / name}: is not what was committed; restore it from a copy")
        return safetensors.numpy.load(content)

    def counted(self, clients: Iterable[int]) -> dict[int, int]:
        """For each of these clients that ever was counted: the last committed round in which it was."""
        query = """
            SELECT clients.client, max(clients.round) FROM json_each(?)
            JOIN clients ON clients.client = json_each.value AND clients.status = 'counted'
            JOIN rounds ON rounds.round = clients.round AND rounds.attempt = clients.attempt
            GROUP BY clients.client
        """
        return dict(self._database.execute(query, (json.dumps(list(clients)),)).fetchall())

    def most_asked(self, round_number: int, clients: Iterable[int]) -> int:
        """The most rounds that any client was asked in and has not refused, if ``clients`` are in this round."""
        all_before = """
            SELECT count(DISTINCT round) FROM clients WHERE status != 'refused' GROUP BY client ORDER BY 1 DESC LIMIT 1
        """
        before = self._database.execute(all_before).fetchone()
        query = """
            SELECT 1 + count(DISTINCT clients.round) FROM json_each(?)
            LEFT JOIN clients ON clients.client = json_each.value AND status != 'refused' AND clients.round != ?
            GROUP BY json_each.value ORDER BY 1 DESC LIMIT 1
        """
        with_these = self._database.execute(query, (json.dumps(list(clients)), round_number)).fetchone()
        return max(before[0] if before else 0, with_these[0] if with_these else 0)

    def clients(self) -> list[tuple[int, int, ClientRecord]]:
        """What became of every invited client: (round, attempt, record), in order."""
        query = "SELECT * FROM clients ORDER BY round, attempt, client"
        return [(row[0], row[1], ClientRecord(*row[2:])) for row in self._database.execute(query)]

    def _insert_clients(self, round_number: int, attempt: int, records: list[ClientRecord]) -> None:
        rows = [(round_number, attempt, r.client, r.status, r.detail, r.seconds, r.epsilon) for r in records]
        self._database.executemany("INSERT INTO clients VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _one(self, query: str) -> Any:
        row: tuple[Any, ...] | None = self._database.execute(query).fetchone()
        if row is None:
            raise RunError(f"{self.folder}: no run was begun here")
        return row[0]


def _check_hostile(database: sqlite3.Connection) -> None:
    """Raise DatabaseError for a file in which somebody has put other things than our tables."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    strict = {row[1] for row in database.execute("PRAGMA table_list") if row[2] == "table" and row[5]}
    if missing := _TABLES - strict:
        raise sqlite3.DatabaseError(f"no strict table {min(missing)}")


def _is_open(path: Path) -> bool:
    """Whether a process writes there, or did when it was killed: what is new is beside the file."""
    return path.with_name(f"{path.name}-wal").exists()


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
