"""The link's process: Flower's SuperLink, started and ended here, and the run's task taken from it.

The coordinator takes the task in its own process, so that progress, exit codes, run store and Ctrl-C are ours.
This file, :mod:`leptonic_server.link` and :mod:`leptonic_server.gate` are all of the server that touches
Flower's internals.
"""

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import RunError
from leptonic.flower_http import FAILURES, direct
from leptonic_server.gate import SECRET_HEADER

__all__ = ["SuperLink"]

LARGE_BLOCK = 1024 * 1024
POLL_INTERVAL = 0.05
START_TIMEOUT = 60.0
HEARTBEAT_INTERVAL = 10.0

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
        except FAILURES as error:
            self.stop()
            raise RunError(f"the link on {self._address} broke off while it started: {error}") from None
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
            with suppress(*FAILURES):
                self.runtime.PushTaskOutput(PushTaskOutputRequest(sub_status="completed", details=""))
            self.runtime.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._log.close()

    def _wait_until_healthy(self, log: Path) -> None:
        end = time.monotonic() + START_TIMEOUT
        while self.alive and time.monotonic() < end:
            try:
                if httpx.get(f"http://{self._address}/health", timeout=1.0, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_INTERVAL)
        raise RunError(f"the link did not start on {self._address}; its log is {log}")

    def _start_run(self) -> int:
        content, _ = build_fab_from_files({"pyproject.toml": _APP})
        fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
        control = direct(
            ControlHttpClient.from_server_address(self._address, True, None, interceptors=self._pass("cli"))
        )
        try:
            return int(control.StartRun(StartRunRequest(fab=fab, federation="")).run_id)
        finally:
            control.close()

    def _take_task(self) -> RuntimeHttpClient:
        asking = direct(
            RuntimeHttpClient.from_server_address(self._address, True, None, interceptors=self._pass("SuperExec"))
        )
        try:
            token = asking.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"])).token
        finally:
            asking.close()
        interceptors = [*self._pass("flwr-serverapp"), RuntimeTokenHttpInterceptor(token=token)]
        runtime = direct(RuntimeHttpClient.from_server_address(self._address, True, None, interceptors=interceptors))
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
            except FAILURES:
                continue


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
        # glibc: blocks of this size go back to the system when they are freed. It would raise the threshold by
        # itself, and then keep a forgotten payload's memory in the pool of whichever thread had stored it.
        "MALLOC_MMAP_THRESHOLD_": str(LARGE_BLOCK),
    }
    command = [sys.executable, "-m", "leptonic_server.gate", "--host", host, "--port", str(port), "--insecure"]
    command += ["--isolation", "process", "--disable-runtime-dependency-installation"]
    # A session of its own: Ctrl-C is for the coordinator, which then stops the link in order.
    process = subprocess.Popen(  # noqa: S603  our own module, with arguments that were checked
        command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once: the wait for its health says so, and names its log
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
