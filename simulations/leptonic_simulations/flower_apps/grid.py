"""Flower's Grid for Flower's own messages, in one process.

Messages are copied when they are pushed, as if they had been sent, and worked on in that order when replies are
pulled. There is no clock: time-outs and times to live are not applied, and every message is answered.
This is the one file of this package that touches Flower's internals.
"""

import copy
import itertools
import threading
import time
from collections.abc import Iterable
from typing import Protocol

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import RunError
from leptonic_simulations.flower_apps.clients import FIRST_NODE, Clients, copied

__all__ = ["FlowerGrid", "Listener", "SERVER_NODE", "described"]

SERVER_NODE: int = SUPERLINK_NODE_ID

# A pause in which nothing but waiting can happen; Flower's strategies wait a second between two looks.
_PAUSE = 0.5


class Listener(Protocol):
    """Hears what the clients do."""

    def sent(self, count: int) -> None:
        """So many messages are about to be worked on."""
        ...

    def answered(self, message: Message, error: Exception | str | None) -> None:
        """A client answered this message, or failed: by what it raised, or by the reason of its own error reply."""
        ...


class FlowerGrid(Grid):  # type: ignore[misc]
    """Gives a ServerApp the clients as its nodes.

    stop_at_error: raise a client's first error instead of answering it. What ended the work is kept as ``stopped``, and
    raised again whenever more is asked: Flower's legacy server takes what its threads raise for failed clients.
    patience: so many looks for nodes in a row, a pause apart and with nothing sent, are taken for endless waiting.
    """

    def __init__(
        self, clients: Clients, listener: Listener, *, stop_at_error: bool = False, patience: int = 10
    ) -> None:
        self.stopped: Exception | None = None
        self._stop_at_error = stop_at_error
        self._clients = clients
        self._listener = listener
        self._run = Run.create_empty(run_id=1)
        self._queue: list[Message] = []
        self._replies: dict[str, Message] = {}
        self._ids = itertools.count(1)
        # Flower's legacy server asks from several threads; clients still work one at a time.
        self._lock = threading.RLock()
        self._waiting = _Waiting(len(clients.nodes), patience)
        # Flower's messages name the task, run and node that send them.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, self._run.run_id, SERVER_NODE

    def set_run(self, run: Run) -> None:
        """Replace the run, which only the app itself looks at."""
        self._run = run

    @property
    def run(self) -> Run:
        """A run of its own, with the number 1."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Flower's old way of making a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Every node, always in the same order. Raises RunError if the app waits for more."""
        self._waiting.looked()
        return list(self._clients.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue copies of the messages, in order. Raises ValueError on what is not an instruction with content."""
        names = []
        for message in messages:
            with self._lock:
                names.append(self._push(message))
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Work off the queue, and give the replies that were asked for, each once."""
        with self._lock:
            self.work()
            return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, and pull every reply."""
        return self.pull_messages(self.push_messages(messages))

    def work(self) -> None:
        """Work off the queue, also what nobody may ever pull: it can change a client's state."""
        with self._lock:
            if self.stopped is not None:
                raise self.stopped
            batch, self._queue = self._queue, []
            if not batch:
                return
            self._listener.sent(len(batch))
            try:
                for message, outcome in zip(batch, self._clients.answer(batch), strict=True):
                    self._replies[message.metadata.message_id] = self._reply(message, outcome)
            except Exception as error:
                self.stopped = error
                raise
            self._waiting.over()

    def _push(self, message: Message) -> str:
        if not message.has_content() or message.metadata.reply_to_message_id:
            raise ValueError(f"only new messages with content can be pushed, not {message}")
        self._waiting.over()
        name = f"message-{next(self._ids)}"
        message.metadata.__dict__["_message_id"] = name
        sent = Message(copied(message.content), metadata=copy.copy(message.metadata))
        if message.metadata.dst_node_id in self._clients.nodes:
            self._queue.append(sent)
        else:
            reason = f"there is no node {message.metadata.dst_node_id}"
            self._listener.answered(sent, reason)
            self._replies[name] = _error(sent, ErrorCode.NODE_UNAVAILABLE, reason)
        return name

    def _reply(self, message: Message, outcome: Message | Exception) -> Message:
        if isinstance(outcome, Exception):
            if self._stop_at_error:
                outcome.add_note(f"raised by {described(message)}")
                raise outcome
            self._listener.answered(message, outcome)
            reason = f"{type(outcome).__name__}: {outcome}"
            return _error(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
        if outcome.has_error():
            self._listener.answered(message, outcome.error.reason or f"error {outcome.error.code}")
            return _named(outcome)
        self._listener.answered(message, None)
        # A client may have put records of its state into its reply.
        return _named(Message(copied(outcome.content), metadata=outcome.metadata))


def described(message: Message) -> str:
    """Which client, which kind of message, which round as far as Flower's strategies state it, and which message."""
    data, round_number = message.metadata, message.metadata.group_id
    for record in message.content.config_records.values():
        round_number = record.get("server-round", round_number)
    during = f", round {round_number}" if round_number else ""
    client = f"client {data.dst_node_id - FIRST_NODE} (node {data.dst_node_id})"
    return f"{client}, {data.message_type}{during}, {data.message_id}"


class _Waiting:
    """Notices a ServerApp that waits for nodes which never come: in a simulation all are there from the start.

    Only the thread that made it is watched: Flower's legacy server looks for nodes beside its work.
    """

    def __init__(self, nodes: int, patience: int) -> None:
        self._nodes = nodes
        self._patience = patience
        self._thread = threading.get_ident()
        self.over()

    def over(self) -> None:
        """Something else happened."""
        self._looks, self._last = 0, time.monotonic()

    def looked(self) -> None:
        """The app looked for nodes. Raises RunError when it has waited for too long."""
        if threading.get_ident() != self._thread:
            return
        now = time.monotonic()
        if now - self._last >= _PAUSE:
            self._looks += 1
        self._last = now
        if self._looks >= self._patience:
            raise RunError(
                f"the ServerApp looked for its nodes {self._looks} times and sent nothing: it waits for more than the "
                f"{self._nodes} there are; give more by --clients, or lower its strategy's min_available_nodes"
            )


def _error(message: Message, code: int, reason: str) -> Message:
    return _named(Message(Error(code=code, reason=reason), reply_to=message))


def _named(reply: Message) -> Message:
    reply.metadata.__dict__["_message_id"] = f"reply-to-{reply.metadata.reply_to_message_id}"
    return reply
