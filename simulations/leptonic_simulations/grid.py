"""Flower's Grid in one process: messages go to an engine instead of a network.

Leptonic's payloads pass by reference and are never serialised. The coordinator cannot tell this grid from a
deployed one. This is the one file of the simulations that touches Flower's internals.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import DecodeError, RunError
from leptonic.wire import Payload, Reply, Request, pack, unpack

__all__ = ["Engine", "Immediately", "InProcessGrid", "Schedule"]


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


class Schedule(Protocol):
    """Decides when queued messages are worked on, and which replies arrive."""

    def sent(self, name: str, message: Message) -> None:
        """A message was queued."""
        ...

    def due(self, names: Sequence[str]) -> list[str]:
        """Those of these messages that are worked on now, in the order in which they are to be answered."""
        ...

    def arrives(self, name: str, reply: Reply) -> bool:
        """Whether the reply that was made to a message reaches the coordinator."""
        ...

    def forget(self, names: Iterable[str]) -> None:
        """Nobody waits for these messages any more."""
        ...


class Immediately:
    """The schedule of a simulation without time: everything is due at once, in the order in which it was sent."""

    def sent(self, name: str, message: Message) -> None:
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


class InProcessGrid(Grid):  # type: ignore[misc]
    """Answers messages when they are pulled: those that are due together, in the order of the engine."""

    def __init__(self, engine: Engine, clients: int, schedule: Schedule | None = None) -> None:
        self.payloads = MemoryPayloads()
        self._schedule: Schedule = schedule or Immediately()
        self._engine = engine
        self._clients = clients
        self._pending: dict[str, Message] = {}
        self._ids = itertools.count()
        self._answered: Payload | None = None
        self._asked: dict[int, str] = {}
        self._answers: Iterator[tuple[Reply, bytes | memoryview]] = iter(())
        # Flower's messages name the task, run and node that send them.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    def set_run(self, run: Run) -> None:
        """A simulation has one run."""

    @property
    def run(self) -> Run:
        """Not known in a simulation."""
        raise RunError("a simulation has no Flower run")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Flower's old way of making a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Sequence[int]:
        """Node ids: the roster index plus 2, since Flower's server is node 1."""
        return range(2, 2 + self._clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue the messages."""
        names = []
        for message in messages:
            name = f"message-{next(self._ids)}"
            message.metadata.__dict__["_message_id"] = name
            self._pending[name] = message
            self._schedule.sent(name, message)
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The next reply to these messages; the work is done only when it is asked for."""
        self._let_go()
        if not self._asked:
            self._begin(self._schedule.due([name for name in message_ids if name in self._pending]))
        for reply, answer in self._answers:
            name = self._asked.pop(reply.client)
            message = self._pending.pop(name, None)
            if message is not None and self._schedule.arrives(name, reply):
                return [self._reply(message, reply, answer)]
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, and pull every reply; for Flower's own apps, whose content travels in the messages."""
        names = self.push_messages(messages)
        return [reply for name in names for reply in self.pull_messages([name])]

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Forget queued messages: the round goes on without them."""
        self._let_go()
        names = list(message_ids)
        self._schedule.forget(names)
        for name in names:
            self._pending.pop(name, None)
        if not any(name in self._pending for name in self._asked.values()):
            self._asked, self._answers = {}, iter(())

    def _let_go(self) -> None:
        """The reply that was pulled last has been judged: its payload is not needed any more."""
        if self._answered is not None:
            self.payloads.release(self._answered)
            self._answered = None

    def _begin(self, names: list[str]) -> None:
        """Hand those messages to the engine that carry the same content as the first, one of each client."""
        requests: dict[int, Request] = {}
        inline, shared = b"", None
        for name in names:
            request, content = unpack(self._pending[name].content, Request)
            if shared is None:
                shared, inline = request.payload, content
            if request.payload == shared and request.client not in requests:
                requests[request.client] = request
                self._asked[request.client] = name
        if shared is not None:
            buffer = inline if shared.kind == "inline" else self.payloads.get(shared)
            self._answers = self._engine.answers(list(requests.values()), buffer)

    def _reply(self, message: Message, reply: Reply, answer: bytes | memoryview) -> Message:
        self._answered = self.payloads.put(answer)
        reply = reply.model_copy(update={"payload": self._answered})
        return cast(Message, Message(pack(reply), reply_to=message))
