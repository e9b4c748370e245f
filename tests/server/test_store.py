"""The run store: a round is there whole or not at all, whatever kills the writer."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import safetensors.numpy

from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.update import Vector
from leptonic_server.store import ClientRecord, Member, RoundRecord, RunStore, now

ROOT = Path(__file__).parents[2]
LAYOUT = "ab" * 32


def experiment(**sections: object) -> Experiment:
    return from_mapping({"name": "x", **sections})


def vectors(number: int) -> dict[str, Vector]:
    random = np.random.default_rng(number)
    return {"model": random.normal(size=50).astype(np.float32), "algorithm.control": np.full(50, number, np.float32)}


def record(number: int, attempt: int = 1) -> RoundRecord:
    return RoundRecord(
        round=number,
        attempt=attempt,
        model_sha256=f"{number:064x}",
        learning_rate=0.1,
        cohort=2,
        survivors=2,
        bytes_down=10,
        bytes_up=20,
        seconds={"collect": 0.25},
        metrics={"accuracy": number / 10},
        epsilon=0.5,
        finished=now(),
    )


def counted(*clients: int) -> list[ClientRecord]:
    return [ClientRecord(client, "counted", seconds=0.5) for client in clients]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    made = RunStore(tmp_path)
    made.begin("run-1", experiment(), layout=LAYOUT, mode="simulated", version="0.1")
    yield made
    made.close()


def reopened(store: RunStore) -> RunStore:
    store.close()
    return RunStore(store.folder)


def assert_same(found: dict[str, Vector], expected: dict[str, Vector]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert (store.run, store.last_round()) == (None, None)
    assert (store.rounds(), store.counted(range(20)), store.clients(), store.roster()) == ([], {}, [], [])
    assert store.last_attempt(1) == 0
    for read in (lambda: store.mode, lambda: store.experiment, store.vectors):
        with pytest.raises(RunError, match=str(tmp_path)):
            read()
    store.close()


def test_what_was_committed_is_there_after_reopening(store: RunStore) -> None:
    for number in range(4):
        store.commit(record(number), vectors(number), counted(number, 9))
    again = reopened(store)
    assert (again.run, again.mode, again.last_round()) == ("run-1", "simulated", 3)
    assert again.experiment == experiment()
    assert [each.round for each in again.rounds()] == [0, 1, 2, 3]
    assert_same(again.vectors(), vectors(3))
    assert again.counted(range(20)) == {0: 0, 1: 1, 2: 2, 3: 3, 9: 3}
    again.close()


def test_a_record_keeps_every_field(store: RunStore) -> None:
    full = replace(
        record(1),
        client_metrics={"accuracy": 0.3},
        train={"loss": 1e-17},
        clamped=3,
        capped=1,
        metrics={},
        epsilon=None,
    )
    store.commit(full, vectors(1), [])
    assert reopened(store).rounds() == [full]


def test_vectors_keep_their_bits(store: RunStore) -> None:
    odd = {
        "model": np.array([0.0, -0.0, 1e-45, -3.4e38, np.pi], dtype=np.float32),
        "optimizer.t": np.zeros(1, np.float32),
    }
    store.commit(record(1), odd, [])
    found = reopened(store).vectors()
    assert {name: vector.tobytes() for name, vector in found.items()} == {n: v.tobytes() for n, v in odd.items()}


def test_only_the_last_vectors_stay_on_disk(store: RunStore) -> None:
    for number in range(6):
        store.commit(record(number), vectors(number), [])
        # Those of the round before stay until the next are written.
        assert len(list(store.folder.glob("*.safetensors"))) == min(number + 1, 2)
        assert_same(store.vectors(), vectors(number))


def test_what_a_commit_overwrites_is_never_the_last_round(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a commit that failed half-way, and after the store was opened anew."""

    def torn(path: Path, content: bytes, *, private: bool) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    for number in range(1, 5):
        store.commit(record(number), vectors(number), [])
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr("leptonic_server.store.overwrite", torn)
                with pytest.raises(OSError, match="No space"):
                    store.commit(record(number + 1), vectors(99), [])
            store = reopened(store)
            assert store.last_round() == number
            assert_same(store.vectors(), vectors(number))


def test_a_run_of_an_earlier_version_goes_on(store: RunStore) -> None:
    """Its vectors lie in a file that is called after its round."""
    store.commit(record(1), vectors(1), [])
    (path,) = store.folder.glob("*.safetensors")
    path.rename(path.with_name("round-000001.safetensors"))
    store._database.execute("UPDATE rounds SET vectors = 'round-000001.safetensors'")
    again = reopened(store)
    for number in (2, 3):
        again.commit(record(number), vectors(number), [])
        assert_same(again.vectors(), vectors(number))


def test_a_round_that_is_committed_again_is_refused_and_stays_as_it_was(store: RunStore) -> None:
    """Were its file replaced before the refusal, the record would name other vectors than the file holds."""
    store.commit(record(1), vectors(1), counted(0))
    with pytest.raises((RunError, sqlite3.IntegrityError)):
        store.commit(record(1), vectors(2), counted(1))
    again = reopened(store)
    assert_same(again.vectors(), vectors(1))
    assert again.counted(range(20)) == {0: 1}


