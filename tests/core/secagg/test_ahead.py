"""Masks expanded ahead give the bits of masks expanded alone, and only to those who have derived the same keys."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import RunError
from leptonic.secagg import ahead, expansion
from leptonic.secagg.crew import Crew, Job
from leptonic.secagg.expansion import Here, Workers
from leptonic.secagg.masks import Mask, Stream, add_streams, add_to_words, together

WORDS = 3000
ROOM = 4 * 2**20


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(expansion, "WORTH_IT", 0)
    monkeypatch.setattr(ahead, "LEAST", 160)
    made = Workers(2, ahead=ROOM)
    yield made
    made.close()


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, int]]:
    """Each job with its number of keystreams."""
    noted: list[tuple[Job, int]] = []
    hand = Crew.hand

    def note(crew: Crew, job: Job, keys: bytes) -> Any:
        noted.append((job, len(keys) // 40))
        return hand(crew, job, keys)

    monkeypatch.setattr(Crew, "hand", note)
    return noted


def cohort(clients: int) -> list[list[Mask]]:
    """Every client's own mask, and one for each pair."""
    draw = np.random.default_rng(clients)
    masks = [[Mask(draw.bytes(32))] for _ in range(clients)]
    for one, other in combinations(range(clients), 2):
        key = draw.bytes(32)
        masks[one].append(Mask(key))
        masks[other].append(Mask(key, negative=True))
    return masks


def check(workers: Workers, masks: list[Mask], *, room: memoryview | None = None, words: int = WORDS) -> None:
    """Add these masks to a vector, in memory that the workers see or in any other, and compare."""
    own = np.frombuffer(room if room is not None else bytearray(4 * words), np.uint32)
    own[:] = np.arange(words, dtype=np.uint32)
    sums, expected_sums = np.arange(3, dtype=np.uint64), np.arange(3, dtype=np.uint64)
    expected = own.copy()
    digest = Here().add_and_hash(expected, expected_sums, masks)
    assert workers.add_and_hash(own, sums, masks) == digest
    assert (own == expected).all()
    assert (sums == expected_sums).all()


KEYS = st.integers(0, 3).map(lambda number: bytes([number]) * 32)
GROUPS = st.lists(st.lists(st.builds(Mask, KEYS, st.booleans()), max_size=5), min_size=1, max_size=5)


@given(many=GROUPS, count=st.sampled_from([0, 1, 16, 100]))
def test_masks_of_several_vectors_are_the_masks_of_each(many: list[list[Mask]], count: int) -> None:
    expected, found = (np.zeros((len(many), count), np.uint32) for _ in range(2))
    for vector, masks in zip(expected, many, strict=True):
        add_to_words(vector, masks, start=32)
    streams = together(many)
    add_streams(list(found), streams, start=32)
    assert (found == expected).all()
    for key in {mask.key for masks in many for mask in masks}:
        added, taken = (
            sum(mask == Mask(key, negative=sign) for masks in many for mask in masks) for sign in (False, True)
        )
        assert sum(stream.key == key for stream in streams) == max(added, taken)


@given(many=GROUPS, count=st.sampled_from([0, 1, 16, 100]))
def test_blank_parts_are_zero_whatever_lies_there(many: list[list[Mask]], count: int) -> None:
    """Whichever stream comes first to a part, and where none comes."""
    expected, found = np.zeros((len(many), count), np.uint32), np.full((len(many), count), 7, np.uint32)
    add_streams(list(expected), together(many), start=32)
    add_streams(list(found), together(many), start=32, blank=True)
    assert (found == expected).all()


@given(many=GROUPS)
def test_streams_lie_near_those_that_share_a_sum_and_none_is_lost(many: list[list[Mask]]) -> None:
    streams = together(many)
    nearby = ahead._nearby(streams, len(many))
    assert sorted(nearby, key=repr_of) == sorted(streams, key=repr_of)


def repr_of(stream: Stream) -> tuple[bytes, str]:
    return stream.key, repr(stream)


def test_neighbours_on_a_ring_come_together() -> None:
    """Between two streams of a sum lie few others, wherever the sums lie: many sums are touched in between else."""
    places = np.random.default_rng(1).permutation(48).tolist()
    streams = [
        Stream(bytes([at, step]), places[at], places[(at + step) % 48]) for at in range(48) for step in range(1, 7)
    ]
    spans = [spans_of(each) for each in (ahead._nearby(streams, 48), sorted(streams, key=lambda each: each.minus or 0))]
    assert spans[0] < spans[1] / 2


def spans_of(streams: list[Stream]) -> float:
    """Different sums between two streams of the same one, on average."""
    ends = [(each.plus, each.minus) for each in streams]
    gaps = []
    for place in range(48):
        own = [index for index, each in enumerate(ends) if place in each]
        gaps += [len({end for each in ends[first:second] for end in each}) for first, second in pairwise(own)]
    return float(np.mean(gaps))


def test_a_streams_key_is_not_shown() -> None:
    assert repr(together([[Mask(b"k" * 32)]])) == "[Stream(plus=0, minus=None)]"


@pytest.mark.parametrize("words", [1, 5, 123, WORDS, 70_000])
def test_what_was_announced_is_added_bit_for_bit(workers: Workers, words: int) -> None:
    masks = cohort(5)
    room = workers.room(4 * words)
    for _ in range(2):
        workers.announce(words, masks)
        for index, own in enumerate(masks):
            check(workers, own, room=room if index % 2 else None, words=words)


