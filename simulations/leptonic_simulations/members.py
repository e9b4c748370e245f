"""The members of a simulation: a population of which nothing is stored."""

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Everyone"]


class Everyone(Mapping[int, int]):
    """The members of a simulation, client -> node: all of them reachable, nobody needs to sign.

    Nothing is stored, so that a million of them cost nothing.
    """

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes

    def __getitem__(self, client: int) -> int:
        if 0 <= client < len(self._nodes):
            return self._nodes[client]
        raise KeyError(client)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._nodes)))

    def __len__(self) -> int:
        return len(self._nodes)

    def online(self) -> Mapping[int, int]:
        """Every client."""
        return self

    def key(self, client: int) -> None:
        """No key: the reply never left this process."""
        return

    def name(self, client: int) -> str:
        """Clients are called by their index."""
        return f"client-{client}"
