"""The gate before Flower's SuperLink: only the fleet's interface and the health check without the secret."""

import asyncio
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.end_to_end.federation import free_port, wait_for
from tests.server.contracts import ADVICE, VERSION

from leptonic_server.gate import OPEN_PATHS, SECRET_HEADER, Gate

SECRET = b"5" * 64
CLOSED = "/v1/control/list-runs"


class Behind:
    """What stands behind the gate; remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["type"])


def send(scope: dict[str, Any]) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a request reached what is behind the gate, and what the gate itself answered."""
    behind, answers = Behind(), list[dict[str, Any]]()

    async def sent(message: dict[str, Any]) -> None:
        answers.append(message)

    asyncio.run(Gate(behind, SECRET)(scope, None, sent))
    return bool(behind.reached), answers


def passes(path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> bool:
    return send({"type": kind, "path": path, "headers": list(headers)})[0]


@pytest.mark.parametrize("path", ["/health", "/v1/fleet/pull-messages", "/v1/fleet/"])
def test_the_fleets_interface_and_the_health_check_are_open(path: str) -> None:
    assert passes(path)


@pytest.mark.parametrize(
    "path",
    [
        CLOSED,
        "/v1/runtime/push-messages",
        "/",
        "",
        "//v1/fleet/x",
        "/V1/FLEET/x",
        "/v1/fleet",
        "/v1/fleets/x",
        "/health/",
        "/health/../v1/control/list-runs",
        "/docs",
        "/openapi.json",
        "x/v1/fleet/",
        " /health",
    ],
)
def test_everything_else_is_not_there(path: str) -> None:
    reached, answers = send({"type": "http", "path": path, "headers": []})
    assert not reached
    assert answers[0]["status"] == 404
    assert answers[1].get("body") == b""


@given(path=st.text(max_size=30))
def test_no_other_path_is_open(path: str) -> None:
    assert passes(path) == (path.startswith(OPEN_PATHS[0]) or path == OPEN_PATHS[1])


NAME = SECRET_HEADER.encode()


def test_the_secret_opens_everything() -> None:
    assert passes(CLOSED, (NAME, SECRET))


@pytest.mark.parametrize("given_secret", [b"", SECRET[:-1], SECRET + b"5", b"\xff" * 64, SECRET.replace(b"5", b"4", 1)])
def test_a_wrong_secret_opens_nothing(given_secret: bytes) -> None:
    assert not passes(CLOSED, (NAME, given_secret))


def test_the_secret_under_another_name_opens_nothing() -> None:
    assert not passes(CLOSED, (b"authorization", SECRET), (b"cookie", SECRET))


@pytest.mark.parametrize("path", [CLOSED, "/v1/fleet/x", "/health"])
def test_websockets_are_not_let_through(path: str) -> None:
    assert not passes(path, kind="websocket")


def test_the_servers_own_start_is_let_through() -> None:
    assert passes("", kind="lifespan")


def test_flower_is_the_version_whose_hook_the_gate_uses() -> None:
    assert version("flwr").startswith(VERSION), ADVICE


def test_flower_asks_for_its_middleware_by_the_name_that_the_gate_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.superlink import extensions, main
    from starlette.middleware import Middleware

    marker = Middleware(Gate, secret=SECRET)
    monkeypatch.setattr(extensions, "get_middleware", lambda: (marker,))
    assert main._get_middleware()[0] is marker, ADVICE


def test_flowers_interfaces_lie_where_the_gate_thinks() -> None:
    from flwr.superlink.routers.control.router import router as control
    from flwr.superlink.routers.fleet.router import router as fleet

    assert fleet.prefix + "/" == OPEN_PATHS[0], ADVICE
    assert control.prefix == "/v1/control", ADVICE


@dataclass
class Link:
    """A gate's process with the SuperLink behind it."""

    process: subprocess.Popen[bytes]
    port: int
    secret: str

    def post(self, path: str, **headers: str) -> httpx.Response:
        with httpx.Client(trust_env=False) as client:
            return client.post(f"http://127.0.0.1:{self.port}{path}", headers=headers, content=b"")

    def raw(self, first_line: str, *lines: str) -> bytes:
        """The status line of a request that is sent as it is written."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            text = "\r\n".join([first_line, "Host: link", "Content-Length: 0", "Connection: close", *lines])
            connection.sendall(text.encode() + b"\r\n\r\n")
            return connection.makefile("rb").readline()


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    folder, port, secret = tmp_path_factory.mktemp("gate"), free_port(), secrets.token_hex(32)
    started = Link(_start(folder, port), port, secret)
    assert started.process.stdin is not None
    started.process.stdin.write(secret.encode() + b"\n")
    started.process.stdin.flush()
    wait_for(lambda: _healthy(port), seconds=60, what="the link")
    yield started
    started.process.stdin.close()
    started.process.wait(timeout=20)


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "leptonic_server.gate", "--host", "127.0.0.1", "--port", str(port), "--insecure"]
    command += ["--isolation", "process", "--disable-runtime-dependency-installation"]
    environment = {"FLWR_HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "PATH": "/usr/bin:/bin"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_control_and_runtime_answer_with_the_secret_alone(link: Link) -> None:
    assert link.post(CLOSED).status_code == 404
    assert link.post(CLOSED, **{SECRET_HEADER: "0" * 64}).status_code == 404
    assert link.post("/v1/runtime/get-nodes").status_code == 404
    assert link.post(CLOSED, **{SECRET_HEADER: link.secret}).status_code not in (404, 405)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "/v1/fleet/..;/control/list-runs",
        "/v1/fleet/%252e%252e/control/list-runs",
        "/v1/fleet/\\..\\control\\list-runs",
        "//v1/control/list-runs",
        "/v1//control/list-runs",
        "/./v1/control/list-runs",
        "/V1/Control/list-runs",
        "/%76%31/control/list-runs",
        "/v1/control/list-runs?/v1/fleet/",
        "/v1/control/list-runs#/v1/fleet/",
        "/v1/fleet/?/../../v1/control/list-runs",
        "http://link/v1/control/list-runs",
        "http://link/v1/fleet/../control/list-runs",
        "/docs",
        "/openapi.json",
        "*",
    ],
)
def test_no_trick_with_the_path_reaches_control(link: Link, path: str) -> None:
    for method in ("POST", "GET"):
        assert b" 404 " in link.raw(f"{method} {path} HTTP/1.1", "Content-Type: application/x-protobuf")


@pytest.mark.slow
@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"])
def test_headers_of_proxies_do_not_change_the_path(link: Link, header: str) -> None:
    assert b" 404 " in link.raw("POST /v1/fleet/none HTTP/1.1", f"{header}: /v1/control/list-runs")
    assert b" 404 " in link.raw("POST /v1/control/list-runs HTTP/1.1", f"{header}: /v1/fleet/pull-messages")


@pytest.mark.slow
def test_a_websocket_is_not_opened(link: Link) -> None:
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    assert b" 101 " not in link.raw("GET /v1/control/list-runs HTTP/1.1", *upgrade, key)


@pytest.mark.slow
def test_the_secret_is_in_no_argument_variable_or_log(link: Link) -> None:
    process = Path(f"/proc/{link.process.pid}")
    if not process.exists():
        pytest.skip("needs /proc")
    assert link.secret.encode() not in (process / "cmdline").read_bytes()
    assert link.secret.encode() not in (process / "environ").read_bytes()


def _leptonic_sleeps(port: int, folder: Path) -> str:
    return f"""
import sys, time
from pathlib import Path
from leptonic_server.link import LinkGrid
grid = LinkGrid("127.0.0.1", {port}, Path({str(folder)!r}))
print(grid._link._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_the_link_dies_with_its_parent(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", _leptonic_sleeps(port, tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        assert _healthy(port)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: _gone(number), seconds=10, what="the link's end")
    assert not _healthy(port)


def _gone(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 200 + b"\n"])
def test_a_gate_that_is_not_sent_a_secret_says_who_starts_it(content: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leptonic_server.gate"], input=content, capture_output=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert b"leptonic server" in done.stderr
    assert b"Traceback" not in done.stderr
