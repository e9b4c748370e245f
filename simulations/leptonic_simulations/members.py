"""The members of a simulation: a population of which nothing is stored."""

from collections.abc import Iterator, Mapping

__all__ = ["Everyone"]


class Everyone(Mapping[int, int]):
    """The members of a simulation, each a node by itself: all of them reachable, nobody needs to sign.

    Nothing is stored, so that a million of them cost nothing.
    """

    def __init__(self, clients: int) -> None:
        self._clients = clients

    def __getitem__(self, client: int) -> int:
        if 0 <= client < self._clients:
            return client
        raise KeyError(client)

    def __contains__(self, client: object) -> bool:
        return isinstance(client, int) and 0 <= client < self._clients

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._clients))

    def __len__(self) -> int:
        return self._clients

    def online(self) -> Mapping[int, int]:
        """Every client."""
        return self

    def key(self, client: int) -> None:
        """No key: the reply never left this process."""
        return

    def name(self, client: int) -> str:
        """Clients are called by their index."""
        return f"client-{client}"
