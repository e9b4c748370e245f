"""A federation in memory whose clients do what a test says: answer, lie, fall silent, come back elsewhere."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import DecodeError, ProtocolError
from leptonic.records import pack
from leptonic.wire import INLINE_LIMIT, Payload, Reply, Request, inline
from leptonic_server.link import LinkAnswer
from leptonic_server.post import Letter

Script = Callable[[Request, bytes], list[Any]]
"""What a node does with a request: the records or errors that come back, none if it stays silent."""


class HeldPayloads:
    """Payloads by reference, and what was done with them."""

    inline_limit = INLINE_LIMIT

    def __init__(self) -> None:
        self.held: dict[str, bytes | memoryview] = {}
        self.fetched: list[Payload] = []
        self._names = itertools.count()

    def put(self, content: bytes | memoryview) -> Payload:
        name = f"payload-{next(self._names)}"
        self.held[name] = content
        return Payload(kind="memory", length=len(content), parts=[name])

    def get(self, payload: Payload) -> bytes | memoryview:
        self.fetched.append(payload)
        if payload.kind != "memory" or not payload.parts or payload.parts[0] not in self.held:
            raise DecodeError("the payload is not held here")
        return self.held[payload.parts[0]]

    def release(self, payload: Payload) -> None:
        for name in payload.parts:
            self.held.pop(name, None)


class ScriptedGrid:
    """A RoundGrid. scripts: of each node, by its id. asked: every request that was sent, with its node."""

    def __init__(self, scripts: dict[int, Script] | None = None) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        self.payloads = HeldPayloads()
        self.scripts = scripts or {}
        self.asked: list[tuple[int, Request]] = []
        self.abandoned: list[str] = []
        self.when_idle: Callable[[], None] = lambda: None
        self._ids = itertools.count()
        self._replies: list[tuple[str, LinkAnswer]] = []
        self._returned: list[LinkAnswer] = []

    def get_node_ids(self) -> list[int]:
        return list(self.scripts)

    def send(self, letters: Sequence[Letter]) -> list[str]:
        return [self._post(letter) for letter in letters]

    def answers(self, names: Iterable[str]) -> list[LinkAnswer]:
        self._let_go()
        wanted = set(names)
        come = [answer for name, answer in self._replies if name in wanted]
        self._replies = [(name, message) for name, message in self._replies if name not in wanted]
        if not come:
            self.when_idle()
        self._returned = come
        return come

    def abandon(self, names: Iterable[str]) -> None:
        self._let_go()
        self.abandoned += names

    def _let_go(self) -> None:
        """As the real grids: what a reply named is held until the next call."""
        for answer in self._returned:
            with suppress(ValueError, ProtocolError):
                self.payloads.release(answer.open()[0].payload)
        self._returned = []

    def _post(self, letter: Letter) -> str:
        """As the link does: in a message of Flower's, with what comes back in another."""
        name, request = f"letter-{next(self._ids)}", letter.request
        message = Message(pack(request, content=letter.content), letter.node, "query", ttl=letter.lasts)
        message.metadata.__dict__["_message_id"] = name
        content = letter.content
        if request.payload.kind != "inline":
            content = bytes(self.payloads.held[request.payload.parts[0]])
        self.asked.append((letter.node, request))
        for answer in self.scripts[letter.node](request, content) if letter.node in self.scripts else []:
            self._replies.append((name, LinkAnswer(Message(answer, reply_to=message))))
        return name


class ScriptedMembers:
    """The members, whose nodes a test can move. names and keys: by client."""

    def __init__(self, nodes: Mapping[int, int], keys: Mapping[int, str | None]) -> None:
        self.nodes, self.keys = dict(nodes), dict(keys)

    def online(self) -> Mapping[int, int]:
        return dict(self.nodes)

    def key(self, client: int) -> str | None:
        return self.keys[client]

    def name(self, client: int) -> str:
        return f"clinic-{client}"


def key_of(client: int) -> Ed25519PrivateKey:
    """A client's key, always the same."""
    return Ed25519PrivateKey.from_private_bytes(bytes([client + 1] * 32))


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def reply_to(
    request: Request,
    content: bytes = b"",
    *,
    signer: Ed25519PrivateKey | None,
    grid: ScriptedGrid | None = None,
    **changes: Any,
) -> RecordDict:
    """A signed reply, its payload inline or, if it is large, held by the grid; ``changes`` replace fields."""
    payload = grid.payloads.put(content) if grid is not None and len(content) > INLINE_LIMIT else inline(content)
    fields = request.model_dump(exclude={"counted", "own", "payload"})
    reply = Reply.model_validate({**fields, "payload": payload, "status": "done", **changes})
    return pack(reply, content=content, key=signer)


def answering(content: bytes, client: int, *, grid: ScriptedGrid | None = None, **changes: Any) -> Script:
    """Answers every request with the same bytes, signed by the client."""
    return lambda request, _: [reply_to(request, content, signer=key_of(client), grid=grid, **changes)]


def silent(_request: Request, _content: bytes) -> list[Any]:
    """Never answers."""
    return []
