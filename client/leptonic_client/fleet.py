"""The node's connection to the link: Flower's fleet interface, with retries that never give up.

Brings messages in and replies out; knows nothing of what they mean. Flower's own client kills its process on
some answers and starts a process per message; this one does neither. This is the one file of the client that
touches Flower's internals.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from flwr.app import Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
    UnregisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from leptonic import objects
from leptonic.errors import DecodeError
from leptonic.flower_http import FAILURES, direct
from leptonic.wire import Payload

__all__ = ["Disconnected", "Fleet", "Incoming", "connect_for_ever"]

HEARTBEAT_INTERVAL = 30
LONGEST_PAUSE = 5.0


class Disconnected(Exception):
    """The link is gone or does not know this node any more: connect again."""


@dataclass(frozen=True)
class Incoming:
    """One message for this node, and the id by which the link knows it."""

    message: Message
    name: str


class Fleet:
    """One node's membership of one life of the link."""

    def __init__(self, address: str) -> None:
        private, public = generate_key_pairs()
        self._public = public_key_to_bytes(public)
        interceptors = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(private, public),
        ]
        self._client = direct(FleetHttpClient.from_server_address(address, True, None, interceptors=interceptors))
        self._stopped = threading.Event()
        self._node = Node()

    def connect(self) -> None:
        """Register and activate. Raises Disconnected while the link does not answer.

        The key that Flower asks for is made anew each time: who this node is, its signed replies say.
        """
        with _translated():
            self._client.RegisterNode(RegisterNodeFleetRequest(public_key=self._public))
            request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_INTERVAL)
            self._node = Node(node_id=self._client.ActivateNode(request).node_id)
        threading.Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """Leave the link, if it is still there."""
        self._stopped.set()
        try:
            if self._node.node_id:
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))
                self._client.UnregisterNode(UnregisterNodeFleetRequest(node_id=self._node.node_id))
        except FAILURES:
            pass
        self._client.close()

    def pull(self) -> Incoming | None:
        """The next message, None if there is none. Raises Disconnected."""
        with _translated():
            answer = self._client.PullMessages(PullMessagesRequest(node=self._node))
        if not answer.messages_list:
            return None
        message = message_from_proto(answer.messages_list[0])
        return Incoming(message, message.metadata.message_id)

    def fetch(self, incoming: Incoming, payload: Payload) -> bytearray:
        """A payload that travels as objects. Raises Disconnected, DecodeError."""

        def look(name: str) -> bytes | None:
            request = PullObjectRequest(node=self._node, run_id=incoming.message.metadata.run_id, object_id=name)
            answer = self._client.PullObject(request)
            if not answer.object_found:
                raise DecodeError(f"object {name[:16]} of the payload is not on the link any more")
            return bytes(answer.object_content) if answer.object_available else None

        with _translated():
            return objects.assemble(payload, look)

    def confirm(self, incoming: Incoming) -> None:
        """Let the link forget the message and its objects. Raises Disconnected."""
        run = incoming.message.metadata.run_id
        with _translated():
            self._client.ConfirmMessageReceived(
                ConfirmMessageReceivedRequest(node=self._node, run_id=run, message_object_id=incoming.name)
            )

    def push(self, incoming: Incoming, content: RecordDict, payload: Payload, bodies: Mapping[str, memoryview]) -> None:
        """Send the reply to a message; bodies: those of its payload's objects, by name. Raises Disconnected."""
        name, frame = objects.root()
        reply = Message(content, reply_to=incoming.message)
        reply.metadata.__dict__["_message_id"] = name
        run = incoming.message.metadata.run_id
        with _translated():
            answer = self._client.PushMessages(
                PushMessagesRequest(
                    node=self._node,
                    messages_list=[message_to_proto(reply)],
                    message_object_trees=[objects.tree(name, payload)],
                    clientapp_runtime_list=[0.0],
                )
            )

            def push_object(wanted: str) -> None:
                self._client.PushObject(
                    PushObjectRequest(
                        node=self._node,
                        run_id=run,
                        session_id=answer.session_id,
                        object_id=wanted,
                        object_content=frame if wanted == name else objects.frame(bodies[wanted]),
                    )
                )

            # The reply's own object last, and alone: it tells the coordinator that the payload is whole.
            objects.each(push_object, [wanted for wanted in answer.objects_to_push if wanted in bodies])
            push_object(name)

    def _beat(self) -> None:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_INTERVAL)
        while not self._stopped.wait(HEARTBEAT_INTERVAL / 3):
            try:
                self._client.SendNodeHeartbeat(request)
            except FAILURES:
                continue  # the main loop meets the same trouble, and knows what to do


def connect_for_ever(address: str, on_wait: Callable[[str], None]) -> Fleet:
    """A connected fleet member, however long it takes; pauses grow to some seconds, with jitter."""
    pause = 0.1
    while True:
        fleet = Fleet(address)
        try:
            fleet.connect()
        except Disconnected as error:
            fleet.close()
            on_wait(str(error))
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
            pause = min(LONGEST_PAUSE, pause * 2)
        else:
            return fleet


@contextmanager
def _translated() -> Iterator[None]:
    """Turns every failure of the connection into Disconnected."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise Disconnected(f"the link answered {error.response.status_code}") from error
    except FAILURES as error:
        raise Disconnected(f"the link does not answer ({type(error).__name__})") from error
