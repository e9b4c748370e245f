"""Killed at each single statement of the two databases that a round writes: what has left is always counted."""

import subprocess
import sys
from pathlib import Path

from tests.client.samples import RUN, charge

from leptonic.privacy.ledger.entries import Reserve, Settle
from leptonic.privacy.ledger.verification import verified
from leptonic_client.home import ClientHome

SENT = "sent"
ROUNDS = f"""
import itertools, os, signal, sqlite3, sys
from pathlib import Path
from leptonic.privacy.ledger import Charge, Cost
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic_client.home import ClientHome, KeptReply

connect = sqlite3.connect


def one_round(folder, left):
    def next_statement(_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*arguments, **options):
        database = connect(*arguments, **options)
        database.set_trace_callback(next_statement)
        return database

    sqlite3.connect = watched
    home = ClientHome(folder)
    charge = Charge("{RUN}", 0, 1, Cost(SampledGaussian(1.0, 0.1), 5, unit="example", adjacency="add_remove"))
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


def in_a_process(folder, killed_at):
    process = os.fork()
    if process == 0:
        try:
            one_round(folder, killed_at)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


for statement in itertools.count(1):
    folder = Path(sys.argv[1]) / str(statement)
    ends = in_a_process(folder, statement), (folder / "{SENT}").exists(), in_a_process(folder, 0)
    print(statement, *map(int, ends))
    if ends[0] == 0:
        break
"""


def test_killed_at_any_statement_what_has_left_is_counted_and_is_one_update(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ROUNDS, str(tmp_path)], check=True, capture_output=True, text=True)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(rows) > 20
    for statement, end, had_sent, end_of_next in rows:
        assert (end, end_of_next) == (0 if statement == len(rows) else -9, 0)
        folder = tmp_path / str(statement)
        sent = (folder / SENT).read_bytes().splitlines()
        # Started again it has answered: with the same bytes if any had left, and under one charge.
        assert len(sent) == 1 + had_sent
        assert len(set(sent)) == 1
        entries = [link.entry for link in verified(folder / "ledger.sqlite")]
        assert len([entry for entry in entries if isinstance(entry, Reserve)]) == 1
        assert [entry.outcome for entry in entries if isinstance(entry, Settle)] == ["left"]
        home = ClientHome(folder)
        assert home.reserve(charge(2), 10) == 2
        home.close()
