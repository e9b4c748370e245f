"""A kept session is opened once, by who kept it, for the step that was to come; its key is forgotten first."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leptonic.errors import DecodeError, LeptonicError, ReplayedSession, RunError
from leptonic.flower.terms import Terms
from leptonic.secagg.messages import SessionSettings
from leptonic_client.flower.kept import Keeper, KeptSession

TERMS = Terms.of(update_range=1.0, weight_cap=10, weighted_by="n", metrics=["b", "a"])
SECRET = b"the seed and the shares of a session"
SESSION = KeptSession(b"roster", SessionSettings(5, 6, 32, 3, 1, 1, 0, 0, 3), TERMS, SECRET)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "keys.sqlite")


def test_what_was_kept_comes_back_once(keeper: Keeper) -> None:
    sealed = keeper.keep(b"run", "train", SESSION)
    assert SECRET not in sealed
    assert keeper.take(b"run", "train", sealed) == SESSION
    for _ in range(2):
        with pytest.raises(ReplayedSession):
            keeper.take(b"run", "train", sealed)


def test_another_process_of_the_node_takes_it_and_then_nobody_does(tmp_path: Path) -> None:
    first, second = Keeper(tmp_path / "keys.sqlite"), Keeper(tmp_path / "keys.sqlite")
    sealed = first.keep(b"run", "train", SESSION)
    first.close()
    assert second.take(b"run", "train", sealed) == SESSION
    with pytest.raises(ReplayedSession):
        Keeper(tmp_path / "keys.sqlite").take(b"run", "train", sealed)


def test_of_many_at_a_time_one_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    sealed = Keeper(path).keep(b"run", "train", SESSION)

    def take(_: int) -> bool:
        keeper = Keeper(path)
        try:
            return keeper.take(b"run", "train", sealed) == SESSION
        except ReplayedSession:
            return False
        finally:
            keeper.close()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(16))) == 1


@pytest.mark.parametrize(("run", "step"), [(b"run", "agree"), (b"other", "train")])
def test_for_another_step_or_run_it_is_not_opened_and_is_lost(keeper: Keeper, run: bytes, step: str) -> None:
    sealed = keeper.keep(b"run", "train", SESSION)
    with pytest.raises(DecodeError):
        keeper.take(run, step, sealed)
    with pytest.raises(ReplayedSession):
        keeper.take(b"run", "train", sealed)


@pytest.mark.parametrize("at", [0, 20, -1])
def test_altered_bytes_are_not_opened(keeper: Keeper, at: int) -> None:
    sealed = bytearray(keeper.keep(b"run", "train", SESSION))
    sealed[at] ^= 1
    with pytest.raises(LeptonicError):
        keeper.take(b"run", "train", bytes(sealed))


def test_a_new_session_of_the_run_gives_up_what_was_kept_of_it(keeper: Keeper) -> None:
    mine, others = keeper.keep(b"run", "train", SESSION), keeper.keep(b"other", "train", SESSION)
    keeper.forget(b"run")
    with pytest.raises(ReplayedSession):
        keeper.take(b"run", "train", mine)
    assert keeper.take(b"other", "train", others) == SESSION


def test_a_forgotten_key_is_on_disk_no_more(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    keeper = Keeper(path)
    sealed = keeper.keep(b"run", "train", SESSION)
    with sqlite3.connect(path) as database:
        (key,) = database.execute("SELECT key FROM keys").fetchone()
    database.close()
    assert any(key in file.read_bytes() for file in tmp_path.iterdir())
    keeper.take(b"run", "train", sealed)
    keeper.close()
    assert not any(key in file.read_bytes() for file in tmp_path.iterdir())
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(RunError, match="not a database of keys"):
        Keeper(path)
