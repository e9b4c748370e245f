"""The grid over a real SuperLink with real fleet members, and what it needs of Flower's internals."""

import contextlib
import hashlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from tests.end_to_end.federation import free_port, wait_for
from tests.server.contracts import ADVICE, TOUCHING, VERSION, imported_from_flower
from tests.server.scripted import ScriptedMembers, key_of, public

from leptonic import objects
from leptonic.errors import RunError
from leptonic.records import pack, unpack
from leptonic.wire import INLINE_LIMIT, Payload, Reply, Request, inline
from leptonic_client.fleet import Disconnected, Fleet, Incoming
from leptonic_server.exchange import Exchange
from leptonic_server.link import LinkGrid

RUN, EXPERIMENT = "0123456789abcdef", "ab" * 32
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's own


def test_flower_is_the_version_that_was_read() -> None:
    assert version("flwr").startswith(VERSION), ADVICE


@pytest.mark.parametrize(
    ("module", "name"), sorted({imported for path in TOUCHING for imported in imported_from_flower(path)})
)
def test_every_internal_that_we_import_exists(module: str, name: str) -> None:
    imported = importlib.import_module(module)
    if name and not hasattr(imported, name):
        try:
            importlib.import_module(f"{module}.{name}")
        except ImportError:
            pytest.fail(f"{module} has no {name}. {ADVICE}")


@pytest.mark.parametrize("size", [1, 31, 1000, 70_000])
def test_our_framing_is_flowers_own(size: int) -> None:
    from flwr.app.message.arraychunk import ArrayChunk
    from flwr.supercore.inflatable.inflatable_object import get_object_id

    content = os.urandom(size)
    flowers = ArrayChunk(memoryview(content)).deflate()
    ((name, body),) = objects.cut(content)
    assert objects.frame(body) == flowers, ADVICE
    assert name == get_object_id(flowers), ADVICE


def test_a_messages_own_object_passes_flowers_check() -> None:
    from flwr.supercore.inflatable.inflatable_object import get_object_id
    from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore

    name, content = objects.root()
    assert get_object_id(content) == name
    store = InMemoryObjectStore(verify=True)
    store.preregister(1, ObjectTree(object_id=name))
    store.put(name, content)
    assert store.get(name) == content


def test_a_messages_name_is_kept_where_we_set_it() -> None:
    """Both sides name their messages themselves."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    message = Message(RecordDict(), dst_node_id=5, message_type="train")
    message.metadata.__dict__["_message_id"] = "name"
    assert message.metadata.message_id == "name", ADVICE
    assert message_to_proto(message).metadata.message_id == "name", ADVICE


class Nonsense(BaseHTTPRequestHandler):
    """What a hotel's network answers: a page, whatever was asked."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, format: str, *_: Any) -> None:
        """Nothing is logged."""


def test_a_link_that_answers_nonsense_is_waited_for_not_died_of() -> None:
    """A node reconnects for ever."""
    with HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fleet = Fleet(f"127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(Disconnected):
                fleet.connect()
        finally:
            fleet._client.close()
            server.shutdown()
            thread.join()


class Client:
    """A fleet member that answers as a test says."""

    def __init__(self, address: str, index: int = 0) -> None:
        self.fleet, self.index = Fleet(address), index
        self.fleet.connect()

    @property
    def node(self) -> int:
        return int(self.fleet._node.node_id)

    def take(self, seconds: float = 5.0) -> tuple[Incoming, Request, bytes]:
        end = time.monotonic() + seconds
        while (incoming := self.fleet.pull()) is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        request, content = unpack(incoming.message.content, Request)
        if request.payload.kind != "inline":
            content = bytes(self.fleet.fetch(incoming, request.payload))
        return incoming, request, content

    def answer(self, incoming: Incoming, request: Request, content: bytes, *, signer: int | None = None) -> None:
        cut = objects.cut(content) if len(content) > INLINE_LIMIT else []
        payload = objects.describe(content, [name for name, _ in cut]) if cut else inline(content)
        record = pack(reply(request, payload), content=content, key=key_of(self.index if signer is None else signer))
        self.fleet.push(incoming, record, payload, dict(cut))

    def announce(self, incoming: Incoming, request: Request, names: list[str], length: int) -> None:
        """Answer with a payload whose objects never come."""
        name, _ = objects.root()
        payload = Payload(kind="objects", length=length, parts=names)
        message = Message(pack(reply(request, payload), key=key_of(self.index)), reply_to=incoming.message)
        message.metadata.__dict__["_message_id"] = name
        self.fleet._client.PushMessages(
            PushMessagesRequest(
                node=self.fleet._node,
                messages_list=[message_to_proto(message)],
                message_object_trees=[objects.tree(name, payload)],
                clientapp_runtime_list=[0.0],
            )
        )


def reply(request: Request, payload: Payload) -> Reply:
    fields = request.model_dump(exclude={"counted", "own", "payload"})
    return Reply.model_validate({**fields, "payload": payload, "status": "done"})


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkGrid]:
    made = LinkGrid("127.0.0.1", free_port(), tmp_path_factory.mktemp("link"))
    yield made
    made.close()


