"""Workers expand the same masks as this process, whatever the lengths, and say when one of them has died."""

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.secagg import expansion
from leptonic.secagg.expansion import Here, Workers
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
    assert not few._workers
    few.close()


def test_a_worker_that_has_died_is_said_so(workers: Workers) -> None:
    words, sums = vectors(1000)
    workers.add(words, sums, masks(1))
    for worker in workers._workers:
        worker._process.kill()
        worker._process.wait()
    with pytest.raises(RunError, match="expands masks has died"):
        workers.add(words, sums, masks(1))
