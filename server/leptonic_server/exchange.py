"""One step with a cohort: sends a request to each client, takes the replies as they come, and drops them.

Requests are idempotent: a client that comes back under another network node is asked again, and answers
with the bytes it had sent. A client's error is recorded, and the step goes on.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flwr.app import Message, MessageType

from leptonic.errors import BadSignature, DecodeError, ProtocolError
from leptonic.wire import (
    INLINE_LIMIT,
    Payload,
    PayloadStore,
    Reply,
    Request,
    Step,
    inline,
    pack,
    record_bytes,
    unpack,
    verify,
)
from leptonic_server.cohort import Members
from leptonic_server.store import ClientRecord

__all__ = ["Asked", "Exchange", "RoundGrid"]

LONGEST_WAIT = 0.25
SHORTEST_WAIT = 0.005
REFRESH_INTERVAL = 2.0
"""Seconds between looks at who is reachable while a step waits."""
LONGEST_TTL = 7 * 24 * 3600.0
EXPIRY_MARGIN = 60.0
"""Seconds that a message outlives its step's deadline on the link."""

_TYPES: Mapping[Step, str] = {
    "join": MessageType.QUERY,
    "train": MessageType.TRAIN,
    "evaluate": MessageType.EVALUATE,
    "end": MessageType.QUERY,
}

Take = Callable[[int, bytes | memoryview], None]
"""Adds a client's payload, whole or not at all; may raise ProtocolError."""


