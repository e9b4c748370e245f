"""``leptonic ledger``: what an owner reads is what was charged, and damage ends with an error."""

import csv
import io
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.samples import RUN, charge
from tests.client.test_commands import Done

from leptonic.command import main
from leptonic.privacy.ledger import Ledger
from leptonic_client.home import ClientHome, KeptReply
from leptonic_client.settings import read_node_file

Run = Callable[..., Done]

NODE = """
server = "127.0.0.1:1"
name = "clinic"
data = "rows.npz"
home = "home"
[ledger]
lineage = "ward"
delta = 1e-6
max_epsilon = 20.0
max_epsilon_lineage = 10.0
[ledger.purposes]
research = 8.0
"""


@pytest.fixture
def spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """A node's folder with three charged rounds. Returns their epsilon at the owner's delta."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "node.toml").write_text(NODE)
    settings = read_node_file(tmp_path / "node.toml")
    home = ClientHome(settings.folder, lineage=settings.lineage)
    for number in (1, 2, 3):
        home.reserve(charge(number), 9)
    home.release((RUN, 0, 1, ""), KeptReply("train", "a", "{}", b"update"))
    home.ledger.settle((RUN, 0, 2, ""), "failed")
    epsilon = home.ledger.books.spent("example").epsilon(1e-6)
    home.close()
    return epsilon


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``leptonic ledger``."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["leptonic", "ledger", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run


def test_show_gives_what_is_spent_and_left(ledger: Run, spent: float) -> None:
    done = ledger("show", "node.toml")
    assert done.code == 0
    assert "data set ward: epsilon at delta 1e-06" in done.out
    assert "Gaussian, noise 1, sampled at 0.1, 5 steps" in done.out
    assert "3 (1 unsettled, 1 failed)" in done.out
    assert done.out.count(f"{spent:.3f}") == 4  # of the run, together, and of both limits that count
    assert f"{20 - spent:.3f}" in done.out
    assert "unbounded" in done.out
    assert 'purposes."research"' in done.out
    assert "█" in done.out


def test_show_takes_a_folder_and_another_delta(ledger: Run, spent: float) -> None:
    done = ledger("show", "home", "--delta", "1e-6")
    assert f"{spent:.3f}" in done.out
    assert "limits" not in done.out


def test_verify_prints_the_head_and_finds_an_earlier_one(ledger: Run, spent: float) -> None:
    done = ledger("verify", "node.toml")
    assert done.code == 0
    assert "6 entries" in done.out
    head = done.out.split()[-1]
    again = Ledger(Path("home"), lineage="ward")
    again.reserve(charge(7))
    again.close()
    later = ledger("verify", "home", "--head", head)
    assert later.code == 0
    assert "entry 6 of 7" in later.out


@pytest.mark.parametrize("head", ["00" * 32, "no hash"])
def test_verify_fails_for_a_head_that_is_not_there(ledger: Run, spent: float, head: str) -> None:
    done = ledger("verify", "node.toml", "--head", head)
    assert done.code == 7
    assert "6 entries" not in done.out


def cut(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement)
        for _, sql in triggers:
            database.execute(sql)
    database.close()


def test_verify_finds_a_ledger_that_was_cut_by_what_the_home_has_noted(ledger: Run, spent: float) -> None:
    cut(Path("home/ledger.sqlite"), "DELETE FROM entries WHERE number > 2")
    done = ledger("verify", "node.toml")
    assert done.code == 7
    assert "which this node has noted" in done.err


def test_verify_finds_a_curve_that_is_not_its_mechanisms(ledger: Run, tmp_path: Path, spent: float) -> None:
    """Whoever writes entries anew, hashes and all, must still have the arithmetic right."""
    from leptonic.privacy.ledger.entries import START, Reserve, encode, link
    from leptonic.privacy.ledger.file import read

    path, head, statements = Path("home/ledger.sqlite"), START, []
    for each in read(path):
        entry = each.entry
        if isinstance(entry, Reserve) and entry.round == 3:
            entry = entry.model_copy(update={"curve": [0.5 * value for value in entry.curve if value is not None]})
        head = link(head, encode(entry))
        statements.append(f"UPDATE entries SET content = x'{encode(entry).hex()}', hash = x'{head.hex()}' ")
        statements[-1] += f"WHERE number = {each.number}"
    for statement in statements:
        cut(path, statement)
    done = ledger("verify", "home")
    assert done.code == 7
    assert "entry 4: its curve is not that of its mechanism" in done.err


def test_an_export_holds_every_entry_and_no_fingerprint(ledger: Run, tmp_path: Path, spent: float) -> None:
    import numpy as np

    kept = Ledger(tmp_path / "home", lineage="ward")
    kept.note_data(np.arange(5))
    fingerprint, head = kept.books.fingerprints["ward"], kept.head.hex()
    kept.close()
    done = ledger("export", "node.toml")
    content = json.loads(done.out)
    assert [entry["number"] for entry in content["entries"]] == list(range(1, 8))
    assert content["head"] == content["entries"][-1]["hash"] == head
    assert fingerprint not in done.out


def test_an_export_as_csv_has_a_row_for_each_reservation(ledger: Run, tmp_path: Path, spent: float) -> None:
    assert ledger("export", "home", "--format", "csv", "--out", "spent.csv").code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "spent.csv").read_text())))
    assert [(row["round"], row["outcome"]) for row in rows] == [("1", "left"), ("2", "failed"), ("3", "")]
    assert json.loads(rows[0]["parameters"]) == {"noise_multiplier": 1.0, "sample_rate": 0.1}


@pytest.mark.parametrize("command", ["show", "verify", "export"])
def test_nothing_there_is_an_error_that_says_what_to_name(ledger: Run, tmp_path: Path, command: str) -> None:
    done = ledger(command, str(tmp_path))
    assert done.code == 7
    assert "no ledger; name a node's file, or its folder" in done.err
    assert ledger(command, str(tmp_path / "none.toml")).code == 3
