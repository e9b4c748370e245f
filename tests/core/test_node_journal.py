"""What a node must not forget: the same in memory and on disk, and on disk after a restart too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leptonic.errors import ReplayedSession, RunError
from leptonic.node_journal import JOURNAL_FILE, NodeJournal, OwnSession, notes_of
from leptonic.secagg.journal import Journal, MemoryJournal

RUN, QUERY, SESSION, OTHER = b"run", b"q" * 32, b"s" * 32, b"t" * 32
HEADER, SURVIVORS = b"h" * 32, b"l" * 32

Again = Callable[[], Journal]


@pytest.fixture(params=["memory", "disk", "restarted"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Again:
    """The journal, or at each call one that was opened anew."""
    if request.param == "memory":
        memory = MemoryJournal()
        return lambda: memory
    kept = NodeJournal(tmp_path / JOURNAL_FILE)
    return (lambda: kept) if request.param == "disk" else (lambda: NodeJournal(tmp_path / JOURNAL_FILE))


def test_a_runs_numbers_rise(again: Again) -> None:
    again().open(RUN, 3)
    for serial in (3, 2, 0):
        with pytest.raises(ReplayedSession, match=f"number {serial}, after number 3"):
            again().open(RUN, serial)
    again().open(RUN, 7)
    again().open(b"other", 1)


def test_an_answer_is_known_with_its_session_and_quorum(again: Again) -> None:
    again().enter(SESSION, 4, run=RUN, number=1)
    assert again().answered(QUERY) is None
    again().answer(QUERY, SESSION, after=None, header=HEADER)
    assert again().answered(QUERY) == (SESSION, 4)


def test_of_two_sessions_at_a_time_one_answers(again: Again) -> None:
    again().enter(SESSION, 4, run=RUN, number=1)
    again().enter(OTHER, 5, run=RUN, number=1)
    again().answer(QUERY, SESSION, after=None, header=HEADER)
    for after in (None, OTHER):
        with pytest.raises(ReplayedSession, match="two sessions at a time"):
            again().answer(QUERY, OTHER, after=after, header=HEADER)
    again().answer(QUERY, OTHER, after=SESSION, header=HEADER)
    assert again().answered(QUERY) == (OTHER, 5)


def test_survivors_are_signed_once_and_never_after_an_abort(again: Again) -> None:
    again().enter(SESSION, 4, run=RUN, number=1)
    again().agree(SESSION, SURVIVORS)
    with pytest.raises(ReplayedSession, match="its survivors were signed"):
        again().agree(SESSION, b"others")
    with pytest.raises(ReplayedSession, match="its survivors were signed"):
        again().abort(SESSION)
    assert again().agreed(SESSION) == SURVIVORS
    again().enter(OTHER, 4, run=RUN, number=1)
    again().abort(OTHER)
    again().abort(OTHER)  # the same word again
    with pytest.raises(ReplayedSession, match="it was given up"):
        again().agree(OTHER, SURVIVORS)


def test_a_session_that_was_never_entered_is_neither_signed_nor_given_up(again: Again) -> None:
    with pytest.raises(ReplayedSession, match="never entered"):
        again().abort(SESSION)
    with pytest.raises(ReplayedSession, match="never entered"):
        again().agree(SESSION, SURVIVORS)
    assert again().agreed(SESSION) is None


def test_a_session_is_entered_once(again: Again) -> None:
    again().enter(SESSION, 4, run=RUN, number=1)
    with pytest.raises(ReplayedSession, match="entered the session before"):
        again().enter(SESSION, 4, run=RUN, number=1)


def test_the_last_record_of_each_run_is_known(again: Again) -> None:
    assert again().last_record(RUN) is None
    again().record(RUN, 1, b"1" * 32, b"first")
    again().record(RUN, 2, b"2" * 32, b"second")
    again().record(b"other", 9, b"9" * 32, b"ninth")
    assert again().last_record(RUN) == (2, b"2" * 32)


def test_an_owner_reads_what_the_node_has_said(tmp_path: Path) -> None:
    journal = NodeJournal(tmp_path / JOURNAL_FILE)
    journal.take_roster(b"wards", 4, client=b"east", authority=b"a" * 32)
    journal.enter(SESSION, 4, run=RUN, number=1)
    journal.answer(QUERY, SESSION, after=None, header=HEADER)
    journal.agree(SESSION, SURVIVORS)
    journal.enter(OTHER, 4, run=RUN, number=1)
    journal.abort(OTHER)
    journal.record(RUN, 1, b"1" * 32, b"first")
    notes = notes_of(tmp_path, federation=b"wards", run=RUN)  # while the node is still there
    assert (notes.client, notes.authority) == (b"east", b"a" * 32)
    assert notes.sessions == {SESSION: OwnSession(1, HEADER, SURVIVORS, False), OTHER: OwnSession(1, None, None, True)}
    assert notes.records == {1: b"1" * 32}


def test_notes_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no node's journal"):
        notes_of(tmp_path, federation=b"wards", run=RUN)
    assert not list(tmp_path.iterdir())
    NodeJournal(tmp_path / JOURNAL_FILE).close()
    with pytest.raises(RunError, match="never took part in the federation"):
        notes_of(tmp_path, federation=b"wards", run=RUN)


def test_the_highest_roster_is_remembered(tmp_path: Path) -> None:
    journal = NodeJournal(tmp_path / JOURNAL_FILE)
    assert journal.roster_seen(b"wards") == 0
    journal.take_roster(b"wards", 4, client=b"east", authority=b"a" * 32)
    journal.close()
    assert NodeJournal(tmp_path / JOURNAL_FILE).roster_seen(b"wards") == 4


def test_every_note_is_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    journal = NodeJournal(tmp_path / JOURNAL_FILE)
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / JOURNAL_FILE).stat().st_mode & 0o077 == 0


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_bytes(b"something else" * 100)
    with pytest.raises(RunError, match="not a node's journal"):
        NodeJournal(tmp_path / JOURNAL_FILE)
