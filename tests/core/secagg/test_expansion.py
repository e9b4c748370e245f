"""Workers expand the same masks as this process, whatever the lengths, and say when one of them has died."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.secagg import expansion
from leptonic.secagg.expansion import Here, Workers
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.masks import Mask

Vectors = tuple[NDArray[np.uint32], NDArray[np.uint64]]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(expansion, "WORTH_IT", 0)
    made = Workers(2)
    yield made
    made.close()


def masks(count: int) -> list[Mask]:
    return [Mask(os.urandom(32), negative=bool(index % 3)) for index in range(count)]


def vectors(words: int, sums: int = 3) -> Vectors:
    generator = np.random.default_rng(words)
    return generator.integers(0, 2**32, words, dtype=np.uint32), generator.integers(0, 2**63, sums, dtype=np.uint64)


@pytest.mark.parametrize("length", [1, 5, 16, 123, 4099, 2**19, 2**19 + 1, 3 * 2**20 + 7])
def test_workers_add_what_this_process_would(workers: Workers, length: int) -> None:
    added, (words, sums), (expected, expected_sums) = masks(4), vectors(length), vectors(length)
    workers.add(words, sums, added)
    Here().add(expected, expected_sums, added)
    assert (words == expected).all()
    assert (sums == expected_sums).all()


def test_a_mask_and_its_negative_leave_nothing(workers: Workers) -> None:
    added, (words, sums), (before, before_sums) = masks(3), vectors(100_000), vectors(100_000)
    workers.add(words, sums, added)
    assert (words != before).mean() > 0.999
    workers.add(words, sums, [Mask(mask.key, not mask.negative) for mask in added])
    assert (words == before).all()
    assert (sums == before_sums).all()


def test_threads_may_share_the_workers(workers: Workers) -> None:
    done: list[bool] = []

    def work() -> None:
        added, (words, sums), (expected, expected_sums) = masks(3), vectors(300_000), vectors(300_000)
        workers.add(words, sums, added)
        Here().add(expected, expected_sums, added)
        done.append(bool((words == expected).all()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4


def test_little_work_starts_no_process() -> None:
    few = Workers(2)
    words, sums = vectors(1000)
    few.add(words, sums, masks(2))
    assert few._crew is None
    few.close()


def test_a_worker_that_has_died_is_said_so(workers: Workers) -> None:
    words, sums = vectors(1000)
    workers.add(words, sums, masks(1))
    kill(workers)
    with pytest.raises(RunError, match="expands masks has died"):
        workers.add(words, sums, masks(1))


def test_a_worker_that_dies_at_work_is_said_so(workers: Workers) -> None:
    words, sums = in_room(workers, 3 * 2**20)
    workers._start()
    threading.Timer(0.05, kill, [workers]).start()
    added = masks(2000)
    with pytest.raises(RunError, match="expands masks has died"):
        workers.add_and_hash(words, sums, added)


def kill(workers: Workers) -> None:
    assert workers._crew is not None
    for worker in workers._crew.workers:
        worker.process.kill()
        worker.process.wait()


def in_room(workers: Workers, length: int, sums: int = 3, *, before: int = 0) -> Vectors:
    """Vectors in memory that the workers see, so many bytes behind its beginning."""
    room = workers.room(before + 4 * length + 8 * sums)[before:]
    found = np.frombuffer(room[: 4 * length], np.uint32), np.frombuffer(room[4 * length :], np.uint64)
    for own, drawn in zip(found, vectors(length, sums), strict=True):
        own[:] = drawn
    return found


@pytest.mark.parametrize("length", [1, 5, 16, 4099, 2**18, 2**18 + 1, 2**20 + 7])
@pytest.mark.parametrize("before", [0, 4096, 12])
def test_a_vector_that_the_workers_see_is_masked_where_it_lies(workers: Workers, length: int, before: int) -> None:
    added, (words, sums), (expected, expected_sums) = masks(4), in_room(workers, length, before=before), vectors(length)
    digest = Here().add_and_hash(expected, expected_sums, added)
    assert digest == long_digest(expected.data, expected_sums.data)
    assert workers.add_and_hash(words, sums, added) == digest
    assert (words == expected).all()
    assert (sums == expected_sums).all()
    workers.add(words, sums, added)
    Here().add(expected, expected_sums, added)
    assert (words == expected).all()
    assert (sums == expected_sums).all()


def test_the_digest_of_any_other_vector_is_the_same(workers: Workers) -> None:
    added, (words, sums), (expected, expected_sums) = masks(4), vectors(2**19), vectors(2**19)
    assert workers.add_and_hash(words, sums, added) == Here().add_and_hash(expected, expected_sums, added)
    assert (words == expected).all()


def test_several_vectors_are_masked_at_a_time(workers: Workers) -> None:
    length, count = 300_000, 5
    room = workers.room(4 * length * count)
    all_words = np.frombuffer(room, np.uint32).reshape(count, length)
    foreign, added = vectors(length), [masks(3) for _ in range(count)]
    for index, own in enumerate(all_words):
        own[:] = index
    sums = np.zeros((count, 2), np.uint64)
    threads = [threading.Thread(target=workers.add, args=each) for each in zip(all_words, sums, added, strict=True)]
    threads.append(threading.Thread(target=workers.add, args=(*foreign, added[0])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, (own, beside) in enumerate(zip(all_words, sums, strict=True)):
        expected, expected_sums = np.full(length, index, np.uint32), np.zeros(2, np.uint64)
        Here().add(expected, expected_sums, added[index])
        assert (own == expected).all()
        assert (beside == expected_sums).all()
    expected, expected_sums = vectors(length)
    Here().add(expected, expected_sums, added[0])
    assert (foreign[0] == expected).all()


def test_room_may_be_made_anew(workers: Workers) -> None:
    for length in (1000, 5000):
        words, sums = in_room(workers, length)
        expected, expected_sums = vectors(length)
        added = masks(2)
        assert workers.add_and_hash(words, sums, added) == Here().add_and_hash(expected, expected_sums, added)


def test_what_is_closed_leaves_no_process_and_no_descriptor() -> None:
    before = descriptors()
    made = Workers(2)
    words, sums = in_room(made, 2**21)
    made.add(words, sums, masks(2))
    assert made._crew is not None
    workers = made._crew.workers
    made.close()
    del words, sums
    assert all(worker.process.returncode == 0 for worker in workers)
    assert descriptors() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "expanding"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
