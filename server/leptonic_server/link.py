"""Flower's Grid over the link to deployed clients.

Watches the link's process: when it dies it is started again, and everything that was under way on it is
answered by an error, so that the round asks anew.
"""

import gc
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx
from flwr.app import Error, Message, MessageType, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.runtime_pb2 import GetNodesRequest, PullAppMessagesRequest, PushAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from leptonic import objects
from leptonic.errors import DecodeError, RunError
from leptonic.flower_http import FAILURES
from leptonic.records import pack, record_bytes, unpack, verify
from leptonic.wire import INLINE_LIMIT, Payload, Reply, Request, Step
from leptonic_server.post import Letter
from leptonic_server.superlink import POLL_INTERVAL, SuperLink

__all__ = ["LinkGrid", "LinkPayloads"]

ABANDONED_FOR = 3600.0
"""Seconds after which a reply that nobody waits for is not expected any more."""


_TYPES: Mapping[Step, str] = {
    "join": MessageType.QUERY,
    "train": MessageType.TRAIN,
    "evaluate": MessageType.EVALUATE,
    "open": MessageType.QUERY,
    "share": MessageType.QUERY,
    "abort": MessageType.QUERY,
    "record": MessageType.QUERY,
    "end": MessageType.QUERY,
}


@dataclass(frozen=True)
class LinkAnswer:
    """What a message of Flower's brought."""

    message: Message

    @property
    def to(self) -> str:
        """The name of the letter that it answers."""
        return cast(str, self.message.metadata.reply_to_message_id)

    @property
    def lost(self) -> str | None:
        """The link's words, if it lost the letter or the reply."""
        return (self.message.error.reason or "the link lost the message") if self.message.has_error() else None

    @property
    def length(self) -> int:
        """Bytes of header, signature and inline payload. Raises DecodeError if it holds no such thing."""
        return record_bytes(self.message.content)

    def verify(self, key: str, who: str) -> None:
        """Raise BadSignature unless ``who`` has signed it."""
        verify(self.message.content, key, who)

    def open(self) -> tuple[Reply, bytes]:
        """The reply and its inline payload. Raises DecodeError, VersionMismatch."""
        return unpack(self.message.content, Reply)


class LinkPayloads:
    """Payloads as objects on the link: put before they are sent, fetched when they are taken."""

    inline_limit = INLINE_LIMIT

    def __init__(self, grid: "LinkGrid") -> None:
        self._grid = grid
        self.bodies: dict[str, memoryview] = {}

    def put(self, content: bytes | memoryview) -> Payload:
        """Cut the content; it is uploaded, once, with the messages that name it."""
        cut = objects.cut(content)
        self.bodies |= dict(cut)
        return objects.describe(content, [name for name, _ in cut])

    def get(self, payload: Payload) -> memoryview:
        """Fetch the content from the link. Raises DecodeError."""
        return memoryview(self._grid.fetch(payload))

    def release(self, payload: Payload) -> None:
        """Forget what was put."""
        for name in payload.parts:
            self.bodies.pop(name, None)


