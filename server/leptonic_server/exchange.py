"""One step with a cohort: sends a request to each client, takes the replies as they come, and drops them.

Requests are idempotent: a client that comes back under another network node is asked again, and answers
with the bytes it had sent. A client's error is recorded, and the step goes on.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from leptonic.wire import Payload, Request, Step, inline
from leptonic_server.clock import Clock, RealClock
from leptonic_server.cohort import Members
from leptonic_server.judge import Asked, Judge, Take, TakeSum
from leptonic_server.post import Letter, RoundGrid
from leptonic_server.store import ClientRecord

__all__ = ["Asked", "Exchange"]

LONGEST_WAIT = 0.25
SHORTEST_WAIT = 0.005
REFRESH_INTERVAL = 2.0
"""Seconds between looks at who is reachable while a step waits."""
MOST_FORGERIES = 3
"""How often in a step a client is asked anew because somebody else had answered for it."""
GRACE = 5.0
"""Seconds that a step goes on for those who have not answered, once it could do without them."""
LONGEST_TTL = 7 * 24 * 3600.0
EXPIRY_MARGIN = 60.0
"""Seconds that a message outlives its step's deadline on the link."""


class Exchange:
    """Asks clients of one run over a grid. clock: of the deadlines, the machine's own unless given."""

    def __init__(
        self, grid: RoundGrid, members: Members, *, run: str, experiment: str, clock: Clock | None = None
    ) -> None:
        self._grid, self._members, self._run, self._experiment = grid, members, run, experiment
        self._clock = clock or RealClock()

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
        take_sum: TakeSum | None = None,
        on_client: Callable[[ClientRecord], None] = lambda _: None,
        counted: Mapping[int, int] | None = None,
        own: Mapping[int, bytes] | None = None,
        shorter: bool = False,
        settled: Callable[[], bool] | None = None,
    ) -> Asked:
        """Ask the cohort, until ``wanted`` are taken, all have answered, or ``deadline`` seconds are over.

        content: the payload for all of them. own: what each of them gets for itself. expected: bytes that each of them
        must answer, or ``shorter`` ones. settled: whether what has come is enough, so that others are waited for
        :data:`GRACE` seconds only.
        take_sum: where an unsigned reply may carry other clients' contributions in its own, as in a simulation.
        counted: the last counted round of each client that had one.
        """
        payload = self._payload(content)
        owns = {client: self._payload(content) for client, content in (own or {}).items()}
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
                own=owns.get(client),
            )
            for client in cohort
        ]
        asked = Asked()
        waiting = Waiting(self._grid, self._members, content, deadline, asked, own or {})
        try:
            waiting.send(requests)
            judge = Judge(
                self._grid.payloads,
                self._members,
                asked,
                expected=expected,
                shorter=shorter,
                take=take,
                take_sum=take_sum,
            )
            end = End(self._clock, deadline, settled)
            self._collect(waiting, asked, judge, wanted=wanted, end=end, on_client=on_client)
        finally:
            self._grid.abandon([*waiting.pending, *waiting.stale])
            for held in (payload, *owns.values()):
                self._grid.payloads.release(held)
        return asked

    def _payload(self, content: bytes) -> Payload:
        payloads = self._grid.payloads
        return inline(content) if len(content) <= payloads.inline_limit else payloads.put(content)

    def _collect(
        self,
        waiting: "Waiting",
        asked: Asked,
        judge: "Judge",
        *,
        wanted: int,
        end: "End",
        on_client: Callable[[ClientRecord], None],
    ) -> None:
        refreshed, wait = self._clock.now(), SHORTEST_WAIT
        while waiting.pending and judge.taken < wanted and (now := self._clock.now()) < end.moment:
            progress = False
            for answer in self._grid.answers(waiting.pending):
                request = waiting.pending.get(answer.to)
                if request is None:
                    continue
                if answer.lost is not None and waiting.is_one_of_many(request):
                    waiting.forget(answer.to)
                    continue
                records = judge(answer, request, full=judge.taken >= wanted)
                asked.note(records)
                progress = True
                if judge.forged and waiting.ask_again(request):
                    continue
                waiting.settle(answer.to)
                for record in records:
                    on_client(record)
            if progress:
                wait = SHORTEST_WAIT
                end.look()
                continue
            if now - refreshed > REFRESH_INTERVAL:
                waiting.ask_the_returned()
                refreshed = now
            self._clock.pause(wait, until=end.moment)
            wait = min(LONGEST_WAIT, wait * 1.3)
        asked.note(judge.left())
        for request in waiting.pending.values():
            asked.records.setdefault(request.client, ClientRecord(request.client, "late"))


