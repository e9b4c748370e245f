"""How rounds come into the run store: at once, or while the next one is at work.

A round may be at work before the one before it stands only where rounds leave nothing outside of the store: a run that
is killed then begins one round earlier again, and nobody can tell.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from numpy.typing import NDArray

from leptonic_server.store import ClientRecord, RoundRecord, RunStore

__all__ = ["AtOnce", "Commits", "OneBehind", "Told"]

Vectors = Mapping[str, NDArray[Any]]


class Told(Protocol):
    """Is told of commits."""

    def round_committed(self, record: RoundRecord) -> None:
        """A round stands in the run store."""
        ...


class Commits(Protocol):
    """Commits rounds in their order, and tells of each one that stands."""

    def commit(
        self, record: RoundRecord, vectors: Vectors, clients: list[ClientRecord], *, transcript: bytes = b""
    ) -> None:
        """As :meth:`RunStore.commit`. Nobody changes the vectors any more."""
        ...

    def settle(self) -> None:
        """Come back when all rounds stand. Raises what a commit ended with."""
        ...

    def close(self) -> None:
        """Settle, and end what was started."""
        ...


class AtOnce:
    """A round stands when it was committed."""

    def __init__(self, store: RunStore, told: Told) -> None:
        self._store, self._told = store, told

    def commit(
        self, record: RoundRecord, vectors: Vectors, clients: list[ClientRecord], *, transcript: bytes = b""
    ) -> None:
        """See :class:`Commits`."""
        self._store.commit(record, vectors, clients, transcript=transcript)
        self._told.round_committed(record)

    def settle(self) -> None:
        """They do."""

    def close(self) -> None:
        """There is nothing to close."""


class OneBehind:
    """A thread with a connection of its own commits a round, which stands before the next one is committed.

    told: by that thread.
    """

    def __init__(self, store: RunStore, told: Told) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._store = self._thread.submit(RunStore, store.folder).result()
        self._at_once = AtOnce(self._store, told)
        self._under_way: Future[None] | None = None

    def commit(
        self, record: RoundRecord, vectors: Vectors, clients: list[ClientRecord], *, transcript: bytes = b""
    ) -> None:
        """See :class:`Commits`; comes back before the round stands."""
        self.settle()
        self._under_way = self._thread.submit(self._at_once.commit, record, vectors, clients, transcript=transcript)

    def settle(self) -> None:
        """See :class:`Commits`."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """See :class:`Commits`."""
        try:
            self.settle()
        finally:
            self._thread.submit(self._store.close).result()
            self._thread.shutdown()
