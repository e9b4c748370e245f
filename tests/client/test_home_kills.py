"""Killed at each single statement of the two databases that a round writes: what has left is always counted."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.client.samples import RUN, charge

from leptonic.privacy.ledger.entries import Reserve, Settle
from leptonic.privacy.ledger.verification import verified
from leptonic_client.home import ClientHome

SENT = "sent"
ONE_ROUND = f"""
import os, signal, sqlite3, sys
from pathlib import Path

folder, last, connect = Path(sys.argv[1]), int(sys.argv[2]), sqlite3.connect

def counted(*arguments, **options):
    database = connect(*arguments, **options)
    database.set_trace_callback(next_statement)
    return database

def next_statement(_):
    global last
    last -= 1
    if last == 0:
        os.kill(os.getpid(), signal.SIGKILL)

sqlite3.connect = counted
from leptonic.privacy.ledger import Charge, Cost
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic_client.home import ClientHome, KeptReply

cost = Cost(SampledGaussian(1.0, 0.1), 5, unit="example", adjacency="add_remove")
charge = Charge("{RUN}", 0, 1, cost)
home = ClientHome(folder)
kept = home.kept("{RUN}", "train", "digest")
if kept is None:
    home.reserve(charge, 10)
    kept = KeptReply("train", "digest", "reply", os.urandom(8).hex().encode())
    home.release(charge.key, kept)
    may_leave = True
else:
    may_leave = home.ledger.settle(charge.key, "left")
if may_leave:
    with open(folder / "{SENT}", "ab") as sent:
        sent.write(kept.payload + b"\\n")
home.close()
"""


def one_round(folder: Path, killed_at: int) -> int:
    """The exit code of a node that answers round 1, killed as it begins this statement, if it has so many."""
    return subprocess.run([sys.executable, "-c", ONE_ROUND, str(folder), str(killed_at)], check=False).returncode


def test_killed_at_any_statement_what_has_left_is_counted_and_is_one_update(tmp_path: Path) -> None:
    statement = 0
    while True:
        statement += 1
        folder = tmp_path / str(statement)
        killed = one_round(folder, statement)
        assert killed in (0, -signal.SIGKILL)
        if (folder / SENT).exists():
            assert any(isinstance(link.entry, Reserve) for link in verified(folder / "ledger.sqlite"))
        # Started again, it answers: with the same bytes if any have left, and under one charge.
        assert one_round(folder, 0) == 0
        assert len(set((folder / SENT).read_bytes().splitlines())) == 1
        entries = [link.entry for link in verified(folder / "ledger.sqlite")]
        assert len([entry for entry in entries if isinstance(entry, Reserve)]) == 1
        assert [entry.outcome for entry in entries if isinstance(entry, Settle)] == ["left"]
        home = ClientHome(folder)
        assert home.reserve(charge(2), 10) == 2
        home.close()
        if killed == 0:
            break
    assert statement > 20