class End:
    """When a step ends: at its deadline, or soon after it could do without those who have not answered.

    One without a deadline waits for everybody: a simulation's clients answer one after another.
    """

    def __init__(self, clock: Clock, deadline: float, settled: Callable[[], bool] | None) -> None:
        self._clock, self._settled = clock, settled if math.isfinite(deadline) else None
        self.moment = clock.now() + deadline

    def look(self) -> None:
        """See whether what has come is enough."""
        if self._settled is not None and self._settled():
            self.moment, self._settled = min(self.moment, self._clock.now() + GRACE), None


class Waiting:
    """The requests of one step that have no reply yet, and the node each was sent to."""

    def __init__(
        self,
        grid: RoundGrid,
        members: Members,
        content: bytes,
        deadline: float,
        asked: Asked,
        own: Mapping[int, bytes],
    ) -> None:
        self._grid, self._members, self._content, self._asked, self._own = grid, members, content, asked, own
        self._lasts = min(deadline, LONGEST_TTL) + EXPIRY_MARGIN
        self._nodes: dict[int, int] = {}
        self._names: dict[int, list[str]] = {}
        self._forged: list[int] = []
        self.stale: list[str] = []
        self.pending: dict[str, Request] = {}

    def send(self, requests: Iterable[Request]) -> None:
        """Send each request to the node where its client is now; clients that are gone are lost."""
        online = self._members.online()
        letters: list[Letter] = []
        for request in requests:
            node = online.get(request.client)
            if node is None:
                self._asked.records[request.client] = ClientRecord(request.client, "lost", "not reachable")
                continue
            letter = self._letter(request, node)
            aside = (each for each in (request.payload, request.own) if each is not None and each.kind != "inline")
            self._asked.bytes_down += letter.length + sum(each.length for each in aside)
            self._nodes[request.client] = node
            letters.append(letter)
        if letters:
            for name, letter in zip(self._grid.send(letters), letters, strict=True):
                self.pending[name] = letter.request
                self._names.setdefault(letter.request.client, []).append(name)

    def _letter(self, request: Request, node: int) -> Letter:
        content = self._content if request.payload.kind == "inline" else b""
        own = self._own[request.client] if request.own is not None and request.own.kind == "inline" else b""
        return Letter(request, node, content, self._lasts, own)

    def forget(self, name: str) -> Request:
        """Wait no more for an answer to this letter."""
        request = self.pending.pop(name)
        self._names[request.client].remove(name)
        return request

    def settle(self, answered: str) -> None:
        """Wait no more for the client that answered this letter, under whatever names it was asked."""
        client = self.forget(answered).client
        for name in list(self._names[client]):
            self.forget(name)
            self.stale.append(name)

    def is_one_of_many(self, request: Request) -> bool:
        """Whether this client was asked more than once, so that another letter may still bring its answer."""
        return len(self._names[request.client]) > 1

    def ask_again(self, request: Request) -> bool:
        """Ask a client anew whose letter somebody else has answered; False after some times.

        Whoever knows a letter's name can answer it, and the link may then take no other answer: a forged reply
        must not shut out the client's own.
        """
        if self._forged.count(request.client) >= MOST_FORGERIES:
            return False
        self._forged.append(request.client)
        self.send([request])
        return True

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
            self.send([self.forget(name) for name in moved])
