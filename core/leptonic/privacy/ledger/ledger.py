"""A node's ledger, as its owner's client uses it: reserve before training, settle before anything leaves.

One round of a run that is reserved, and whose update has not left, may be trained again under the same charge: of what
was drawn for it, one outcome leaves. Once an update has left, its round is never reserved again. An outcome can also be
that the coordinator is told of a failure; the round is then charged anew if it is asked for again.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from leptonic.errors import ReplayedSession, RunError
from leptonic.privacy.ledger.books import Books
from leptonic.privacy.ledger.charge import Charge, Cost, RoundKey
from leptonic.privacy.ledger.entries import Data, Entry, Outcome, Reserve, Settle
from leptonic.privacy.ledger.file import LedgerFile, now
from leptonic.privacy.ledger.fingerprint import fingerprint, secret
from leptonic.privacy.ledger.limits import Limits, all_answered, check, check_distance
from leptonic.privacy.ledger.verification import anchored, books_of
from leptonic.privacy.renyi import RenyiCurve

__all__ = ["LEDGER_FILE", "Ledger"]

LEDGER_FILE = "ledger.sqlite"
"""Name of the ledger in a node's folder."""


class Ledger:
    """The ledger in a folder. lineage: the owner's name for the data that are charged from now on.

    anchor: the hash of an entry that must be there, as noted in another place. Raises RunError if the ledger is
    damaged, lacks the anchor's entry, or is another process's.
    """

    def __init__(
        self, folder: Path, *, lineage: str, limits: Limits | None = None, anchor: bytes | None = None
    ) -> None:
        self.lineage, self.limits, self._folder = lineage, limits or Limits(), folder
        self._file = LedgerFile(folder / LEDGER_FILE)
        try:
            links = list(self._file.load())
            self._books = books_of(links, self._file.path)
            if anchor is not None and not anchored(links, anchor):
                raise RunError(
                    f"{self._file.path}: lacks what this node has noted (entry {anchor.hex()[:16]}...): "
                    "it is older, or another one; restore the newest copy"
                )
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file, and let others use it."""
        self._file.close()

    @property
    def head(self) -> bytes:
        """The hash over all entries, 32 bytes: who notes it elsewhere finds out if any is taken away."""
        return self._file.head

    @property
    def books(self) -> Books:
        """What the entries add up to. To be read."""
        return self._books

    def note_data(self, *arrays: NDArray[Any]) -> bool:
        """Note the lineage's data as they are. Returns whether others were noted before; what was spent stays spent."""
        known = self._books.fingerprints.get(self.lineage)
        found = fingerprint(secret(self._folder / "ledger.key"), *arrays)
        if found != known:
            self._add(Data(time=now(), lineage=self.lineage, fingerprint=found))
        return known not in (None, found)

    def check_run(self, run: str, purpose: str | None, cost: Cost, rounds: int, note: str = "") -> list[str]:
        """Raise BudgetExhausted unless all that a run may still charge fits into what is left, now.

        cost: of one round. rounds: most of them, of which the run's charges so far are taken off. note: for the owner,
        behind what the run asks for. Returns how much of each limit would be spent at its end, in words.
        """
        left = max(0, rounds - self._books.charges(run))
        what = f"run {run} asks for {left} more of {rounds} rounds{note}"
        return self._check(cost.curve_for(self.limits.unit).times(left), what, run=run, purpose=purpose)

    def reserve(self, charge: Charge, most: int | None = None, *, apart: int = 1) -> int:
        """Charge a round, on disk before this returns. Returns how often the client was charged in this run.

        most: of these. apart: rounds from one that is charged to the next, at least. Raises ReplayedSession if an
        update of this round has left, BudgetExhausted past ``most``, too soon, or where a limit of the owner's forbids
        it; then nothing is charged.
        """
        books, key = self._books, charge.key
        if key in books.left:
            raise ReplayedSession(f"an update of round {charge.round} has left; another one is not released")
        charges, waiting = books.charges(charge.run, charge.client), books.waiting(key)
        if waiting is not None and waiting.cost == charge.cost:
            return charges
        check_distance(charge, books.last_round(charge.run, charge.client), apart)
        if most is not None and charges >= most:
            raise all_answered(charge, most)
        what = f"round {charge.round} of run {charge.run} asks for"
        self._check(charge.cost.curve_for(self.limits.unit), what, run=charge.run, purpose=charge.purpose)
        self._add(Reserve.of(charge, time=now(), lineage=self.lineage, attempt=books.attempts(key) + 1))
        return charges + 1

    def settle(self, key: RoundKey, outcome: Outcome) -> bool:
        """Note what becomes of a round's open reservation, if there is one; only then may anything be sent.

        Returns whether the round's update may leave.
        """
        waiting = self._books.waiting(key)
        if waiting is not None:
            self._add(Settle(time=now(), reservation=waiting.number, outcome=outcome))
        return key in self._books.left

    def _check(self, asked: RenyiCurve, what: str, *, run: str, purpose: str | None) -> list[str]:
        return check(self.limits, self._books, asked, what=what, lineage=self.lineage, run=run, purpose=purpose)

    def _add(self, entry: Entry) -> None:
        self._file.append(entry)
        self._books.take(entry)
