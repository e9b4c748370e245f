"""What a client keeps between rounds, on its own disk: algorithm state, released rounds, last replies.

State is kept by round, so that a client can continue from the last round in which its update was counted,
whatever happened since. Released rounds are recorded before any training (DESIGN, invariant 3).
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import safetensors.numpy

from leptonic.errors import BudgetExhausted, RunError
from leptonic.files import write_atomic
from leptonic.update import Vector

__all__ = ["ClientHome"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS releases (
    run TEXT NOT NULL, client INTEGER NOT NULL, round INTEGER NOT NULL, PRIMARY KEY (run, client, round)
) STRICT;
CREATE TABLE IF NOT EXISTS replies (
    run TEXT NOT NULL, client INTEGER NOT NULL, step TEXT NOT NULL, digest TEXT NOT NULL,
    reply TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (run, client, step)
) STRICT;
"""


class ClientHome:
    """One folder for one node, or for all clients of a simulation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "home.sqlite", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def load_state(self, run: str, client: int, counted: int) -> dict[str, Vector]:
        """The state after round ``counted``, the last that was counted; empty for 0.

        Raises RunError if it is not there any more.
        """
        if counted == 0:
            return {}
        path = self._state_path(run, client, counted)
        try:
            return safetensors.numpy.load_file(path)
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
        write_atomic(path, safetensors.numpy.save(dict(state)))
        keep = {path.name, self._state_path(run, client, counted).name}
        for old in path.parent.glob("round-*.safetensors"):
            if old.name not in keep:
                old.unlink()

    def reserve(self, run: str, client: int, round_number: int, limit: int) -> int:
        """Record, durably, that this round's update may leave. Returns how many rounds of the run have been.

        A round that was reserved before is not counted again. Raises BudgetExhausted at more than ``limit``.
        """
        key = (run, client, round_number)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT OR IGNORE INTO releases VALUES (?, ?, ?)", key)
            count = "SELECT count(*) FROM releases WHERE run = ? AND client = ?"
            (rounds,) = self._database.execute(count, key[:2]).fetchone()
            if rounds > limit:
                raise BudgetExhausted(
                    f"client {client} has answered {limit} rounds, all that its privacy target was calibrated for; "
                    f"round {round_number} is refused"
                )
        return int(rounds)

    def remember(self, run: str, client: int, step: str, *, digest: str, reply: str, payload: bytes) -> None:
        """Keep the newest reply of a step, so that a repeated request gets the same bytes after a restart."""
        row = (run, client, step, digest, reply, payload)
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)

    def recall(self, run: str, client: int, step: str, digest: str) -> tuple[str, bytes] | None:
        """The kept reply to the request with this digest, if there is one."""
        query = "SELECT reply, payload FROM replies WHERE run = ? AND client = ? AND step = ? AND digest = ?"
        row = self._database.execute(query, (run, client, step, digest)).fetchone()
        return (row[0], bytes(row[1])) if row else None

    def _state_path(self, run: str, client: int, round_number: int) -> Path:
        return self.folder / "state" / run / f"client-{client}" / f"round-{round_number:06d}.safetensors"
