"""Rounds stand in their order, one at a time, whoever commits them; and an error comes to whoever waits."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.server.test_store import record, vectors

from leptonic.errors import RunError
from leptonic_server.commits import AtOnce, Commits, OneBehind
from leptonic_server.store import RoundRecord, RunStore


class Heard:
    """What a listener was told, and by which thread."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.threads: set[int] = set()

    def round_committed(self, record: RoundRecord) -> None:
        self.rounds.append(record.round)
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize("kind", [AtOnce, OneBehind])
def test_every_round_stands_when_it_is_settled(kind: type[AtOnce] | type[OneBehind], tmp_path: Path) -> None:
    heard = Heard()
    with closing(RunStore(tmp_path)) as store, closing(kind(store, heard)) as commits:
        for number in range(4):
            commits.commit(record(number), vectors(number), [])
            # The one before stands, whatever becomes of this one.
            assert heard.rounds[:number] == list(range(number))
        commits.settle()
        assert store.last_round() == 3
        assert np.array_equal(store.vectors()["model"], vectors(3)["model"])
    assert heard.rounds == [0, 1, 2, 3]


def test_the_last_round_stands_when_it_is_closed(tmp_path: Path) -> None:
    heard = Heard()
    with closing(RunStore(tmp_path)) as store:
        with closing(OneBehind(store, heard)) as commits:
            commits.commit(record(0), vectors(0), [])
        assert store.last_round() == 0
    assert threading.get_ident() not in heard.threads


def test_what_a_commit_ends_with_comes_to_who_settles(tmp_path: Path) -> None:
    with closing(RunStore(tmp_path)) as store:
        commits: Commits = OneBehind(store, Heard())
        commits.commit(record(0), vectors(0), [])
        commits.commit(record(0), vectors(0), [])
        with pytest.raises(RunError, match="round 0 is committed already"):
            commits.close()
        assert not any(thread.name.startswith("commit") for thread in threading.enumerate())
        assert store.last_round() == 0
