"""The grid in one process: by reference, in order, and nothing kept."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from leptonic.errors import BadSignature, DecodeError
from leptonic.wire import INLINE_LIMIT, Payload, Reply, Request, header_bytes, inline
from leptonic_server.post import Letter
from leptonic_simulations.grid import HandedOver, InProcessGrid, MemoryPayloads

RUN, EXPERIMENT = "0123456789abcdef", "ab" * 32


class Echo:
    """An engine that answers each request with bytes of its own, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes | memoryview]] = []
        self.given: list[bytes] = []
        self.backwards = False
        self.status = "done"
        self.empty: set[int] = set()

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[tuple[Reply, bytes]]:
        for request in reversed(requests) if self.backwards else requests:
            self.seen.append((request.client, content))
            self.given.append(b"" if request.client in self.empty else bytes([request.client]) * 100_000)
            fields = request.model_dump(exclude={"counted", "own", "payload"})
            payload = Payload(kind="memory", length=len(self.given[-1]))
            yield Reply.model_validate({**fields, "payload": payload, "status": self.status}), self.given[-1]

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Echo:
    return Echo()


@pytest.fixture
def grid(engine: Echo) -> InProcessGrid:
    return InProcessGrid(engine)


def letters(content: bytes, payload: Payload, clients: Iterable[int]) -> list[Letter]:
    numbers = {"run": RUN, "experiment": EXPERIMENT, "round": 1, "step": "train", "attempt": 1}
    requests = [Request.model_validate({**numbers, "client": client, "payload": payload}) for client in clients]
    return [Letter(request, request.client, content, 9.0) for request in requests]


def pull_all(grid: InProcessGrid, names: list[str]) -> list[HandedOver]:
    replies = []
    while come := grid.answers(names):
        replies += come
    return replies


def test_payloads_pass_by_reference_both_ways(grid: InProcessGrid, engine: Echo) -> None:
    """The same memory, however large the model is."""
    model = np.zeros(10**6, np.float32)
    view = model.data.cast("B")
    payload = grid.payloads.put(view)
    names = grid.send(letters(b"", payload, [0, 1]))
    for name in names:
        (reply,) = grid.answers([name])
        assert grid.payloads.get(reply.open()[0].payload) is engine.given[-1]
    assert all(np.shares_memory(np.frombuffer(content, np.float32), model) for _, content in engine.seen)


def test_small_payloads_travel_beside_their_header(grid: InProcessGrid, engine: Echo) -> None:
    content = b"x" * INLINE_LIMIT
    names = grid.send(letters(content, inline(content), [2]))
    pull_all(grid, names)
    assert engine.seen == [(2, content)]


def test_work_is_done_when_it_is_pulled_in_the_order_in_which_it_was_pushed(grid: InProcessGrid, engine: Echo) -> None:
    names = grid.send(letters(b"m", inline(b"m"), [3, 0, 2, 1]))
    assert engine.seen == []
    first = grid.answers(names)
    assert [client for client, _ in engine.seen] == [3]
    assert [reply.to for reply in first] == names[:1]
    pull_all(grid, names)
    assert [client for client, _ in engine.seen] == [3, 0, 2, 1]


def test_each_reply_comes_once_and_belongs_to_its_message(grid: InProcessGrid) -> None:
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    replies = pull_all(grid, names)
    assert [reply.to for reply in replies] == names
    assert [reply.open()[0].client for reply in replies] == [0, 1, 2, 3]
    assert pull_all(grid, names) == []
    assert len(set(names)) == 4


def test_an_engine_may_answer_in_another_order(grid: InProcessGrid, engine: Echo) -> None:
    engine.backwards = True
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    assert [reply.to for reply in pull_all(grid, names)] == names[::-1]


def test_requests_with_another_content_are_another_step(grid: InProcessGrid, engine: Echo) -> None:
    batch = [*letters(b"m", inline(b"m"), [0, 1]), *letters(b"n", inline(b"n"), [1, 2])]
    names = grid.send(batch)
    replies = pull_all(grid, names)
    assert [reply.to for reply in replies] == names
    assert engine.seen == [(0, b"m"), (1, b"m"), (1, b"n"), (2, b"n")]


def test_what_is_abandoned_within_a_step_is_left_out(grid: InProcessGrid, engine: Echo) -> None:
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    grid.answers(names)
    grid.abandon([names[1]])
    assert [reply.to for reply in pull_all(grid, names)] == names[2:]


def test_only_what_is_asked_for_is_worked_on(grid: InProcessGrid, engine: Echo) -> None:
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    assert grid.answers([]) == []
    assert grid.answers(["no such message"]) == []
    grid.answers(names[2:3])
    assert [client for client, _ in engine.seen] == [2]


def test_abandoned_work_is_never_done(grid: InProcessGrid, engine: Echo) -> None:
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    grid.answers(names)
    grid.abandon(names[1:])
    grid.abandon(["no such message"])
    assert pull_all(grid, names) == []
    assert len(engine.seen) == 1


def test_replies_without_bytes_come_with_the_next_that_has_some(grid: InProcessGrid, engine: Echo) -> None:
    engine.empty = {0, 1, 3}
    names = grid.send(letters(b"m", inline(b"m"), range(4)))
    assert [reply.to for reply in grid.answers(names)] == names[:3]
    assert [reply.to for reply in grid.answers(names)] == names[3:]
    assert grid.answers(names) == []


def test_nobody_signs_and_a_check_for_it_fails(grid: InProcessGrid) -> None:
    (reply,) = grid.answers(grid.send(letters(b"m", inline(b"m"), [2])))
    assert reply.length == len(header_bytes(reply.reply))
    with pytest.raises(BadSignature):
        reply.verify("ab" * 32, "client-2")


def test_a_released_payload_is_gone() -> None:
    payloads = MemoryPayloads()
    first, second = payloads.put(b"one"), payloads.put(b"two")
    payloads.release(first)
    with pytest.raises(DecodeError):
        payloads.get(first)
    assert payloads.get(second) == b"two"
    payloads.release(first)


@pytest.mark.parametrize(
    "payload",
    [
        Payload(kind="memory", length=3, parts=[]),
        Payload(kind="memory", length=3, parts=["99"]),
        Payload(kind="objects", length=3, parts=["0"]),
        Payload(kind="inline", length=3, parts=["0"]),
    ],
)
def test_a_payload_that_is_not_held_is_a_decode_error(payload: Payload) -> None:
    payloads = MemoryPayloads()
    payloads.put(b"one")
    with pytest.raises(DecodeError):
        payloads.get(payload)
