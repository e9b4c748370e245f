"""The grid of a simulation: letters go to an engine in this process instead of over a network.

Headers and payloads pass by reference and are never serialised. The coordinator cannot tell this grid from a
deployed one.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from leptonic.errors import BadSignature, DecodeError
from leptonic.wire import Payload, Reply, Request, header_bytes
from leptonic_server.post import Letter

__all__ = ["Engine", "Immediately", "InPlace", "InProcessGrid", "MemoryPayloads", "Schedule"]


class Engine(Protocol):
    """Does the clients' work of a simulation."""

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """One reply to each of these requests of different clients, which all carry the same content.

        A reply's bytes hold until the next is asked for. Replies that are not asked for need no work. The
        order of the replies must not depend on the machine where it decides whose update is taken.
        """
        ...

    def close(self) -> None:
        """End what the engine started."""
        ...


@runtime_checkable
class InPlace(Protocol):
    """An engine that encodes a client's work where it is told to, when its reply is asked for.

    room: the memory for the reply that is asked for now, of an encoded contribution's length; None unless somebody
    sets it.
    """

    room: Callable[[], memoryview] | None


class Schedule(Protocol):
    """Decides when queued letters are worked on, and which replies arrive."""

    def sent(self, name: str, request: Request) -> None:
        """A letter was queued."""
        ...

    def due(self, names: Sequence[str]) -> list[str]:
        """Those of these letters that are worked on now, in the order in which they are to be answered."""
        ...

    def arrives(self, name: str, reply: Reply) -> bool:
        """Whether the reply that was made to a letter reaches the coordinator."""
        ...

    def forget(self, names: Iterable[str]) -> None:
        """Nobody waits for these letters any more."""
        ...


class Immediately:
    """The schedule of a simulation without time: everything is due at once, in the order in which it was sent."""

    def sent(self, name: str, request: Request) -> None:
        """Nothing is planned."""

    def due(self, names: Sequence[str]) -> list[str]:
        """All of them."""
        return list(names)

    def arrives(self, name: str, reply: Reply) -> bool:
        """It does."""
        return True

    def forget(self, names: Iterable[str]) -> None:
        """Nothing was planned."""


class MemoryPayloads:
    """Payloads by reference, however small: a handle names the object itself."""

    inline_limit = -1

    def __init__(self) -> None:
        self._held: dict[str, bytes | memoryview] = {}
        self._names = itertools.count()

    def put(self, content: bytes | memoryview) -> Payload:
        """Hold the content under a new handle."""
        name = str(next(self._names))
        self._held[name] = content
        return Payload(kind="memory", length=len(content), parts=[name])

    def get(self, payload: Payload) -> bytes | memoryview:
        """The content itself. Raises DecodeError if it is not held."""
        content = self._held.get(payload.parts[0]) if payload.kind == "memory" and payload.parts else None
        if content is None:
            raise DecodeError("the payload is not held in this process")
        return content

    def release(self, payload: Payload) -> None:
        """Let go of the content."""
        for name in payload.parts:
            self._held.pop(name, None)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A reply that never left this process."""

    to: str
    reply: Reply
    lost: None = None

    @property
    def length(self) -> int:
        """Bytes of the header that a deployed client would send, without its signature."""
        return len(header_bytes(self.reply))

    def verify(self, key: str, who: str) -> None:
        """Nobody signs in a simulation."""
        raise BadSignature(f"the reply in the name of {who} is a simulated one, which nobody signs")

    def open(self) -> tuple[Reply, bytes]:
        """The reply; its payload is held by the grid."""
        return self.reply, b""


class InProcessGrid:
    """Answers letters when their answers are asked for: those that are due together, in the order of the engine."""

    def __init__(
        self, engine: Engine, schedule: Schedule | None = None, payloads: MemoryPayloads | None = None
    ) -> None:
        self.payloads = payloads or MemoryPayloads()
        self._schedule: Schedule = schedule or Immediately()
        self._engine = engine
        self._pending: dict[str, Letter] = {}
        self._ids = itertools.count()
        self._answered: Payload | None = None
        self._asked: dict[int, str] = {}
        self._answers: Iterator[tuple[Reply, bytes | memoryview]] = iter(())

    def send(self, letters: Sequence[Letter]) -> list[str]:
        """Queue the letters."""
        names = [f"letter-{next(self._ids)}" for _ in letters]
        for name, letter in zip(names, letters, strict=True):
            self._pending[name] = letter
            self._schedule.sent(name, letter.request)
        return names

    def answers(self, names: Iterable[str]) -> list[HandedOver]:
        """The next reply to these letters; the work is done only when it is asked for.

        Replies without bytes of their own, such as those that another one carries, come with the one after them.
        """
        self._let_go()
        if not self._asked:
            self._begin(self._schedule.due([name for name in names if name in self._pending]))
        come: list[HandedOver] = []
        for reply, content in self._answers:
            name = self._asked.pop(reply.client)
            letter = self._pending.pop(name, None)
            if letter is None or not self._schedule.arrives(name, reply):
                continue
            if not content:
                come.append(HandedOver(name, reply))
                continue
            self._answered = self.payloads.put(content)
            come.append(HandedOver(name, reply.model_copy(update={"payload": self._answered})))
            break
        return come

    def abandon(self, names: Iterable[str]) -> None:
        """Forget queued letters: the round goes on without them."""
        self._let_go()
        gone = list(names)
        self._schedule.forget(gone)
        for name in gone:
            self._pending.pop(name, None)
        if not any(name in self._pending for name in self._asked.values()):
            self._asked, self._answers = {}, iter(())

    def _let_go(self) -> None:
        """The reply that came last has been judged: its payload is not needed any more."""
        if self._answered is not None:
            self.payloads.release(self._answered)
            self._answered = None

    def _begin(self, names: list[str]) -> None:
        """Hand those letters to the engine that carry the same content as the first, one of each client."""
        together: dict[int, Request] = {}
        first: Letter | None = None
        for name in names:
            letter = self._pending[name]
            first = first or letter
            request = letter.request
            if request.payload == first.request.payload and request.client not in together:
                together[request.client] = request
                self._asked[request.client] = name
        if first is not None:
            payload = first.request.payload
            content = first.content if payload.kind == "inline" else self.payloads.get(payload)
            self._answers = self._engine.answers(list(together.values()), content)