class RoundGrid(Protocol):
    """The part of Flower's Grid that a round uses, and the payloads that its messages name."""

    @property
    def payloads(self) -> PayloadStore:
        """Where payloads are kept that do not travel beside their headers."""
        ...

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send; returns a message id for each."""
        ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have come whole to these messages; each is returned once, and held until the next call."""
        ...

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for the replies to these messages any more."""
        ...


@dataclass
class Asked:
    """What became of the clients of one step, and the bytes that travelled, headers included."""

    records: dict[int, ClientRecord] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0

    @property
    def counted(self) -> list[int]:
        """Clients whose contribution was taken."""
        return [record.client for record in self.records.values() if record.status == "counted"]


class Exchange:
    """Asks clients of one run over a grid."""

    def __init__(self, grid: RoundGrid, members: Members, *, run: str, experiment: str) -> None:
        self._grid, self._members, self._run, self._experiment = grid, members, run, experiment

    def ask(
        self,
        step: Step,
        *,
        round_number: int,
        attempt: int,
        cohort: Iterable[int],
        content: bytes,
        expected: int,
        wanted: int,
        deadline: float,
        take: Take,
        on_client: Callable[[ClientRecord], None] = lambda _: None,
        counted: Mapping[int, int] | None = None,
    ) -> Asked:
        """Ask the cohort, until ``wanted`` are taken, all have answered, or ``deadline`` seconds are over.

        content: the payload for all of them. expected: bytes that each of them must answer.
        counted: the last counted round of each client that had one.
        """
        payload = inline(content) if len(content) <= INLINE_LIMIT else self._grid.payloads.put(content)
        requests = [
            Request(
                run=self._run,
                experiment=self._experiment,
                round=round_number,
                step=step,
                attempt=attempt,
                client=client,
                payload=payload,
                counted=(counted or {}).get(client, 0),
            )
            for client in cohort
        ]
        asked = Asked()
        waiting = Waiting(self._grid, self._members, content, deadline, asked)
        try:
            waiting.send(requests)
            judge = Judge(self._grid.payloads, self._members, asked, expected, take)
            self._collect(waiting, asked, judge, wanted=wanted, deadline=deadline, on_client=on_client)
        finally:
            self._grid.abandon(list(waiting.pending))
            self._grid.payloads.release(payload)
        return asked

    def _collect(
        self,
        waiting: "Waiting",
        asked: Asked,
        judge: "Judge",
        *,
        wanted: int,
        deadline: float,
        on_client: Callable[[ClientRecord], None],
    ) -> None:
        started = refreshed = time.monotonic()
        wait = SHORTEST_WAIT
        while waiting.pending and judge.taken < wanted and (now := time.monotonic()) - started < deadline:
            replies = list(self._grid.pull_messages(list(waiting.pending)))
            for message in replies:
                request = waiting.pending.get(message.metadata.reply_to_message_id)
                record = None if request is None else judge(message, request, full=judge.taken >= wanted)
                if record is not None:
                    del waiting.pending[message.metadata.reply_to_message_id]
                    asked.records[record.client] = record
                    on_client(record)
            if replies:
                wait = SHORTEST_WAIT
                continue
            if now - refreshed > REFRESH_INTERVAL:
                waiting.ask_the_returned()
                refreshed = now
            time.sleep(max(0.0, min(wait, deadline - (now - started))))
            wait = min(LONGEST_WAIT, wait * 1.3)
        for request in waiting.pending.values():
            asked.records.setdefault(request.client, ClientRecord(request.client, "late"))


class Judge:
    """Decides what a reply is worth, and has its payload taken."""

    def __init__(self, payloads: PayloadStore, members: Members, asked: Asked, expected: int, take: Take) -> None:
        self._payloads, self._members, self._asked = payloads, members, asked
        self._expected, self._take = expected, take
        self.taken = 0

    def __call__(self, message: Message, request: Request, *, full: bool) -> ClientRecord | None:
        """The record of a reply; None if it is not the client's word, so that the client's own is waited for.

        full: no more are wanted.
        """
        client = request.client
        if message.has_error():
            return ClientRecord(client, "lost", message.error.reason or "the link lost the message")
        try:
            self._asked.bytes_up += record_bytes(message.content)
            reply, content = self._open(message, request)
        except BadSignature as error:
            # Whoever knows a message's name can answer it: a forged reply must not shut out the real one.
            self._asked.records[client] = ClientRecord(client, "invalid", f"BadSignature: {error}")
            return None
        except ProtocolError as error:
            return ClientRecord(client, "invalid", f"{type(error).__name__}: {error}")
        if reply.status != "done" or full:
            status = reply.status if reply.status != "done" else "late"
            return ClientRecord(client, status, reply.detail, reply.seconds, reply.epsilon)
        try:
            self._take(client, self._content(reply.payload, content))
        except ProtocolError as error:
            return ClientRecord(client, "invalid", f"{type(error).__name__}: {error}", reply.seconds, reply.epsilon)
        self.taken += 1
        return ClientRecord(client, "counted", reply.detail, reply.seconds, reply.epsilon)

    def _open(self, message: Message, request: Request) -> tuple[Reply, bytes]:
        key = self._members.key(request.client)
        if key is not None:
            verify(message.content, key, self._members.name(request.client))
        reply, content = unpack(message.content, Reply)
        if not reply.answers(request):
            raise DecodeError("the reply names another request than the one it came for")
        return reply, content

    def _content(self, payload: Payload, content: bytes) -> bytes | memoryview:
        """The payload, which is not fetched unless it has the length that it must have."""
        if payload.length != self._expected:
            raise DecodeError(f"a payload of {payload.length} bytes, expected {self._expected}")
        if payload.kind == "inline":
            return content
        self._asked.bytes_up += payload.length
        return self._payloads.get(payload)


class Waiting:
    """The requests of one step that have no reply yet, and the node each was sent to."""

    def __init__(self, grid: RoundGrid, members: Members, content: bytes, deadline: float, asked: Asked) -> None:
        self._grid, self._members, self._content, self._asked = grid, members, content, asked
        self._ttl = min(deadline, LONGEST_TTL) + EXPIRY_MARGIN
        self._nodes: dict[int, int] = {}
        self.pending: dict[str, Request] = {}

    def send(self, requests: Iterable[Request]) -> None:
        """Send each request to the node where its client is now; clients that are gone are lost."""
        online = self._members.online()
        messages, reachable = [], []
        for request in requests:
            node = online.get(request.client)
            if node is None:
                self._asked.records[request.client] = ClientRecord(request.client, "lost", "not reachable")
                continue
            record = pack(request, content=self._content)
            self._asked.bytes_down += record_bytes(record)
            if request.payload.kind != "inline":
                self._asked.bytes_down += request.payload.length
            self._nodes[request.client] = node
            messages.append(Message(record, node, _TYPES[request.step], ttl=self._ttl, group_id=str(request.round)))
            reachable.append(request)
        if messages:
            self.pending |= dict(zip(self._grid.push_messages(messages), reachable, strict=True))

    def ask_the_returned(self) -> None:
        """Ask those clients again who came back under another node, since what the old one pulled is lost."""
        online = self._members.online()
        moved = {
            name: request
            for name, request in self.pending.items()
            if online.get(request.client, self._nodes[request.client]) != self._nodes[request.client]
        }
        if moved:
            self._grid.abandon(moved)
            for name in moved:
                del self.pending[name]
            self.send(moved.values())
