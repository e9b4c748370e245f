"""Decides what each reply of a step is worth, and has its payload taken.

In a simulation a reply may say that its contribution lies in the payload of another client of the same cohort,
its carrier: a machine that trains many clients then sends one sum. Who is carried is counted with the carrier,
whole or not at all. A reply that somebody signs can never be carried: what a deployed client sends is its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from leptonic.errors import BadSignature, DecodeError, ProtocolError
from leptonic.wire import Payload, PayloadStore, Reply, Request
from leptonic_server.cohort import Members
from leptonic_server.post import Answer
from leptonic_server.store import ClientRecord

__all__ = ["Asked", "Judge", "Take", "TakeSum"]

Take = Callable[[int, bytes | memoryview], None]
"""Adds a client's payload, whole or not at all; may raise ProtocolError."""
TakeSum = Callable[[int, bytes | memoryview, int], None]
"""The same for a payload that is the sum of so many clients, its sender among them."""


@dataclass
class Asked:
    """What became of the clients of one step, and the bytes that travelled, headers included."""

    records: dict[int, ClientRecord] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0

    def note(self, records: Iterable[ClientRecord]) -> None:
        """Keep what became of these clients."""
        self.records |= {record.client: record for record in records}

    @property
    def counted(self) -> list[int]:
        """Clients whose contribution was taken."""
        return [record.client for record in self.records.values() if record.status == "counted"]


class Judge:
    """Judges the replies of one step. taken: clients that were counted. forged: of the last reply, see the call.

    expected: bytes of a payload, or the most of them if it may be ``shorter``. take_sum: None where no reply may be
    carried by another.
    """

    def __init__(
        self,
        payloads: PayloadStore,
        members: Members,
        asked: Asked,
        *,
        expected: int,
        take: Take,
        take_sum: TakeSum | None = None,
        shorter: bool = False,
    ) -> None:
        self._shorter = shorter
        self._payloads, self._members, self._asked = payloads, members, asked
        self._expected, self._take, self._take_sum = expected, take, take_sum
        self._carried: dict[int, list[Reply]] = {}
        self.taken = 0
        self.forged = False

    def __call__(self, answer: Answer, request: Request, *, full: bool) -> list[ClientRecord]:
        """What a reply settles: its client and those whom it carries; nobody yet if another one carries it.

        full: no more are wanted. ``forged`` then says if the reply was not the client's.
        """
        record = self._record(answer, request, full=full)
        if record is None:
            return []
        return [record, *(_with(record, reply) for reply in self._carried.pop(request.client, []))]

    def left(self) -> list[ClientRecord]:
        """When no more replies come: those whose carrier has not answered."""
        return [
            ClientRecord(reply.client, "lost", f"client {carrier} had to bring its contribution, and did not answer")
            for carrier, replies in self._carried.items()
            for reply in replies
        ]

    def _record(self, answer: Answer, request: Request, *, full: bool) -> ClientRecord | None:
        client, self.forged = request.client, False
        if answer.lost is not None:
            return ClientRecord(client, "lost", answer.lost)
        try:
            self._asked.bytes_up += answer.length
            reply, content = self._open(answer, request)
        except BadSignature as error:
            self.forged = True
            return ClientRecord(client, "invalid", f"BadSignature: {error}")
        except ProtocolError as error:
            return ClientRecord(client, "invalid", f"{type(error).__name__}: {error}")
        if reply.status != "done" or full:
            status = reply.status if reply.status != "done" else "late"
            return ClientRecord(client, status, reply.detail, reply.seconds, reply.epsilon)
        try:
            if reply.carried_by is not None:
                self._hold(reply, reply.carried_by)
                return None
            self._count(client, self._content(reply.payload, content))
        except ProtocolError as error:
            return ClientRecord(client, "invalid", f"{type(error).__name__}: {error}", reply.seconds, reply.epsilon)
        return ClientRecord(client, "counted", reply.detail, reply.seconds, reply.epsilon)

    def _open(self, answer: Answer, request: Request) -> tuple[Reply, bytes]:
        key = self._members.key(request.client)
        if key is not None:
            answer.verify(key, self._members.name(request.client))
        reply, content = answer.open()
        if not reply.answers(request):
            raise DecodeError("the reply names another request than the one it came for")
        if reply.carried_by is not None and (key is not None or self._take_sum is None):
            raise DecodeError("the reply has its contribution carried by another client's, which this step forbids")
        return reply, content

    def _hold(self, reply: Reply, carrier: int) -> None:
        """Keep a reply until its carrier is judged, which must still be to come."""
        if reply.payload.length:
            raise DecodeError(f"a reply with {reply.payload.length} bytes of its own that another one carries")
        if carrier in (reply.client, *self._asked.records) or reply.client in self._carried:
            raise DecodeError(f"client {carrier} cannot carry the contribution of client {reply.client}")
        self._carried.setdefault(carrier, []).append(reply)

    def _count(self, client: int, content: bytes | memoryview) -> None:
        carried = len(self._carried.get(client, ()))
        if carried and self._take_sum is not None:
            self._take_sum(client, content, 1 + carried)
        else:
            self._take(client, content)
        self.taken += 1 + carried
        # As many bytes as in the deployment that is simulated, where each client sends its own.
        self._asked.bytes_up += carried * self._expected

    def _content(self, payload: Payload, content: bytes) -> bytes | memoryview:
        """The payload, which is not fetched unless it has the length that it must have."""
        if payload.length > self._expected or (payload.length < self._expected and not self._shorter):
            most = " at most" if self._shorter else ""
            raise DecodeError(f"a payload of {payload.length} bytes, expected {self._expected}{most}")
        if payload.kind == "inline":
            return content
        self._asked.bytes_up += payload.length
        return self._payloads.get(payload)


def _with(carrier: ClientRecord, reply: Reply) -> ClientRecord:
    """The record of a client that shares its carrier's fate."""
    if carrier.status == "counted":
        return ClientRecord(reply.client, "counted", reply.detail, reply.seconds, reply.epsilon)
    detail = f"its contribution was carried by client {carrier.client}: {carrier.detail}"
    return ClientRecord(reply.client, carrier.status, detail, reply.seconds, reply.epsilon)
