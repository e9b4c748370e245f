"""The trips of secure aggregation over an exchange: what is sent to whom, and who answers which part."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from leptonic.errors import ProtocolError
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.trips import TRIP_LIMIT, Trip
from leptonic.wire import Step
from leptonic_server.cohort import Members
from leptonic_server.exchange import Exchange
from leptonic_server.judge import Asked

__all__ = ["Part", "Trips", "ids"]

EITHER_PART = 2 * TRIP_LIMIT


@dataclass(frozen=True)
class Part:
    """One session's side of a trip.

    clients: whom it concerns. message: what each is sent. take: its answer, whole or not at all; raises ProtocolError.
    enough: whether it could do without those who have not answered.
    """

    clients: Iterable[int]
    message: Callable[[bytes], bytes]
    take: Callable[[bytes, bytes], None]
    enough: Callable[[], bool]

    @classmethod
    def of(cls, state: "Answered", clients: Iterable[int], *, message: Callable[[bytes], bytes]) -> Self:
        """The part of one of the coordinator's states."""
        return cls(clients, message, state.take, lambda: state.complete)


class Answered(Protocol):
    """A state of a session that takes answers."""

    @property
    def complete(self) -> bool:
        """Whether it could do without those who have not answered."""
        ...

    def take(self, client: bytes, content: bytes) -> None:
        """One client's answer."""
        ...


def ids(members: Members, clients: Iterable[int]) -> dict[int, bytes]:
    """The ids of these clients in a session: their names in the federation."""
    return {client: members.name(client).encode() for client in clients}


class Trips:
    """Takes trips: the end of one session and the beginning of the next, to everybody whom either concerns."""

    def __init__(self, exchange: Exchange, members: Members, *, deadline: float) -> None:
        self._exchange, self._members, self._deadline = exchange, members, deadline

    def take(self, step: Step, *, round_number: int, attempt: int, closing: Part | None, opening: Part | None) -> Asked:
        """One trip. Who has not answered is waited for until both parts have enough, and a little longer."""
        parts = (closing, opening)
        concerned = [dict.fromkeys(part.clients) if part else {} for part in parts]
        names = ids(self._members, dict.fromkeys(client for clients in concerned for client in clients))
        own = {
            client: encoded(
                Trip(
                    *(
                        part.message(name) if part and client in whom else b""
                        for part, whom in zip(parts, concerned, strict=True)
                    )
                )
            )
            for client, name in names.items()
        }

        def take(client: int, buffer: bytes | memoryview) -> None:
            trip, errors = decoded(Trip, buffer), list[ProtocolError]()
            for part, content in zip(parts, (trip.closing, trip.opening), strict=True):
                # Judged by itself: what is wrong with one takes nothing from the other.
                try:
                    if part and content:
                        part.take(names[client], content)
                except ProtocolError as error:
                    errors.append(error)
            if errors:
                raise errors[0]

        return self._exchange.ask(
            step,
            round_number=round_number,
            attempt=attempt,
            cohort=list(own),
            content=b"",
            own=own,
            expected=EITHER_PART,
            shorter=True,
            wanted=len(own),
            deadline=self._deadline,
            take=take,
            settled=lambda: all(part.enough() for part in parts if part),
        )
