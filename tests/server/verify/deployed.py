"""A finished run whose nodes have kept their notes on disk, to be looked at and tampered with."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.simulations.small import experiment

from leptonic.errors import DecodeError
from leptonic.node_journal import JOURNAL_FILE, NodeJournal, Notes, notes_of
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Record, SignedRecord
from leptonic.secagg.server.summing import Summing
from leptonic.secagg.simulated_keys import simulated_key
from leptonic.secagg.standing import Standing
from leptonic_server.store import RunStore
from leptonic_server.verify.chain import Chain, chain_of
from leptonic_simulations import secure
from leptonic_simulations.run import simulate

ROUNDS = 3
LATE = b"client-2"
"""Whose input of the second round comes too late."""


class Deployed:
    """folder: of the run. nodes: a folder for each client."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.nodes = folder, folder / "run", folder / "nodes"

    def notes(self, client: bytes) -> Notes:
        with closing(self.store()) as store:
            run = (store.run or "").encode()
        return notes_of(self.nodes / client.decode(), federation=b"small", run=run)

    def store(self) -> RunStore:
        return RunStore(self.run, read_only=True)

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.run / "run.sqlite")) as database, database:
            yield database

    def rewrite(self, number: int, change: Callable[[Record], Record]) -> None:
        """What a coordinator can do afterwards: change a record, and sign all from there on anew."""
        key = simulated_key((self.run / "clients" / "federation.seed").read_bytes(), "office", b"coordinator")
        with closing(RunStore(self.run)) as store:
            records = [decoded(SignedRecord, content).record for content in store.transcripts()]
        records[number - 1] = change(records[number - 1])
        for index in range(number, len(records)):
            records[index] = replace(records[index], previous=hashed(records[index - 1]))
        with self.database() as database:
            for record in records:
                content = encoded(SignedRecord(record, signed(key, record)))
                database.execute("UPDATE transcripts SET record = ? WHERE round = ?", (content, record.opening.round))

    def chain(self, authority: bytes | None = None) -> Chain:
        with closing(self.store()) as store:
            return chain_of(store, authority)


def run_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: object) -> Deployed:
    """A run of five clients, of whom one comes too late in the second round."""
    made = Deployed(folder)
    standing, take = secure.SimulatedFederation.standing, Summing.take

    def noted(federation: secure.SimulatedFederation, client: bytes) -> Standing:
        node = made.nodes / client.decode()
        node.mkdir(parents=True)
        journal = NodeJournal(node / JOURNAL_FILE)
        content = federation.office.roster
        journal.take_roster(content.content.federation, 1, client=client, authority=content.signed.authority)
        return replace(standing(federation, client), journal=journal)

    def late(summing: Summing, client: bytes, content: bytes, masked: bytes | memoryview) -> None:
        if (client, summing.opening.round) == (LATE, 2):
            raise DecodeError("too late")
        take(summing, client, content, masked)

    # A node has one thread; a simulation masks in others.
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, check_same_thread=False))
    monkeypatch.setattr(secure.SimulatedFederation, "standing", noted)
    monkeypatch.setattr(Summing, "take", late)
    content = {
        "federation": {"clients": 5, "minimum": 3},
        "training": {"rounds": ROUNDS, "local_steps": 2},
        "secure_aggregation": {"retain": "inputs", "bits": 28, "colluders": 1},
        "algorithm": {"name": "scaffold"},
    }
    simulate(experiment(**{**content, **sections}), folder=made.run, quiet=True)
    return made


def copied(made: Deployed, folder: Path) -> Deployed:
    """A copy that a test may spoil."""
    shutil.copytree(made.folder, folder)
    return Deployed(folder)
