"""The sequential engine: one client after another, in this process. The readable reference."""

from collections.abc import Callable, Iterator, Sequence

from leptonic.wire import Reply, Request
from leptonic_simulations.clients import SimulatedClients

__all__ = ["SequentialEngine"]


class SequentialEngine:
    """Does each client's work when its reply is asked for. room: see :class:`leptonic_simulations.grid.InPlace`."""

    def __init__(self, clients: SimulatedClients) -> None:
        self._clients = clients
        self.room: Callable[[], memoryview] | None = None

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """The replies, in the order of the requests."""
        for request in requests:
            room = self.room() if self.room is not None and request.step == "train" else None
            reply, answer = self._clients.respond(request, content, room)
            yield reply, answer if room is None or reply.status != "done" else room

    def close(self) -> None:
        """There is nothing to close."""
