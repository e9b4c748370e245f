"""The sequential engine: one client after another, in this process. The readable reference."""

from collections.abc import Iterator, Sequence

from leptonic.wire import Reply, Request
from leptonic_simulations.clients import SimulatedClients

__all__ = ["SequentialEngine"]


class SequentialEngine:
    """Does each client's work when its reply is asked for."""

    def __init__(self, clients: SimulatedClients) -> None:
        self._clients = clients

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[tuple[Reply, bytes]]:
        """The replies, in the order of the requests."""
        for request in requests:
            yield self._clients.respond(request, content)

    def close(self) -> None:
        """There is nothing to close."""