def test_vectors_without_their_record_are_not_a_round(store: RunStore) -> None:
    """Killed between the file and the transaction: the file is there, the round is not."""
    store.commit(record(1), vectors(1), counted(0))
    (committed,) = store.folder.glob("*.safetensors")
    orphan = committed.with_name(committed.name.replace("0", "1"))
    orphan.write_bytes(safetensors.numpy.save(vectors(99)))
    again = reopened(store)
    assert again.last_round() == 1
    assert_same(again.vectors(), vectors(1))
    again.commit(record(2), vectors(2), counted(0))
    last = reopened(again)
    assert last.last_round() == 2
    assert_same(last.vectors(), vectors(2))


def test_a_failed_commit_leaves_the_round_before(store: RunStore) -> None:
    store.commit(record(1), vectors(1), counted(0))
    twice = [ClientRecord(3, "counted"), ClientRecord(3, "counted")]
    with pytest.raises((RunError, sqlite3.IntegrityError)):
        store.commit(record(2), vectors(2), twice)
    assert (store.last_round(), store.counted(range(20))) == (1, {0: 1})
    store.commit(record(2), vectors(2), counted(3))
    again = reopened(store)
    assert again.last_round() == 2
    assert_same(again.vectors(), vectors(2))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from leptonic_server.store import ClientRecord, RoundRecord, RunStore
store = RunStore(Path(sys.argv[1]))
first = -1 if store.last_round() is None else store.last_round()
print("ready", flush=True)
for number in range(first + 1, 100_000):
    attempt = store.last_attempt(number) + 1
    if number % 3 == 0:
        store.record_clients(number, attempt, [ClientRecord(0, "counted"), ClientRecord(1, "late")])
        attempt += 1
    record = RoundRecord(number, attempt, "", 0.1, 1, 1, 0, 0, {}, metrics={"mark": float(number)})
    store.commit(record, {"model": np.full(20_000, number, dtype=np.float32)}, [ClientRecord(number % 5, "counted")])
