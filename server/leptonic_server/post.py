"""What a round needs of the network: letters go out, answers come back, large payloads are kept aside.

A deployment brings them through Flower's link (:mod:`leptonic_server.link`); a simulation hands them over in
one process. The coordinator cannot tell which.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from leptonic.wire import PayloadStore, Reply, Request, header_bytes

__all__ = ["Answer", "Letter", "RoundGrid"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A request on its way to a node.

    content, own: its payloads, if they travel beside it. lasts: seconds after which nobody delivers it any more.
    """

    request: Request
    node: int
    content: bytes
    lasts: float
    own: bytes = b""

    @property
    def length(self) -> int:
        """Bytes that travel, without a payload that is kept elsewhere."""
        return len(header_bytes(self.request)) + len(self.content) + len(self.own)


class Answer(Protocol):
    """What came back to a letter: a reply, or the link's word that there will be none."""

    @property
    def to(self) -> str:
        """The name of the letter."""
        ...

    @property
    def lost(self) -> str | None:
        """Why there is no reply, else None."""
        ...

    @property
    def length(self) -> int:
        """Bytes of header, signature and inline payload."""
        ...

    def verify(self, key: str, who: str) -> None:
        """Raise BadSignature unless the reply is signed by ``key`` (hexadecimal Ed25519), which is that of ``who``."""
        ...

    def open(self) -> tuple[Reply, bytes]:
        """The reply and its inline payload, its signature not looked at. Raises DecodeError, VersionMismatch."""
        ...


class RoundGrid(Protocol):
    """Carries letters and answers, and keeps the payloads that they name."""

    @property
    def payloads(self) -> PayloadStore:
        """Where payloads are kept that do not travel beside their headers."""
        ...

    def send(self, letters: Sequence[Letter]) -> list[str]:
        """Send; returns a name for each letter."""
        ...

    def answers(self, names: Iterable[str]) -> Sequence[Answer]:
        """The answers that have come whole to these letters; each is returned once, and held until the next call."""
        ...

    def abandon(self, names: Iterable[str]) -> None:
        """Nobody waits for answers to these letters any more."""
        ...