def test_each_keystream_is_expanded_once(workers: Workers, handed: list[tuple[Job, int]]) -> None:
    """45 pairs and 10 masks of their own; what is left in the sum of all is known then, too."""
    masks = cohort(10)
    room = workers.room(4 * WORDS)
    workers.announce(WORDS, masks)
    assert {(len(job.firsts), streams) for job, streams in handed} == {(11, 55)}
    ranges = sorted((job.start, job.words) for job, _ in handed)
    assert ranges[0][0] == 0
    assert all(start + words == after for (start, words), (after, _) in pairwise(ranges))
    assert sum(words for _, words in ranges) == WORDS
    handed.clear()
    for own in masks:
        check(workers, own, room=room)
    check(workers, [Mask(own[0].key, negative=True) for own in reversed(masks)])
    assert not any(streams for _, streams in handed)


def test_other_masks_than_were_announced_are_expanded_alone(workers: Workers, handed: list[tuple[Job, int]]) -> None:
    """Whoever deviates in one key, one sign or the number of masks is given what it asks for, not what it should."""
    masks = cohort(3)
    first, *rest = masks[0]
    deviating = [
        [Mask(bytes(32)), *rest],
        [Mask(first.key, negative=True), *rest],
        rest,
        [first, *masks[0]],
        [],
    ]
    room = workers.room(4 * WORDS)
    for own in deviating:
        workers.announce(WORDS, masks)
        handed.clear()
        check(workers, own, room=room)
        assert all(streams == len(own) and job.besides is None for job, streams in handed)
        for honest in masks:
            check(workers, honest, room=room)


def test_a_vector_of_another_length_is_masked_alone(workers: Workers) -> None:
    masks = cohort(3)
    workers.announce(WORDS, masks)
    check(workers, masks[0], words=WORDS - 16)
    check(workers, masks[0])


def test_a_sum_is_taken_once(workers: Workers, handed: list[tuple[Job, int]]) -> None:
    masks = cohort(3)
    room = workers.room(4 * WORDS)
    workers.announce(WORDS, masks)
    handed.clear()
    for _ in range(2):
        check(workers, masks[0], room=room)
    assert [streams > 0 for _, streams in handed] == [False, True]


@pytest.mark.parametrize(("vectors", "sums"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 5), (9, 5)])
def test_as_many_are_expanded_ahead_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, handed: list[tuple[Job, int]], vectors: int, sums: int
) -> None:
    monkeypatch.setattr(expansion, "WORTH_IT", 0)
    size = -(-WORDS // 16) * 16
    workers, masks = Workers(2, ahead=4 * (vectors * size + 15)), cohort(4)
    try:
        room = workers.room(4 * WORDS)
        workers.announce(WORDS, masks)
        assert {len(job.firsts) for job, _ in handed} == ({sums} if sums else set())
        for own in masks:
            check(workers, own, room=room)
    finally:
        workers.close()


def test_more_than_stay_in_the_cache_are_not_expanded_ahead(workers: Workers, handed: list[tuple[Job, int]]) -> None:
    masks = [[Mask(bytes([index]) * 32)] for index in range(ahead.MOST + 3)]
    room = workers.room(4 * WORDS)
    asked = iter(masks)
    workers.announce(WORDS, asked)
    assert len(list(asked)) == 3
    assert {len(job.firsts) for job, _ in handed} == {ahead.MOST}
    for own in masks[-5:]:
        check(workers, own, room=room)


def test_without_room_or_work_nothing_is_begun() -> None:
    for made, many in ((Workers(2), 2000), (Workers(2, ahead=ROOM), 2), (Workers(1, ahead=ROOM), 2000)):
        made.announce(WORDS, [[Mask(bytes(32))]] * many)
        assert made._crew is None
        made.close()


def test_an_announcement_waits_for_those_who_use_the_last_one(workers: Workers) -> None:
    """Threads that mask one cohort while the next one is announced, again and again."""
    cohorts = [cohort(4), cohort(5)]
    room = workers.room(5 * 4 * WORDS)
    slots = [room[index * 4 * WORDS : (index + 1) * 4 * WORDS] for index in range(5)]
    with ThreadPoolExecutor(5) as threads:
        for turn in range(30):
            masks = cohorts[turn % 2]
            workers.announce(WORDS, masks)
            begun = [threads.submit(check, workers, own, room=slot) for own, slot in zip(masks, slots, strict=False)]
            if turn % 3 == 0:
                workers.announce(WORDS, cohorts[0])
            for each in begun:
                each.result()


def test_a_worker_that_dies_at_what_was_announced_is_said_so(workers: Workers) -> None:
    length, masks = 500_000, [[Mask(bytes([index]) * 32) for index in range(200)], [Mask(bytes(32))]]
    workers.announce(length, masks)
    crew = workers._crew
    assert crew is not None
    killed = threading.Timer(0.05, lambda: [worker.process.kill() for worker in crew.workers])
    killed.start()
    with pytest.raises(RunError, match="expands masks has died"):
        workers.add(np.zeros(length, np.uint32), np.zeros(2, np.uint64), masks[0])
    workers.announce(length, masks)
    with pytest.raises(RunError, match="expands masks has died"):
        workers.add(np.zeros(length, np.uint32), np.zeros(2, np.uint64), masks[0])
    killed.join()


def test_new_room_forgets_what_was_announced(workers: Workers, handed: list[tuple[Job, int]]) -> None:
    masks = cohort(3)
    workers.announce(WORDS, masks)
    room = workers.room(4 * WORDS)
    handed.clear()
    check(workers, masks[0], room=room)
    assert all(streams for _, streams in handed)
