"""Replies are masked in their order and in memory that is used again, whatever becomes of who asks for them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.simulations.small import experiment

from leptonic.errors import DecodeError, RunError
from leptonic.pipeline import Pipeline, pipeline_for
from leptonic.secagg.expansion import Here
from leptonic.wire import Request
from leptonic_client.participant import failure, reply_to
from leptonic_simulations.masking import Masking

CLIENTS = 9


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return pipeline_for(experiment(), 5)


def request(client: int) -> Request:
    return Request.model_validate(
        {"run": "r", "experiment": "0" * 64, "round": 1, "step": "train", "attempt": 1, "client": client}
        | {"payload": {"kind": "memory", "length": 0}}
    )


def trained(pipeline: Pipeline, *, failing: int | None = None) -> Iterator[Any]:
    """What every client has trained, in memory that is used again."""
    own = bytearray(pipeline.encoded_length)
    for client in range(CLIENTS):
        if client == failing:
            yield failure(request(client), RunError("no"), "no"), b""
            continue
        own[:] = bytes([client]) * len(own)
        yield reply_to(request(client), "done"), memoryview(own)


class Marking:
    """Marks what lies in a slot. slots: those that it was given."""

    def __init__(self, pipeline: Pipeline, *, failing: int | None = None) -> None:
        self._length, self._failing = pipeline.encoded_length, failing
        self.slots: list[memoryview] = []

    def __call__(self, client: int, slot: memoryview) -> memoryview:
        self.slots.append(slot)
        if client == self._failing:
            raise RunError("it has died")
        assert slot[: self._length] == bytes([client]) * self._length
        slot[self._length] = 100 + client
        return slot[: self._length + 1]


def test_every_reply_comes_in_its_order_with_what_was_made_of_it(pipeline: Pipeline) -> None:
    mark = Marking(pipeline)
    with closing(Masking(pipeline, Here(), mark)) as masking:
        for _ in range(2):
            answers = masking.answers(trained(pipeline, failing=4))
            found = [(reply.client, reply.status, bytes(answer)) for reply, answer in answers]
            assert {client for client, _, answer in found if answer[-1:] == bytes([100 + client])} == {
                client for client in range(CLIENTS) if client != 4
            }
            assert [client for client, status, _ in found if status == "done"] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert len({slot.obj is mark.slots[0].obj for slot in mark.slots}) == 1


def test_what_is_encoded_in_a_slot_is_masked_there(pipeline: Pipeline) -> None:
    """Also where some encode elsewhere, and where several cohorts are asked in turn."""
    mark = Marking(pipeline)
    with closing(Masking(pipeline, Here(), mark)) as masking:

        def in_place() -> Iterator[Any]:
            for reply, own in trained(pipeline):
                if reply.client % 3 == 0:
                    yield reply, own
                    continue
                room = masking.room()
                room[:] = own
                yield reply, room

        one, other = masking.answers(in_place()), masking.answers(in_place())
        for client in range(CLIENTS):
            for answers in (one, other):
                reply, answer = next(answers)
                assert (reply.client, answer[-1]) == (client, 100 + client)
        assert next(one, None) is next(other, None) is None


def test_who_stops_asking_takes_no_memory_away(pipeline: Pipeline) -> None:
    with closing(Masking(pipeline, Here(), Marking(pipeline))) as masking:
        unfinished = masking.answers(trained(pipeline))
        next(unfinished)
        for taken in range(CLIENTS):
            answers = masking.answers(trained(pipeline))
            for _ in range(taken):
                next(answers)
            del answers
        assert len(list(masking.answers(trained(pipeline)))) == CLIENTS
        assert len(list(unfinished)) == CLIENTS - 1


def test_what_is_wrong_with_one_is_raised_and_leaves_the_others_their_memory(pipeline: Pipeline) -> None:
    with closing(Masking(pipeline, Here(), Marking(pipeline, failing=3))) as masking:
        for _ in range(4):
            with pytest.raises(RunError, match="it has died"):
                list(masking.answers(trained(pipeline)))


def test_a_contribution_of_another_length_is_refused(pipeline: Pipeline) -> None:
    with closing(Masking(pipeline, Here(), Marking(pipeline))) as masking:
        with pytest.raises(DecodeError, match="a contribution has 3 bytes"):
            list(masking.answers(iter([(reply_to(request(0), "done"), b"abc")])))
        assert len(list(masking.answers(trained(pipeline)))) == CLIENTS
