"""What the simulated clients keep between rounds: one sparse file, in which every client has its place.

A population of a million with some cohorts behind it takes the disk space of those cohorts, and a client's
state is read and written where it lies, without a look at anybody else's. Each client has two places, since
the state of the last counted round must outlive one that is being written: killed at any instant, it is there.
After a loss of power a place may hold what was never written; a check sum tells.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from leptonic.database import transaction
from leptonic.errors import RunError
from leptonic.files import write_atomic
from leptonic.privacy.ledger import Charge, all_answered, check_distance
from leptonic.update import Vector
from leptonic_client.home import ClientHome

__all__ = ["SimulatedHome"]

_ENTRY = struct.Struct("<qI4x")
"""Of a place: its round, 0 for none, and the CRC-32 of its vectors."""
PLACES = 2

_ROUNDS = """
CREATE TABLE IF NOT EXISTS rounds (
    run TEXT NOT NULL, client INTEGER NOT NULL, round INTEGER NOT NULL, session TEXT NOT NULL,
    PRIMARY KEY (run, client, round, session)
) STRICT
"""


class SimulatedHome(ClientHome):
    """A home whose clients' states lie in one file. size: d, of each vector."""

    def __init__(self, folder: Path, *, size: int, alone: bool = True) -> None:
        super().__init__(folder, alone=alone)
        self._size = size
        self._open: dict[str, _States] = {}
        self._database.execute(_ROUNDS)
        # Killed, nothing is lost. After a loss of power the last rounds may be, which a resumed run counts again; each
        # client's own write to the disk would take longer than its training.
        self._database.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the files, and the home."""
        for states in self._open.values():
            states.close()
        self._open.clear()
        super().close()

    def load_state(self, run: str, client: int, counted: int) -> dict[str, Vector]:
        """As :meth:`ClientHome.load_state`."""
        return self._states(run).load(client, counted) if counted else {}

    def save_state(self, run: str, client: int, round_number: int, state: Mapping[str, Vector], counted: int) -> None:
        """As :meth:`ClientHome.save_state`; not synchronised to the disk."""
        if state:
            self._states(run).save(client, round_number, state, counted)

    def reserve(self, charge: Charge, most: int, *, apart: int = 1) -> int:
        """As :meth:`ClientHome.reserve`, for clients whose data have no owner: their rounds are counted, on disk.

        A round that is asked for again counts once, but where its noise is another one. No ledger is kept, nor a limit.
        """
        with transaction(self._database):
            known = "SELECT max(round) FROM rounds WHERE run = ? AND client = ?"
            (last,) = self._database.execute(known, (charge.run, charge.client)).fetchone()
            check_distance(charge, last, apart)
            self._database.execute("INSERT OR IGNORE INTO rounds VALUES (?, ?, ?, ?)", charge.key)
            count = "SELECT count(*) FROM rounds WHERE run = ? AND client = ?"
            (rounds,) = self._database.execute(count, (charge.run, charge.client)).fetchone()
            if rounds > most:
                raise all_answered(charge, most)
        return int(rounds)

    def _states(self, run: str) -> "_States":
        if run not in self._open:
            self._open[run] = _States(self.folder / "state" / run, self._size)
        return self._open[run]


class _States:
    """The states of one run: the names of the vectors, an index of entries, and the vectors."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._size = folder, size
        flags = os.O_RDWR | os.O_CREAT
        self._index = os.open(folder / "index", flags, 0o600)
        self._vectors = os.open(folder / "vectors", flags, 0o600)

    def close(self) -> None:
        """Close the files."""
        os.close(self._index)
        os.close(self._vectors)

    def load(self, client: int, round_number: int) -> dict[str, Vector]:
        """The state of a round. Raises RunError if it is not there, or not what was written."""
        for place in range(PLACES):
            known, checksum = self._entry(client, place)
            if known == round_number:
                names = (self._folder / "names").read_text().split()
                length = 4 * self._size * len(names)
                content = os.pread(self._vectors, length, length * (PLACES * client + place))
                if len(content) != length or zlib.crc32(content) != checksum:
                    raise RunError(f"{self._folder}: the state of client {client} is damaged; start a new run")
                return dict(zip(names, np.frombuffer(content, "<f4").reshape(len(names), -1), strict=True))
        raise RunError(f"{self._folder}: holds no state of client {client} after round {round_number}; start a new run")

    def save(self, client: int, round_number: int, state: Mapping[str, Vector], counted: int) -> None:
        """Write a state beside that of the last counted round."""
        names = sorted(state)
        self._keep_names(names)
        content = np.stack([state[name] for name in names]).astype("<f4", copy=False).tobytes()
        place = next(place for place in range(PLACES) if counted == 0 or self._entry(client, place)[0] != counted)
        self._set_entry(client, place, 0, 0)
        self._write(self._vectors, content, len(content) * (PLACES * client + place))
        self._set_entry(client, place, round_number, zlib.crc32(content))

    def _keep_names(self, names: list[str]) -> None:
        path = self._folder / "names"
        if not path.exists():
            write_atomic(path, " ".join(names).encode())

    def _entry(self, client: int, place: int) -> tuple[int, int]:
        content = os.pread(self._index, _ENTRY.size, _ENTRY.size * (PLACES * client + place))
        return _ENTRY.unpack(content.ljust(_ENTRY.size, b"\x00"))

    def _set_entry(self, client: int, place: int, round_number: int, checksum: int) -> None:
        entry = _ENTRY.pack(round_number, checksum)
        self._write(self._index, entry, _ENTRY.size * (PLACES * client + place))

    def _write(self, file: int, content: bytes, start: int) -> None:
        try:
            written = os.pwrite(file, content, start)
        except OSError as error:
            raise RunError(f"{self._folder}: a client's state cannot be written: {error.strerror}") from None
        if written != len(content):
            raise RunError(f"{self._folder}: a client's state cannot be written: the disk is full")
