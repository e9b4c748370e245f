"""Deployed members: who has joined under which name and key, and where each is reachable now.

Every node that the link shows is asked to join. Its answer is signed with the node's own key, over a nonce,
so that nobody can join with a key that is not theirs. The roster is fixed when the federation is complete;
from then on a name belongs to its key. An index is a place in the roster, never a network id.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from leptonic.errors import ProtocolError
from leptonic.experiment import Experiment
from leptonic.plain_text import plain
from leptonic.wire import Request, inline
from leptonic_server.post import Answer, Letter, RoundGrid
from leptonic_server.store import Member

__all__ = ["JoinedMembers"]

REFRESH_INTERVAL = 0.5
JOIN_TTL = 600.0
JOIN_RETRY = 30.0


class NodeGrid(RoundGrid, Protocol):
    """A grid that says which nodes are online."""

    def get_node_ids(self) -> list[int]:
        """Ids of the nodes that are online."""
        ...


class JoinedMembers:
    """The members of a deployed federation.

    admitted: name -> key of those who may join, None to take those that come.
    on_event: is told, in words, who joined and who was turned away. on_refusal: who does not join, and why.
    roster: what nodes are shown of the federation, signed by its authority.
    """

    def __init__(
        self,
        grid: NodeGrid,
        experiment: Experiment,
        run: str,
        *,
        admitted: Mapping[str, str] | None,
        on_event: Callable[[str], None],
        on_refusal: Callable[[str, str], None],
        roster: bytes = b"",
    ) -> None:
        self._grid, self._experiment, self._run = grid, experiment, run
        self._admitted, self._signed_roster = admitted, roster
        self._on_refusal = on_refusal
        self._on_event: Callable[[str], None] = lambda event: on_event(plain(event))
        self._joined: dict[str, tuple[str, int]] = {}
        self._asked: dict[str, tuple[Request, int]] = {}
        self._seen: dict[int, float] = {}
        self._roster: list[Member] = []
        self._online: dict[int, int] = {}
        self._refreshed = 0.0

    def enrolled(self, roster: list[Member]) -> None:
        """Fix the roster: of a resumed run before anyone joins, of a new one when it is complete."""
        self._roster = roster
        self._refreshed = 0.0

    def complete(self, clients: int) -> list[Member] | None:
        """The roster in the order of names, once so many have joined; numbers in names count as numbers."""
        self._refresh()
        if len(self._joined) < clients:
            return None
        names = sorted(self._joined, key=_natural)[:clients]
        return [Member(index, name, self._joined[name][0]) for index, name in enumerate(names)]

    @property
    def joined(self) -> int:
        """How many have joined."""
        return len(self._joined)

    def online(self) -> Mapping[int, int]:
        """Roster index -> node of the members that are online and have joined there."""
        if time.monotonic() - self._refreshed > REFRESH_INTERVAL:
            self._refresh()
        return self._online

    def key(self, client: int) -> str | None:
        """The member's public key."""
        return self._roster[client].key

    def name(self, client: int) -> str:
        """The member's name."""
        return self._roster[client].name

    def _refresh(self) -> None:
        nodes = set(self._grid.get_node_ids())
        self._seen = {node: asked for node, asked in self._seen.items() if node in nodes}
        self._ask(node for node in nodes if time.monotonic() - self._seen.get(node, -JOIN_RETRY) >= JOIN_RETRY)
        self._take()
        self._joined = {name: (key, node) for name, (key, node) in self._joined.items() if node in nodes}
        members = ((member.client, self._joined.get(member.name)) for member in self._roster)
        self._online = {client: at[1] for client, at in members if at is not None}
        self._refreshed = time.monotonic()

    def _ask(self, nodes: Iterable[int]) -> None:
        """Ask nodes that have not answered yet to join."""
        content = self._experiment.canonical
        joined = {node for _, node in self._joined.values()}
        chosen = [node for node in nodes if node not in joined]
        if not chosen:
            return
        requests = [self._request(content) for _ in chosen]
        letters = [
            Letter(request, node, content, JOIN_TTL, self._signed_roster)
            for node, request in zip(chosen, requests, strict=True)
        ]
        asked = zip(requests, chosen, strict=True)
        self._asked |= dict(zip(self._grid.send(letters), asked, strict=True))
        self._seen |= dict.fromkeys(chosen, time.monotonic())

    def _request(self, content: bytes) -> Request:
        return Request(
            run=self._run,
            experiment=self._experiment.hash,
            round=0,
            step="join",
            attempt=secrets.randbits(62),
            client=-1,
            payload=inline(content),
            own=inline(self._signed_roster) if self._signed_roster else None,
        )

    def _take(self) -> None:
        if not self._asked:
            return
        for answer in self._grid.answers(list(self._asked)):
            asked = self._asked.pop(answer.to, None)
            if asked is None or answer.lost is not None:
                continue
            try:
                self._admit(answer, *asked)
            except ProtocolError as error:
                self._on_event(f"a node was turned away: {error}")

    def _admit(self, answer: Answer, request: Request, node: int) -> None:
        reply, _ = answer.open()
        if not reply.answers(request) or reply.key is None or not reply.name:
            self._on_event("a node was turned away: its answer does not fit the question")
            return
        answer.verify(reply.key, reply.name)
        if reason := self._objection(reply.name, reply.key):
            self._on_event(f"a node that calls itself {reply.name} {reason}; it was turned away")
            return
        if reply.status != "done":
            self._on_event(f"{reply.name} does not join: {reply.detail}")
            self._on_refusal(reply.name, plain(reply.detail))
            return
        if reply.name not in self._joined:
            self._on_event(f"{reply.name} has joined")
        self._joined[reply.name] = (reply.key, node)

    def _objection(self, name: str, key: str) -> str | None:
        """Why this name may not join with this key, or None."""
        known = {member.name: member.key for member in self._roster} if self._roster else self._admitted
        if known is None:
            known = {name: self._joined[name][0]} if name in self._joined else {name: key}
        if name not in known:
            return "is not on the roster"
        return None if known[name] == key else "comes with another key than the one it is known by"


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
