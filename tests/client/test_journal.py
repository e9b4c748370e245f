"""What a node must not forget: the same in memory and on disk, and on disk after a restart too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leptonic.errors import ReplayedSession, RunError
from leptonic.secagg.standing import Journal, MemoryJournal
from leptonic_client.journal import NodeJournal

RUN, QUERY, SESSION, OTHER = b"run", b"q" * 32, b"s" * 32, b"t" * 32

Again = Callable[[], Journal]


@pytest.fixture(params=["memory", "disk", "restarted"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Again:
    """The journal, or at each call one that was opened anew."""
    if request.param == "memory":
        memory = MemoryJournal()
        return lambda: memory
    kept = NodeJournal(tmp_path / "secagg.sqlite")
    return (lambda: kept) if request.param == "disk" else (lambda: NodeJournal(tmp_path / "secagg.sqlite"))


def test_a_runs_numbers_rise(again: Again) -> None:
    again().open(RUN, 3)
    for serial in (3, 2, 0):
        with pytest.raises(ReplayedSession, match=f"number {serial}, after number 3"):
            again().open(RUN, serial)
    again().open(RUN, 7)
    again().open(b"other", 1)


def test_an_answer_is_known_with_its_session_and_quorum(again: Again) -> None:
    again().enter(SESSION, 4)
    assert again().answered(QUERY) is None
    again().answer(QUERY, SESSION, after=None)
    assert again().answered(QUERY) == (SESSION, 4)


def test_of_two_sessions_at_a_time_one_answers(again: Again) -> None:
    again().enter(SESSION, 4)
    again().enter(OTHER, 5)
    again().answer(QUERY, SESSION, after=None)
    for after in (None, OTHER):
        with pytest.raises(ReplayedSession, match="two sessions at a time"):
            again().answer(QUERY, OTHER, after=after)
    again().answer(QUERY, OTHER, after=SESSION)
    assert again().answered(QUERY) == (OTHER, 5)


def test_survivors_are_signed_once_and_never_after_an_abort(again: Again) -> None:
    again().enter(SESSION, 4)
    again().agree(SESSION)
    for close in ("agree", "abort"):
        with pytest.raises(ReplayedSession, match="its survivors were signed"):
            getattr(again(), close)(SESSION)
    again().enter(OTHER, 4)
    again().abort(OTHER)
    again().abort(OTHER)  # the same word again
    with pytest.raises(ReplayedSession, match="it was given up"):
        again().agree(OTHER)


def test_a_session_that_was_never_entered_is_not_given_up(again: Again) -> None:
    with pytest.raises(ReplayedSession, match="never entered"):
        again().abort(SESSION)


def test_the_highest_roster_is_remembered(tmp_path: Path) -> None:
    journal = NodeJournal(tmp_path / "secagg.sqlite")
    assert journal.roster_seen(b"wards") == 0
    journal.take_roster(b"wards", 4)
    journal.close()
    assert NodeJournal(tmp_path / "secagg.sqlite").roster_seen(b"wards") == 4


def test_every_note_is_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    journal = NodeJournal(tmp_path / "secagg.sqlite")
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "secagg.sqlite").stat().st_mode & 0o077 == 0


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    (tmp_path / "secagg.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(RunError, match="not a node's journal"):
        NodeJournal(tmp_path / "secagg.sqlite")