class LinkGrid(Grid):  # type: ignore[misc]
    """Small messages travel in one request. Replies come when their payloads are whole on the link."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._where = (host, port, folder)
        self._link = SuperLink(host, port, folder)
        self.payloads = LinkPayloads(self)
        self.restarts = 0
        self._forget()

    def _forget(self) -> None:
        """What is known of one life of the link."""
        self._sent: dict[str, Message] = {}
        self._lost: dict[str, Message] = {}
        self._abandoned: dict[str, float] = {}
        self._arriving: list[Message] = []
        self._judged: list[str] = []
        self._unconfirmed: list[str] = []

    def close(self) -> None:
        """Stop the link."""
        self._link.stop()

    def peak_memory(self) -> int | None:
        """The largest resident size of the link's process so far in bytes, None where the system does not say."""
        return self._link.peak_memory()

    def set_run(self, run: Run) -> None:
        """The link has one run."""

    @property
    def run(self) -> Run:
        """Flower's description of the run is not kept."""
        raise RunError("the link keeps no description of Flower's run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Flower's old way of making a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Nodes that are online."""
        try:
            return [node.node_id for node in self._link.runtime.GetNodes(GetNodesRequest()).nodes]
        except FAILURES as error:
            self._restart_if_dead(error)
            return []

    def send(self, letters: Sequence[Letter]) -> list[str]:
        """Send each letter as a message of Flower's."""
        return self.push_messages(
            Message(
                pack(letter.request, content=letter.content, own=letter.own),
                letter.node,
                _TYPES[letter.request.step],
                ttl=letter.lasts,
                group_id=str(letter.request.round),
            )
            for letter in letters
        )

    def answers(self, names: Iterable[str]) -> list[LinkAnswer]:
        """What :meth:`pull_messages` gives."""
        return [LinkAnswer(message) for message in self.pull_messages(names)]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send the messages, and the objects of their payloads that the link does not have yet."""
        batch = list(messages)
        roots = [objects.root() for _ in batch]
        for message, (name, _) in zip(batch, roots, strict=True):
            message.metadata.__dict__["_message_id"] = name
            self._sent[name] = message
        try:
            self._upload(batch, dict(roots))
            # Behind a push, while the clients are busy.
            self._confirm(self._unconfirmed)
            now = time.monotonic()
            self._abandoned = {name: at for name, at in self._abandoned.items() if now - at < ABANDONED_FOR}
        except FAILURES as error:
            self._restart_if_dead(error)
            self._lose("the link lost the message")
        return [name for name, _ in roots]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that have come whole; for messages that died with the link, an error.

        A reply is held until the next call; then the link forgets it. Replies to abandoned messages are
        forgotten at once.
        """
        wanted = list(message_ids)
        if lost := [self._lost.pop(name) for name in wanted if name in self._lost]:
            return lost
        try:
            self._confirm(self._judged)
            # The link would call a message unknown whose reply was pulled, and is still arriving.
            arriving = {reply.metadata.reply_to_message_id for reply in self._arriving}
            names = [name for name in (*wanted, *self._abandoned) if name not in arriving]
            answer = self._link.runtime.PullMessages(PullAppMessagesRequest(message_ids=names))
            trees = (bool(tree.children) for tree in answer.message_object_trees)
            replies = [message_from_proto(proto) for proto in answer.messages_list]
            come = [reply for reply, large in zip(replies, trees, strict=True) if self._wanted(reply, large=large)]
            return come + self._arrived()
        except FAILURES as error:
            self._restart_if_dead(error)
            return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, and pull until all have answered or the time is over."""
        pending, replies = set(self.push_messages(messages)), list[Message]()
        end = None if timeout is None else time.monotonic() + timeout
        while pending and (end is None or time.monotonic() < end):
            come = self.pull_messages(pending)
            replies += come
            pending -= {reply.metadata.reply_to_message_id for reply in come}
            if not come:
                time.sleep(POLL_INTERVAL)
        return replies

    def abandon(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for these replies any more: they are forgotten when they come."""
        names = set(message_ids)
        for name in names:
            self._sent.pop(name, None)
            self._lost.pop(name, None)
        self._abandoned |= dict.fromkeys(names, time.monotonic())
        late = [reply for reply in self._arriving if reply.metadata.reply_to_message_id in names]
        self._arriving = [reply for reply in self._arriving if reply not in late]
        self._judged += [reply.metadata.message_id for reply in late]

    def fetch(self, payload: Payload) -> bytearray:
        """A reply's payload. Raises DecodeError if part of it is not on the link."""

        def look(name: str) -> bytes:
            content = self._look(name)
            if content is None:
                raise DecodeError(f"object {name[:16]} of the payload was announced, and is not on the link")
            return content

        try:
            return objects.assemble(payload, look)
        except FAILURES as error:
            self._restart_if_dead(error)
            raise DecodeError(f"the payload could not be fetched from the link ({type(error).__name__})") from error
        finally:
            # Responses end in reference cycles that hold their bodies: without this the peak grows by the cohort.
            gc.collect(1)

    def _look(self, name: str) -> bytes | None:
        """One object, None if it is not there, or not yet."""
        request = PullObjectRequest(node=self._link.node, run_id=self._link.run_id, object_id=name)
        answer = self._link.runtime.PullObject(request)
        return cast(bytes, answer.object_content) if answer.object_available else None

    def _wanted(self, reply: Message, *, large: bool) -> bool:
        """Whether a reply that was pulled can be returned at once."""
        asked, name = reply.metadata.reply_to_message_id, reply.metadata.message_id
        if self._abandoned.pop(asked, None) is not None:
            self._judged.append(name)
            return False
        self._sent.pop(asked, None)
        if large:
            self._arriving.append(reply)
        else:
            self._unconfirmed.append(name)
        return not large

    def _arrived(self) -> list[Message]:
        """Take out the large replies that are whole: a node uploads a reply's own object after its payload."""
        whole = [reply for reply in self._arriving if self._look(reply.metadata.message_id) is not None]
        self._arriving = [reply for reply in self._arriving if reply not in whole]
        self._judged += [reply.metadata.message_id for reply in whole]
        return whole

    def _confirm(self, names: list[str]) -> None:
        """Let the link forget these replies and their objects."""
        while names:
            request = ConfirmMessageReceivedRequest(
                node=self._link.node, run_id=self._link.run_id, message_object_id=names[-1]
            )
            self._link.runtime.ConfirmMessageReceived(request)
            names.pop()

    def _upload(self, messages: list[Message], roots: dict[str, bytes]) -> None:
        headers = [unpack(message.content, Request)[0] for message in messages]
        trees = [
            objects.tree(name, *filter(None, (header.payload, header.own)))
            for name, header in zip(roots, headers, strict=True)
        ]
        protos = [message_to_proto(message) for message in messages]
        answer = self._link.runtime.PushMessages(
            PushAppMessagesRequest(messages_list=protos, message_object_trees=trees)
        )

        def push(name: str) -> None:
            content = roots.get(name) or self._framed(name)
            self._link.runtime.PushObject(
                PushObjectRequest(
                    node=self._link.node,
                    run_id=self._link.run_id,
                    session_id=answer.session_id,
                    object_id=name,
                    object_content=content,
                )
            )

        # Payloads before roots: a client waits for the former, nobody for the latter.
        objects.each(push, sorted(answer.objects_to_push, key=lambda name: name in roots))

    def _framed(self, name: str) -> bytes:
        body = self.payloads.bodies.get(name)
        if body is None:
            raise RunError(f"the link asks for object {name[:16]}, which was released")
        return objects.frame(body)

    def _restart_if_dead(self, error: Exception) -> None:
        """Start a dead link anew; a live one that only hiccuped is tried again by the caller's next call."""
        time.sleep(POLL_INTERVAL)
        if self._link.alive and isinstance(error, httpx.TransportError):
            return
        self._link.stop()
        self._link = SuperLink(*self._where)
        self.restarts += 1
        sent = self._sent
        self._forget()
        self._sent = sent
        self._lose("the link was restarted")

    def _lose(self, reason: str) -> None:
        """Answer everything that is under way by an error."""
        for name, message in self._sent.items():
            answer = Message(Error(code=0, reason=reason), reply_to=message)
            answer.metadata.__dict__["_reply_to_message_id"] = name
            self._lost[name] = answer
        self._sent = {}
