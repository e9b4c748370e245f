"""The file: on disk before a call returns, only ever added to, for one process and its owner alone."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.privacy.ledger.samples import charge, filled

from leptonic.errors import RunError
from leptonic.privacy.ledger import LEDGER_FILE, Ledger
from leptonic.privacy.ledger.file import read
from leptonic.privacy.ledger.verification import anchored, verified


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "node", lineage="ward")
    yield made
    made.close()


def test_each_commit_is_brought_to_disk(ledger: Ledger) -> None:
    database = ledger._file._database
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_new_file_and_its_name_are_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    real = os.fsync

    def watched(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink() if sys.platform == "linux" else descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    folder = tmp_path / "new" / "node"
    Ledger(folder, lineage="ward").close()
    if sys.platform == "linux":
        assert {folder / LEDGER_FILE, folder, folder.parent, tmp_path} <= synced


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = Ledger(tmp_path / "node", lineage="ward")
        ledger.reserve(charge(1))
        files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "node").iterdir()}
        ledger.close()
    finally:
        os.umask(before)
    assert files.keys() >= {LEDGER_FILE, f"{LEDGER_FILE}-wal", "ledger.lock"}
    assert set(files.values()) == {0o600}


def test_one_process_at_a_time(ledger: Ledger) -> None:
    with pytest.raises(RunError, match="another process uses this ledger"):
        Ledger(ledger._folder, lineage="ward")
    again = "import sys; from pathlib import Path; from leptonic.privacy.ledger import Ledger\n"
    again += "Ledger(Path(sys.argv[1]), lineage='ward')"
    done = subprocess.run([sys.executable, "-c", again, str(ledger._folder)], check=False, capture_output=True)
    assert b"another process uses this ledger" in done.stderr


def test_it_is_read_while_it_is_written(ledger: Ledger) -> None:
    ledger.reserve(charge(1))
    assert len(read(ledger._file.path)) == 2
    ledger.reserve(charge(2))
    assert [each.hash for each in read(ledger._file.path)][-1] == ledger.head


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET content = content",
        "UPDATE entries SET hash = x'00' WHERE number = 2",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE number = (SELECT max(number) FROM entries)",
        "INSERT OR REPLACE INTO entries VALUES (2, x'00', x'00')",
        "REPLACE INTO entries SELECT 1, content, hash FROM entries WHERE number = 2",
        "INSERT INTO entries VALUES (99, x'00', x'00')",
        "INSERT INTO entries VALUES (-1, x'00', x'00')",
    ],
)
def test_what_is_written_is_not_changed_or_removed(tmp_path: Path, statement: str) -> None:
    filled(tmp_path)
    before = (tmp_path / LEDGER_FILE).read_bytes()
    with sqlite3.connect(tmp_path / LEDGER_FILE) as database, pytest.raises(sqlite3.IntegrityError, match="ledger"):
        database.execute(statement)
    database.close()
    assert (tmp_path / LEDGER_FILE).read_bytes() == before
    verified(tmp_path / LEDGER_FILE)


def test_a_file_without_its_triggers_is_damaged(tmp_path: Path) -> None:
    filled(tmp_path)
    database = sqlite3.connect(tmp_path / LEDGER_FILE)
    database.execute("DROP TRIGGER entries_are_not_removed")
    database.commit()
    database.close()
    for opened in (lambda: read(tmp_path / LEDGER_FILE), lambda: Ledger(tmp_path, lineage="ward")):
        with pytest.raises(RunError, match="what keeps it from being changed"):
            opened()


def tampered(folder: Path, statement: str, *values: object) -> None:
    """Change a row as somebody who owns the disk would, and put the triggers back."""
    database = sqlite3.connect(folder / LEDGER_FILE)
    triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    database.execute(statement, values)
    for _, sql in triggers:
        database.execute(sql)
    database.commit()
    database.close()


@settings(max_examples=25)
@given(number=st.integers(1, 9), data=st.data())
def test_one_changed_byte_of_any_entry_is_found(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    filled(folder)
    column = data.draw(st.sampled_from(["content", "hash"]))
    database = sqlite3.connect(folder / LEDGER_FILE)
    (row,) = database.execute(f"SELECT {column} FROM entries WHERE number = ?", (number,)).fetchone()
    database.close()
    at, flip = data.draw(st.integers(0, len(row) - 1)), data.draw(st.integers(1, 255))
    changed = row[:at] + bytes([row[at] ^ flip]) + row[at + 1 :]
    tampered(folder, f"UPDATE entries SET {column} = ? WHERE number = ?", changed, number)
    with pytest.raises(RunError, match=f"entry {number} "):
        verified(folder / LEDGER_FILE)
    with pytest.raises(RunError, match="damaged"):
        Ledger(folder, lineage="ward")


@pytest.mark.parametrize("number", range(1, 9))
def test_an_entry_that_is_taken_out_is_missed(tmp_path: Path, number: int) -> None:
    filled(tmp_path)
    tampered(tmp_path, "DELETE FROM entries WHERE number = ?", number)
    with pytest.raises(RunError, match=f"entry {number} is missing"):
        verified(tmp_path / LEDGER_FILE)


@pytest.mark.parametrize("kept", range(1, 9))
def test_a_ledger_that_was_cut_is_found_by_its_head_alone(tmp_path: Path, kept: int) -> None:
    """Its chain is whole: nothing within the file can tell that it once went on."""
    head = filled(tmp_path)[-1]
    assert anchored(verified(tmp_path / LEDGER_FILE), head) == 9
    tampered(tmp_path, "DELETE FROM entries WHERE number > ?", kept)
    assert anchored(verified(tmp_path / LEDGER_FILE), head) == 0
    with pytest.raises(RunError, match="it is older, or another one"):
        Ledger(tmp_path, lineage="ward", anchor=head)
    Ledger(tmp_path, lineage="ward").close()


def test_an_earlier_head_is_found_in_a_longer_ledger(tmp_path: Path) -> None:
    heads = filled(tmp_path)
    links = verified(tmp_path / LEDGER_FILE)
    assert [anchored(links, head) for head in heads] == list(range(2, 10))


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be read as one" * 100])
def test_what_is_no_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        read(tmp_path / LEDGER_FILE)
    if content:
        with pytest.raises(RunError, match="damaged"):
            Ledger(tmp_path, lineage="ward")


def test_no_ledger_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no ledger"):
        read(tmp_path / LEDGER_FILE)


def test_a_disk_that_takes_nothing_reserves_nothing(ledger: Ledger) -> None:
    (pages,) = ledger._file._database.execute("PRAGMA page_count").fetchone()
    ledger._file._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RunError, match="cannot be written"):
        all(ledger.reserve(charge(number)) for number in range(1, 20))
    ledger._file._database.execute("PRAGMA max_page_count = 100000")
    counted = ledger.books.charges("run-a")
    assert ledger.reserve(charge(50)) == counted + 1
    assert len(read(ledger._file.path)) == counted + 2
