"""The link to deployed clients: Flower's SuperLink in a process of its own, and the grid over it.

Started and watched here; when it dies it is started again, and everything that was under way on it is
answered by an error, so that the round asks anew. The coordinator takes the run's task in its own process.
This file and :mod:`leptonic_server.gate` are all of the server that touches Flower's internals.
"""

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    GetNodesRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.serverapp import Grid
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from leptonic import objects
from leptonic.errors import DecodeError, RunError
from leptonic.wire import Payload, Request, unpack
from leptonic_server.gate import SECRET_HEADER

__all__ = ["LinkGrid"]

POLL_INTERVAL = 0.05
START_TIMEOUT = 60.0
HEARTBEAT_INTERVAL = 10.0
REQUEST_TIMEOUT = 60.0

_APP = b"""[project]
name = "leptonic"
version = "0"
description = "Holds no code: clients run only what is installed on their side."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "leptonic"
[tool.flwr.app.components]
serverapp = "leptonic:none"
clientapp = "leptonic:none"
"""


class SuperLink:
    """One life of the link's process, with one Flower run whose task this process has taken."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._address = f"{_bracketed(host)}:{port}"
        self._secret = secrets.token_hex(32)
        _check_free(host, port)
        self._log = (folder / "link.log").open("ab")
        self._process = _start(host, port, folder, self._secret, self._log)
        self._stopped = threading.Event()
        try:
            self._wait_until_healthy(folder / "link.log")
            self.run_id = self._start_run()
            self.runtime = self._take_task()
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def peak_memory(self) -> int | None:
        """The process's largest resident size so far in bytes, None where the system does not say."""
        status = Path(f"/proc/{self._process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)

    def stop(self) -> None:
        """End the run and the process."""
        self._stopped.set()
        if hasattr(self, "runtime"):
            with suppress(httpx.HTTPError):
                self.runtime.PushTaskOutput(PushTaskOutputRequest(sub_status="completed", details=""))
            self.runtime.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_healthy(self, log: Path) -> None:
        end = time.monotonic() + START_TIMEOUT
        while self.alive and time.monotonic() < end:
            try:
                if httpx.get(f"http://{self._address}/health", timeout=1.0).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_INTERVAL)
        raise RunError(f"the link did not start on {self._address}; its log is {log}")

    def _start_run(self) -> int:
        content, _ = build_fab_from_files({"pyproject.toml": _APP})
        fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
        control = ControlHttpClient.from_server_address(self._address, True, None, interceptors=self._pass("cli"))
        try:
            return int(control.StartRun(StartRunRequest(fab=fab, federation="")).run_id)
        finally:
            control.close()

    def _take_task(self) -> RuntimeHttpClient:
        asking = RuntimeHttpClient.from_server_address(self._address, True, None, interceptors=self._pass("SuperExec"))
        try:
            token = asking.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"])).token
        finally:
            asking.close()
        interceptors = [*self._pass("flwr-serverapp"), RuntimeTokenHttpInterceptor(token=token)]
        runtime = RuntimeHttpClient.from_server_address(self._address, True, None, interceptors=interceptors)
        taken = runtime.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = taken.task_id, taken.run.run_id
        TaskIdentity.node_id = taken.context.node_id
        self.node = Node(node_id=taken.context.node_id)
        return runtime

    def _pass(self, component: str) -> list[Any]:
        return [_Secret(self._secret), RuntimeVersionHttpInterceptor(component_name=component)]

    def _beat(self) -> None:
        """Tell Flower that the task's process lives; its own sender would interrupt us when the link is gone."""
        while not self._stopped.wait(HEARTBEAT_INTERVAL):
            try:
                self.runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except (httpx.HTTPError, RuntimeError):
                continue


class LinkPayloads:
    """Payloads as objects on the link: put before they are sent, fetched when they are taken."""

    def __init__(self, grid: "LinkGrid") -> None:
        self._grid = grid
        self.bodies: dict[str, memoryview] = {}
        self.owners: dict[str, str] = {}

    def put(self, content: bytes | memoryview) -> Payload:
        """Cut the content; it is uploaded, once, with the messages that name it."""
        cut = objects.cut(content)
        self.bodies |= dict(cut)
        return objects.describe(content, [name for name, _ in cut])

    def get(self, payload: Payload) -> bytearray:
        """Fetch the content from the link. Raises DecodeError."""
        return self._grid.fetch(payload)

    def release(self, payload: Payload) -> None:
        """Forget what was put, or let the link forget what was fetched."""
        for name in payload.parts:
            self.bodies.pop(name, None)
        if payload.parts and (message := self.owners.pop(payload.parts[0], None)):
            self._grid.confirm([message])


