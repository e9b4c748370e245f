"""What a client keeps: whole after kill -9, counted on disk before it is spent, and for its owner's eyes alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.samples import RUN, charge

from leptonic.errors import BudgetExhausted, LeptonicError, ReplayedSession, RunError
from leptonic_client.home import ClientHome, KeptReply

OTHER = "fedcba9876543210"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[ClientHome]:
    made = ClientHome(tmp_path / "home")
    yield made
    made.close()


def state(value: float) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {"control": np.full(5, value, np.float32)}


def test_before_the_first_counted_round_there_is_no_state(home: ClientHome) -> None:
    assert home.load_state(RUN, 0, 0) == {}


def test_state_is_kept_by_run_client_and_round(home: ClientHome) -> None:
    home.save_state(RUN, 0, 1, state(1), 0)
    home.save_state(RUN, 1, 1, state(2), 0)
    home.save_state(OTHER, 0, 1, state(3), 0)
    values = [float(home.load_state(run, client, 1)["control"][0]) for run, client in ((RUN, 0), (RUN, 1), (OTHER, 0))]
    assert values == [1, 2, 3]


def test_a_client_continues_from_the_round_in_which_it_was_counted(home: ClientHome) -> None:
    """Counted in round 1; its answers to rounds 2, 3 and 3 again were late or failed; counted in round 4."""
    home.save_state(RUN, 0, 1, state(1), 0)
    for round_number, value in ((2, 20), (3, 30), (3, 31)):
        home.save_state(RUN, 0, round_number, state(value), 1)
        assert home.load_state(RUN, 0, 1)["control"][0] == 1
    home.save_state(RUN, 0, 4, state(4), 1)
    home.save_state(RUN, 0, 5, state(5), 4)
    assert home.load_state(RUN, 0, 4)["control"][0] == 4
    assert home.load_state(RUN, 0, 5)["control"][0] == 5
    with pytest.raises(RunError, match=r"client 0.*round 1"):
        home.load_state(RUN, 0, 1)


def test_older_states_do_not_pile_up(home: ClientHome) -> None:
    for round_number in range(1, 30):
        home.save_state(RUN, 0, round_number, state(round_number), round_number - 1)
    assert len(list(home.folder.rglob("*.safetensors"))) == 2


def test_a_state_that_is_gone_says_where_it_was_and_what_to_do(home: ClientHome) -> None:
    with pytest.raises(RunError, match=r"client 3: its state after round 7.*restore.*or start a new run"):
        home.load_state(RUN, 3, 7)


def test_a_state_that_is_damaged_is_a_named_error(home: ClientHome) -> None:
    home.save_state(RUN, 0, 1, state(1), 0)
    (path,) = home.folder.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(LeptonicError):
        home.load_state(RUN, 0, 1)


def test_a_reservation_counts_rounds_up_to_the_limit(home: ClientHome) -> None:
    assert [home.reserve(charge(number), 3) for number in (1, 2, 5)] == [1, 2, 3]
    with pytest.raises(BudgetExhausted, match="round 6"):
        home.reserve(charge(6), 3)
    assert home.reserve(charge(6, client=1), 3) == 1


def test_a_refused_reservation_leaves_no_mark(home: ClientHome) -> None:
    home.reserve(charge(1), 1)
    for number in (2, 3):
        with pytest.raises(BudgetExhausted):
            home.reserve(charge(number), 1)
    assert home.reserve(charge(2), 2) == 2


def test_the_same_round_is_reserved_once(home: ClientHome) -> None:
    assert [home.reserve(charge(1), 1) for _ in range(3)] == [1, 1, 1]


def test_reservations_and_replies_survive_a_new_start(home: ClientHome) -> None:
    home.reserve(charge(1), 2)
    kept = KeptReply("train", "a", "{}", b"\x00bytes")
    home.release((RUN, 0, 1, ""), kept)
    home.close()
    again = ClientHome(home.folder)
    assert again.reserve(charge(2), 2) == 2
    with pytest.raises(BudgetExhausted):
        again.reserve(charge(3), 2)
    assert again.kept(RUN, "train", "a") == kept
    with pytest.raises(ReplayedSession):
        again.reserve(charge(1), 2)
    again.close()


def test_a_reply_is_recalled_for_its_own_request_alone(home: ClientHome) -> None:
    home.release((RUN, 0, 1, ""), KeptReply("train", "a", "first", b"1"))
    assert home.kept(RUN, "train", "b") is None
    assert home.kept(OTHER, "train", "a") is None
    assert home.kept(RUN, "evaluate", "a") is None
    second = KeptReply("train", "b", "second", b"2")
    home.release((RUN, 0, 2, ""), second)
    assert home.kept(RUN, "train", "b") == second


def test_a_run_keeps_its_experiment_and_its_index(home: ClientHome) -> None:
    home.bind(RUN, "a" * 64)
    home.bind(RUN, "a" * 64, 3)
    home.bind(RUN, "a" * 64)
    with pytest.raises(ReplayedSession):
        home.bind(RUN, "b" * 64)
    with pytest.raises(ReplayedSession):
        home.bind(RUN, "a" * 64, 4)
    home.bind(OTHER, "b" * 64, 4)


def test_refusals_are_kept_and_counted(home: ClientHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.refuse(RUN, 2, "train", "PolicyRefused: too few")
    home.refuse(RUN, 2, "train", "PolicyRefused: too few")
    home.refuse(RUN, 3, "open", "BadSignature: not the coordinator's")
    kept = {
        (each.round, each.step, each.reason, each.times) for each in ClientHome(home.folder, alone=False).refusals()
    }
    assert kept == {
        (2, "train", "PolicyRefused: too few", 2),
        (3, "open", "BadSignature: not the coordinator's", 1),
    }
    monkeypatch.setattr("leptonic_client.home.MOST_REFUSALS", 2)
    home.refuse(RUN, 4, "train", "another" * 1000)
    assert [each.round for each in home.refusals()] == [3, 4]
    assert len(home.refusals()[1].reason) == 500


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from leptonic_client.home import ClientHome
from leptonic.privacy.ledger import Charge, Cost
from leptonic.privacy.mechanisms import SampledGaussian
cost = Cost(SampledGaussian(1.0, 0.1), 5, unit="example", adjacency="add_remove")
home = ClientHome(Path(sys.argv[1]))
for number in range(1, 6):
    home.reserve(Charge("0123456789abcdef", 0, number, cost), 10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_reservations_survive_kill_9(tmp_path: Path) -> None:
    """Invariant 3: what was reserved is counted, whatever happens next."""
    done = subprocess.run([sys.executable, "-c", KILLED_AFTER, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    home = ClientHome(tmp_path)
    assert home.reserve(charge(6), 10) == 6
    home.close()


def test_two_processes_cannot_open_one_home(home: ClientHome) -> None:
    """Both would answer the same round, each with noise of its own, and the round would be counted once."""
    with pytest.raises(LeptonicError):
        ClientHome(home.folder).close()


def test_what_is_kept_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """States and replies derive from the data; the folder may have been there before, open to all."""
    folder, before = tmp_path / "home", os.umask(0o022)
    try:
        folder.mkdir(mode=0o755)
        home = ClientHome(folder)
        home.save_state(RUN, 0, 1, state(1), 0)
        home.release((RUN, 0, 1, ""), KeptReply("train", "a", "{}", b"update"))
        home.close()
    finally:
        os.umask(before)
    closed = folder.stat().st_mode & 0o077 == 0
    readable = [str(path) for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert closed or not readable