"""


def test_killed_at_any_instant_the_store_is_whole(store: RunStore) -> None:
    """A writer commits rounds and is killed eight times; each time the last round is whole, and it goes on."""
    store.close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT / "server")])}
    random, before = Random(11), -1
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.folder)], env=environment, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0.01, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        again = RunStore(store.folder)
        last = assert_whole(again)
        assert last >= before
        before = last
        again.close()
    assert before > 0


def assert_whole(store: RunStore) -> int:
    """Every committed round has its record and its clients, the last its vectors. Returns its number, or -1."""
    rounds = store.rounds()
    assert [each.round for each in rounds] == list(range(len(rounds)))
    if not rounds:
        assert store.last_round() is None
        return -1
    assert store.last_round() == rounds[-1].round
    assert np.array_equal(store.vectors()["model"], np.full(20_000, rounds[-1].metrics["mark"], dtype=np.float32))
    clients = {(number, attempt, each.client) for number, attempt, each in store.clients() if each.status == "counted"}
    assert clients >= {(each.round, each.attempt, each.round % 5) for each in rounds}
    # Client 0 also was counted in attempts that failed: those must not show.
    expected = {number % 5: number for number in range(len(rounds))}
    assert store.counted(range(20)) == expected
    return rounds[-1].round


def test_a_missing_or_torn_file_of_vectors_is_an_error_that_names_it(store: RunStore) -> None:
    store.commit(record(1), vectors(1), [])
    (path,) = store.folder.glob("*.safetensors")
    content = path.read_bytes()
    for damage in (content[:-1], content[:5], b"", content + b"\x00"):
        path.write_bytes(damage)
        with pytest.raises(RunError, match=path.name):
            store.vectors()
    path.unlink()
    with pytest.raises(RunError, match=path.name):
        store.vectors()


def test_a_changed_bit_of_the_vectors_is_found(store: RunStore) -> None:
    """vectors: "Raises RunError if the file is damaged". A run must not go on from a model nobody computed."""
    store.commit(record(1), vectors(1), [])
    (path,) = store.folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-10] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(RunError, match=path.name):
        store.vectors()


def test_the_vectors_of_another_round_are_not_taken_for_the_last(store: RunStore) -> None:
    """Someone restores a folder from a copy, and mixes up the files."""
    store.commit(record(1), vectors(1), [])
    (first,) = store.folder.glob("*.safetensors")
    content = first.read_bytes()
    store.commit(record(2), vectors(2), [])
    first.with_name(first.name.replace("0", "1")).write_bytes(content)
    with pytest.raises(RunError):
        store.vectors()


def test_a_file_that_is_no_database_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(RunError, match=str(tmp_path)):
        RunStore(tmp_path)


def test_a_client_counts_only_in_the_attempt_that_was_committed(store: RunStore) -> None:
    store.commit(record(0, attempt=0), vectors(0), [])
    store.record_clients(1, 1, [*counted(1, 2), ClientRecord(3, "failed", "disk full")])
    assert store.counted(range(20)) == {}  # attempt 1 failed: its updates are in no model
    store.commit(record(1, attempt=2), vectors(1), [*counted(2, 3), ClientRecord(1, "late")])
    assert store.counted(range(20)) == {2: 1, 3: 1}
    store.record_clients(2, 1, counted(1, 2, 3))
    assert store.counted(range(20)) == {2: 1, 3: 1}
    store.commit(record(2, attempt=2), vectors(2), [*counted(3), ClientRecord(2, "refused")])
    assert reopened(store).counted(range(20)) == {2: 1, 3: 2}


def test_counted_is_told_of_the_clients_that_are_asked_for(store: RunStore) -> None:
    """Against a plain reading of all records, with attempts that failed and clients that never came."""
    random, expected = Random(3), dict[int, int]()
    for number in range(1, 12):
        for attempt in (1, 2):
            taken = random.sample(range(30), 8)
            records = [ClientRecord(client, random.choice(("counted", "late", "failed"))) for client in taken]
            if attempt == 1:
                store.record_clients(number, attempt, records)
            else:
                store.commit(record(number, attempt=2), vectors(number), records)
                expected |= {each.client: number for each in records if each.status == "counted"}
    assert store.counted(range(40)) == expected
    assert store.counted(iter([5, 5, 31])) == {client: expected[client] for client in (5,) if client in expected}
    assert store.counted([]) == {}


def test_notes_are_kept_and_replaced(store: RunStore) -> None:
    assert store.note("engine") is None
    store.keep("engine", "batched")
    store.keep("engine's reason", "0.3 ms for a client")
    store.keep("engine", "processes")
    again = reopened(store)
    assert (again.note("engine"), again.note("engine's reason")) == ("processes", "0.3 ms for a client")
    again.close()


def test_attempts_are_numbered_on_after_a_restart(store: RunStore) -> None:
    assert store.last_attempt(1) == 0
    store.record_clients(1, 1, counted(0))
    store.record_clients(1, 2, [])
    assert store.last_attempt(1) in (1, 2)
    store.record_clients(1, 3, counted(0))
    again = reopened(store)
    assert (again.last_attempt(1), again.last_attempt(2)) == (3, 0)


def test_what_became_of_clients_is_kept_in_order(store: RunStore) -> None:
    records = [ClientRecord(1, "refused", "the policy says no", 0.0, None), ClientRecord(0, "counted", "", 1.5, 2.25)]
    store.record_clients(1, 1, records)
    store.commit(record(1, attempt=2), vectors(1), counted(4))
    assert reopened(store).clients() == [
        (1, 1, records[1]),
        (1, 1, records[0]),
        (1, 2, ClientRecord(4, "counted", seconds=0.5)),
    ]


def test_the_roster_is_fixed_once_and_ordered(store: RunStore) -> None:
    members = [Member(1, "b", "cd" * 32), Member(0, "a", None)]
    store.enrol(members)
    assert reopened(store).roster() == [members[1], members[0]]


def test_a_roster_with_a_name_twice_is_refused_whole(store: RunStore) -> None:
    with pytest.raises((RunError, sqlite3.IntegrityError)):
        store.enrol([Member(0, "a"), Member(1, "a")])
    assert store.roster() == []


def test_the_same_experiment_may_continue(store: RunStore) -> None:
    store.check(experiment(), layout=LAYOUT, mode="simulated")
    store.check(experiment(outputs={"report": False}), layout=LAYOUT, mode="simulated")


def test_another_experiment_layout_or_mode_is_refused(store: RunStore) -> None:
    with pytest.raises(RunError, match="changed"):
        store.check(experiment(seed=2), layout=LAYOUT, mode="simulated")
    with pytest.raises(RunError, match="changed"):
        store.check(experiment(), layout="cd" * 32, mode="simulated")
    with pytest.raises(RunError, match="simulated"):
        store.check(experiment(), layout=LAYOUT, mode="deployed")


def test_a_folder_without_a_run_cannot_continue(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="no run"):
        store.check(experiment(), layout=LAYOUT, mode="simulated")
    store.close()


def test_the_stored_experiment_is_the_one_that_was_begun(tmp_path: Path) -> None:
    begun = experiment(
        model={"name": "my.models:factory", "options": {"depth": 3, "rates": [0.1, 1e-7]}},
        outputs={"directory": "elsewhere"},
    )
    store = RunStore(tmp_path)
    store.begin("run-2", begun, layout=LAYOUT, mode="deployed", version="0.1")
    again = reopened(store)
    assert again.experiment == begun
    assert again.experiment.hash == begun.hash
    again.close()


def test_nothing_in_the_folder_is_pickled(store: RunStore) -> None:
    store.commit(record(1), vectors(1), counted(0))
    store.close()
    for path in store.folder.glob("*.safetensors"):
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        assert set(json.loads(content[8 : 8 + length])) - {"__metadata__"} == set(vectors(1))