class LinkGrid(Grid):  # type: ignore[misc]
    """Flower's Grid over our link; small messages travel in one request."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._where = (host, port, folder)
        self._link = SuperLink(host, port, folder)
        self.payloads = LinkPayloads(self)
        self._lost: dict[str, Message] = {}
        self._sent: dict[str, Message] = {}
        self._unconfirmed: list[str] = []
        self.restarts = 0

    def close(self) -> None:
        """Stop the link."""
        self._link.stop()

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
        except httpx.HTTPError as error:
            self._restart_if_dead(error)
            return []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send the messages, and the objects of their payloads that the link does not have yet."""
        batch = list(messages)
        roots = [objects.root() for _ in batch]
        for message, (name, _) in zip(batch, roots, strict=True):
            message.metadata.__dict__["_message_id"] = name
            self._sent[name] = message
        try:
            self._upload(batch, dict(roots))
            self._confirm_all()
        except httpx.HTTPError as error:
            self._restart_if_dead(error)
            self._lose(self._sent, "the link lost the message")
        return [name for name, _ in roots]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that have come; for messages that died with the link, an error."""
        wanted = list(message_ids)
        lost = [self._lost.pop(name) for name in wanted if name in self._lost]
        if lost:
            return lost
        try:
            answer = self._link.runtime.PullMessages(PullAppMessagesRequest(message_ids=wanted))
        except httpx.HTTPError as error:
            self._restart_if_dead(error)
            return []
        replies = [message_from_proto(proto) for proto in answer.messages_list]
        for reply, tree in zip(replies, answer.message_object_trees, strict=True):
            name = reply.metadata.message_id
            self._sent.pop(reply.metadata.reply_to_message_id, None)
            if tree.children:
                self.payloads.owners[tree.children[0].object_id] = name
            else:
                self._unconfirmed.append(name)
        return replies

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
        """Nobody waits for these replies any more; the link forgets the messages when their time is over."""
        for name in message_ids:
            self._sent.pop(name, None)
            self._lost.pop(name, None)

    def fetch(self, payload: Payload) -> bytearray:
        """A reply's payload, waiting while it is on its way. Raises DecodeError if it does not come."""
        link = self._link

        def look(name: str) -> bytes | None:
            request = PullObjectRequest(node=link.node, run_id=link.run_id, object_id=name)
            answer = link.runtime.PullObject(request)
            if not answer.object_found:
                raise DecodeError(f"object {name[:16]} of the payload is not on the link any more")
            return cast(bytes, answer.object_content) if answer.object_available else None

        try:
            return objects.assemble(payload, look)
        except httpx.HTTPError as error:
            self._restart_if_dead(error)
            raise DecodeError(f"the payload could not be fetched from the link ({type(error).__name__})") from error

    def confirm(self, names: Iterable[str]) -> None:
        """Let the link forget these replies and their objects."""
        for name in names:
            request = ConfirmMessageReceivedRequest(
                node=self._link.node, run_id=self._link.run_id, message_object_id=name
            )
            try:
                self._link.runtime.ConfirmMessageReceived(request)
            except httpx.HTTPError as error:
                self._restart_if_dead(error)
                return

    def _upload(self, messages: list[Message], roots: dict[str, bytes]) -> None:
        headers = [unpack(message.content, Request)[0] for message in messages]
        trees = [objects.tree(name, header.payload) for name, header in zip(roots, headers, strict=True)]
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

    def _confirm_all(self) -> None:
        """Done behind a push, while the clients are busy."""
        names, self._unconfirmed = self._unconfirmed, []
        self.confirm(names)

    def _restart_if_dead(self, error: httpx.HTTPError) -> None:
        """Start a dead link anew; a live one that only hiccuped is tried again by the caller's next call."""
        time.sleep(POLL_INTERVAL)
        if self._link.alive and isinstance(error, httpx.TransportError):
            return
        self._link.stop()
        self._link = SuperLink(*self._where)
        self.restarts += 1
        self._unconfirmed.clear()
        self.payloads.owners.clear()
        self._lose(self._sent, "the link was restarted")

    def _lose(self, messages: dict[str, Message], reason: str) -> None:
        for name, message in messages.items():
            answer = Message(Error(code=0, reason=reason), reply_to=message)
            answer.metadata.__dict__["_reply_to_message_id"] = name
            self._lost[name] = answer
        self._sent = {}


class _Secret:
    """Adds the gate's secret to every request of ours."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: Any, call_next: Any) -> httpx.Response:
        """See Flower's interceptors."""
        context.request.headers[SECRET_HEADER] = self._secret
        return cast(httpx.Response, call_next(context))


def _start(host: str, port: int, folder: Path, secret: str, log: Any) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "FLWR_HOME": str(folder / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    command = [sys.executable, "-m", "leptonic_server.gate", "--host", host, "--port", str(port), "--insecure"]
    command += ["--isolation", "process", "--disable-runtime-dependency-installation"]
    # A session of its own: Ctrl-C is for the coordinator, which then stops the link in order.
    process = subprocess.Popen(  # noqa: S603  our own module, with arguments that were checked
        command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(secret.encode() + b"\n")
    process.stdin.flush()
    return process


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"cannot listen on {_bracketed(host)}:{port}: {error.strerror}") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
