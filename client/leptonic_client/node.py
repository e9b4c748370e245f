"""A long-lived node: connects and reconnects for ever, signs every reply with its own key."""

import time
from collections.abc import Callable

from leptonic import objects
from leptonic.errors import DecodeError, LeptonicError
from leptonic.identity import public_hex, signing_key
from leptonic.records import own_of, pack, unpack
from leptonic.wire import INLINE_LIMIT, Reply, Request, inline
from leptonic_client.fleet import Disconnected, Fleet, Incoming, connect_for_ever
from leptonic_client.home import ClientHome
from leptonic_client.responder import Responder
from leptonic_client.secure import Membership
from leptonic_client.settings import NodeSettings

__all__ = ["Node"]

SHORTEST_PAUSE = 0.01
LONGEST_PAUSE = 1.0
OWN_LIMIT = 2**27
"""Bytes for one node alone: two parts of a trip."""


class Node:
    """One data owner's node.

    on_event: is told, in words, what happens. once: end when a joined run ends.
    """

    def __init__(self, settings: NodeSettings, *, on_event: Callable[[str], None], once: bool = False) -> None:
        self._settings, self._on_event, self._once = settings, on_event, once
        self._key = signing_key(settings.folder / "node.key", "the node's")
        self._home = ClientHome(settings.folder, lineage=settings.lineage, limits=settings.limits)
        self._membership = Membership(settings, self._key)
        self._responder = Responder(settings, self._home, self._membership, on_event)
        self._waiting = ""

    def run(self) -> None:
        """Serve until interrupted, or with ``once`` until a joined run ends."""
        try:
            while not self._done:
                fleet = connect_for_ever(self._settings.server, self._say_waiting)
                self._waiting = ""
                self._on_event(f"is connected to {self._settings.server}")
                try:
                    self._serve(fleet)
                except Disconnected as error:
                    self._say_waiting(str(error))
                finally:
                    fleet.close()
        finally:
            self._membership.close()
            self._home.close()

    @property
    def _done(self) -> bool:
        return self._once and self._responder.ended

    def _serve(self, fleet: Fleet) -> None:
        """Pull and answer; right after work poll often, since the next request may be on its way."""
        last = time.monotonic()
        while not self._done:
            incoming = fleet.pull()
            if incoming is None:
                idle = time.monotonic() - last
                time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, 0.1 * idle)))
                continue
            self._answer(fleet, incoming)
            last = time.monotonic()

    def _answer(self, fleet: Fleet, incoming: Incoming) -> None:
        try:
            reply, answer = self._respond(fleet, incoming)
            cut = objects.cut(answer) if len(answer) > INLINE_LIMIT else []
            payload = objects.describe(answer, [name for name, _ in cut]) if cut else inline(answer)
            identity = {"payload": payload, "name": self._settings.name, "key": public_hex(self._key)}
            record = pack(reply.model_copy(update=identity), content=answer, key=self._key)
        except LeptonicError as error:
            self._on_event(f"drops a message: {type(error).__name__}: {error}")
        else:
            fleet.push(incoming, record, payload, dict(cut))
            if reply.step == "train" and reply.status == "done":
                self._on_event(f"round {reply.round}: its update has left ({len(answer):,} bytes)")
        fleet.confirm(incoming)

    def _respond(self, fleet: Fleet, incoming: Incoming) -> tuple[Reply, bytes]:
        """The reply to a message; its payload is fetched only if it has the length that it must have."""
        if not incoming.message.has_content():
            raise DecodeError("a message without content")
        request, content = unpack(incoming.message.content, Request)
        own = self._own(fleet, incoming, request)
        if request.payload.kind != "inline":
            try:
                expected = self._responder.expected_length(request)
            except LeptonicError:
                return self._responder.respond(request, b"", own)  # says what is wrong
            if request.payload.length != expected:
                raise DecodeError(f"a payload of {request.payload.length} bytes, expected {expected}")
            content = bytes(fleet.fetch(incoming, request.payload))
        return self._responder.respond(request, content, own)

    def _own(self, fleet: Fleet, incoming: Incoming, request: Request) -> bytes:
        """What a message brings for this node alone; fetched only if it is not too long."""
        if request.own is None or request.own.kind == "inline":
            return own_of(incoming.message.content)
        if request.own.length > OWN_LIMIT:
            raise DecodeError(f"{request.own.length} bytes for this node alone, {OWN_LIMIT} at most")
        return bytes(fleet.fetch(incoming, request.own))

    def _say_waiting(self, reason: str) -> None:
        """Say once per outage that the link is awaited."""
        if not self._waiting:
            self._on_event(f"waits for the link at {self._settings.server}: {reason}")
        self._waiting = reason