@pytest.fixture
def client(grid: LinkGrid) -> Iterator[Client]:
    made = Client(address_of(grid))
    wait_for(lambda: made.node in grid.get_node_ids(), seconds=10, what="the node")
    yield made
    made.fleet.close()


def address_of(grid: LinkGrid) -> str:
    host, port, _ = grid._where
    return f"{host}:{port}"


def send(grid: LinkGrid, node: int, content: bytes, **changes: Any) -> str:
    payload = inline(content) if len(content) <= INLINE_LIMIT else grid.payloads.put(content)
    numbers = {"run": RUN, "experiment": EXPERIMENT, "round": 1, "step": "train", "attempt": 1, "client": 0}
    request = Request(**{**numbers, "payload": payload, **changes})
    (name,) = grid.push_messages([Message(pack(request, content=content), node, "train", ttl=60.0, group_id="1")])
    return name


def receive(grid: LinkGrid, name: str, seconds: float = 5.0) -> Message:
    end = time.monotonic() + seconds
    while not (come := grid.pull_messages([name])):
        assert time.monotonic() < end
        time.sleep(0.01)
    return come[0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, INLINE_LIMIT, INLINE_LIMIT + 1, objects.CHUNK, 2 * objects.CHUNK + 5])
def test_payloads_go_there_and_back_unchanged(grid: LinkGrid, client: Client, size: int) -> None:
    down, up = os.urandom(size), os.urandom(size)
    name = send(grid, client.node, down)
    incoming, request, content = client.take()
    assert content == down
    client.answer(incoming, request, up)
    client.fleet.confirm(incoming)
    answered, inlined = unpack(receive(grid, name).content, Reply)
    got = inlined if answered.payload.kind == "inline" else grid.payloads.get(answered.payload)
    assert got == up
    grid.payloads.release(request.payload)
    grid.pull_messages([])
    assert (grid._sent, grid.payloads.bodies, grid._judged, grid._arriving) == ({}, {}, [], [])
    assert grid.restarts == 0


@pytest.mark.slow
def test_a_model_for_many_is_uploaded_once(grid: LinkGrid) -> None:
    clients = [Client(address_of(grid)) for _ in range(3)]
    content = os.urandom(objects.CHUNK + 1)
    payload = grid.payloads.put(content)
    numbers: dict[str, Any] = {"run": RUN, "experiment": EXPERIMENT, "round": 1, "step": "train", "attempt": 1}
    messages = [
        Message(pack(Request(**numbers, client=index, payload=payload)), one.node, "train", ttl=60.0, group_id="1")
        for index, one in enumerate(clients)
    ]
    pushed = grid._link.runtime.PushObject
    count: list[int] = []

    def counting(request: Any) -> Any:
        count.append(len(request.object_content))
        return pushed(request)

    grid._link.runtime.PushObject = counting
    try:
        grid.push_messages(messages)
    finally:
        del grid._link.runtime.PushObject
    assert sum(size > 1000 or size < 40 for size in count) == 2
    for one in clients:
        incoming, _, got = one.take()
        assert got == content
        one.fleet.confirm(incoming)
        one.fleet.close()
    grid.payloads.release(payload)


def exchange_with(grid: LinkGrid, clients: list[Client]) -> Exchange:
    nodes = {one.index: one.node for one in clients}
    members = ScriptedMembers(nodes, {one.index: public(key_of(one.index)) for one in clients})
    return Exchange(grid, members, run=RUN, experiment=EXPERIMENT)


def ask(exchange: Exchange, clients: list[Client], *, deadline: float, expected: int = 4) -> dict[int, str]:
    asked = exchange.ask(
        "train",
        round_number=1,
        attempt=1,
        cohort=[one.index for one in clients],
        content=b"model",
        expected=expected,
        wanted=len(clients),
        deadline=deadline,
        take=lambda *_: None,
        on_client=lambda _: None,
    )
    return {index: record.status for index, record in asked.records.items()}


@contextlib.contextmanager
def working(*works: Any) -> Iterator[None]:
    """Clients at work beside the exchange."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(timeout=10)


@pytest.mark.slow
def test_a_payload_that_is_announced_and_never_sent_does_not_hold_the_round(
    grid: LinkGrid, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline is a deadline: one client could hold each round for minutes, object after object."""
    monkeypatch.setattr(objects, "ARRIVAL_TIMEOUT", 5.0)

    def lie() -> None:
        incoming, request, _ = client.take()
        client.announce(incoming, request, [hashlib.sha256(os.urandom(8)).hexdigest()], 100)

    started = time.monotonic()
    with working(lie):
        statuses = ask(exchange_with(grid, [client]), [client], deadline=1.0)
        seconds = time.monotonic() - started
    assert statuses[0] != "counted"
    assert seconds < 3.5


@pytest.mark.slow
def test_another_node_that_answers_under_the_messages_name_does_not_shut_its_client_out(
    grid: LinkGrid, client: Client
) -> None:
    other = Client(address_of(grid), 7)

    def both() -> None:
        incoming, request, _ = client.take()
        other.answer(incoming, request, b"forged")
        again, request, _ = client.take()
        client.answer(again, request, b"real")

    with working(both):
        statuses = ask(exchange_with(grid, [client]), [client], deadline=3.0)
    other.fleet.close()
    assert statuses == {0: "counted"}


def memory_of(grid: LinkGrid) -> int:
    status = Path(f"/proc/{grid._link._process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


@pytest.mark.slow
def test_late_replies_do_not_pile_up_on_the_link(grid: LinkGrid, client: Client) -> None:
    """Every over-selected client leaves one; a model of 16 MB and ten rounds must not be 160 MB."""
    if not Path("/proc").exists():
        pytest.skip("needs /proc")
    size, sizes = 16_000_000, []
    for _ in range(8):
        name = send(grid, client.node, b"model")
        incoming, request, _ = client.take()
        grid.abandon([name])
        client.answer(incoming, request, os.urandom(size))
        client.fleet.confirm(incoming)
        grid.pull_messages([])
        sizes.append(memory_of(grid))
    assert sizes[-1] - sizes[2] < 3 * size


@pytest.mark.slow
def test_a_link_that_is_killed_is_started_again_and_what_was_under_way_is_lost(tmp_path: Path) -> None:
    grid = LinkGrid("127.0.0.1", free_port(), tmp_path)
    try:
        one = Client(address_of(grid))
        names = [send(grid, one.node, content) for content in (b"small", os.urandom(100_000))]
        os.kill(grid._link._process.pid, signal.SIGKILL)
        lost: dict[str, str] = {}
        end = time.monotonic() + 60
        while len(lost) < 2 and time.monotonic() < end:
            for message in grid.pull_messages(set(names) - set(lost)):
                assert message.has_error()
                lost[message.metadata.reply_to_message_id] = message.error.reason
        assert set(lost) == set(names)
        assert grid.restarts == 1
        again = Client(address_of(grid))
        name = send(grid, again.node, b"model")
        incoming, request, _ = again.take()
        again.answer(incoming, request, b"update")
        assert not receive(grid, name).has_error()
        again.fleet.close()
        one.fleet._stopped.set()
        one.fleet._client.close()
    finally:
        grid.close()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1:{port}"):
            LinkGrid("127.0.0.1", port, tmp_path)


@pytest.mark.slow
def test_a_link_that_cannot_start_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = tmp_path / "leptonic_server"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise SystemExit('broken')")
    with pytest.raises((RunError, OSError)) as caught:
        LinkGrid("127.0.0.1", free_port(), tmp_path / "link")
    assert isinstance(caught.value, RunError)
    assert "link.log" in str(caught.value)


BEHIND_A_PROXY = """
import sys
from pathlib import Path
from leptonic_server import link, superlink
superlink.START_TIMEOUT = 10.0
link.LinkGrid("127.0.0.1", int(sys.argv[1]), Path(sys.argv[2])).close()
"""


@pytest.mark.slow
def test_a_proxy_of_the_environment_is_not_used(tmp_path: Path) -> None:
    """It would be sent the gate's secret, and every update; and nothing would start in a hospital's network."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0.1)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environment = {**os.environ, "http_proxy": address, "HTTP_PROXY": address, "no_proxy": "", "NO_PROXY": ""}
        done = subprocess.run(
            [sys.executable, "-c", BEHIND_A_PROXY, str(free_port()), str(tmp_path)],
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        asked = b""
        with contextlib.suppress(TimeoutError):
            connection, _ = proxy.accept()
            asked = connection.recv(1000)
            connection.close()
    assert asked == b""
    assert done.returncode == 0, done.stderr.decode()[-300:]


@pytest.mark.slow
def test_nothing_but_the_one_port_is_open(grid: LinkGrid) -> None:
    pid = grid._link._process.pid
    if not Path("/proc").exists():
        pytest.skip("needs /proc")
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    listening = {
        row.split()[1] for table in tables for row in table if row.split()[3] == "0A" and row.split()[9] in inodes
    }
    assert listening == {f"0100007F:{grid._where[1]:04X}"}


@pytest.mark.slow
def test_what_the_link_leaves_on_disk_holds_no_secret(grid: LinkGrid) -> None:
    secret = grid._link._secret.encode()
    files = [path for path in grid._where[2].rglob("*") if path.is_file()]
    assert files
    assert not any(secret in path.read_bytes() for path in files)
