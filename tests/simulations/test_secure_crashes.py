"""A coordinator that crashes at any moment opens the same sum as one that never did, or none; never a second one."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import TRAINING, experiment

from leptonic.experiment import Experiment
from leptonic.secagg.expansion import Here
from leptonic.secagg.server.unmasking import OpenedSum, Unmasking
from leptonic.wire import Request
from leptonic_client.participant import reply_to
from leptonic_server.evaluation import Evaluator
from leptonic_server.outputs import Outputs
from leptonic_server.progress import RunListener
from leptonic_server.run_folder import open_run
from leptonic_server.secure.coordinator import SecureCoordinator
from leptonic_server.secure.kept import KeptSession
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.grid import Engine, InProcessGrid, MemoryPayloads
from leptonic_simulations.members import Everyone
from leptonic_simulations.secure import SecureEngine, SimulatedFederation
from leptonic_simulations.sequential import SequentialEngine

ROUNDS, CLIENTS = 2, 4
MADE = experiment(federation={"clients": CLIENTS}, secure_aggregation={}, training={**TRAINING, "rounds": ROUNDS})


class Crash(BaseException):
    """The coordinator is gone, and its clients are not."""


class Crashing:
    """An engine that takes the coordinator down with the so-manieth reply. silent: who does not work."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.left = math.inf
        self.replies = 0
        self.silent: set[int] = set()

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[Any]:
        """The engine's replies."""
        for request in [each for each in requests if each.step == "train" and each.client in self.silent]:
            yield reply_to(request, "failed", detail="silent"), b""
        requests = [each for each in requests if each.step != "train" or each.client not in self.silent]
        for reply, answer in self._engine.answers(requests, content):
            self.replies += 1
            self.left -= 1
            if self.left < 0:
                raise Crash
            yield reply, answer

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class Deployment:
    """Clients that live on, and coordinators that do not. opened: every sum that was opened, by round."""

    def __init__(self, folder: Path, made: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.made = folder, made
        self.opened: list[tuple[int, tuple[bytes, ...], bytes]] = []
        clients = SimulatedClients(made, folder / "clients", FederatedData.of(made))
        self._clients, self._everyone, self._payloads = clients, Everyone(CLIENTS), MemoryPayloads()
        self._federation = SimulatedFederation(made, self._everyone, bytes(32))
        secure = SecureEngine(
            SequentialEngine(clients),
            self._federation,
            experiment=made,
            pipeline=clients.trainer.pipeline,
            payloads=self._payloads,
            expansion=Here(),
            name=self._everyone.name,
        )
        self.engine = Crashing(secure)
        original = Unmasking.open

        def noted(unmasking: Unmasking, *arguments: Any) -> OpenedSum:
            result = original(unmasking, *arguments)
            self.opened.append((result.record.opening.round, result.survivors, result.words.tobytes()))
            return result

        monkeypatch.setattr(Unmasking, "open", noted)

    def coordinate(self, *, resume: bool) -> str:
        """One life of the coordinator. Returns the model's hash."""
        evaluator = Evaluator(self.made)
        layout, run = evaluator.layout.hash, self.folder / "run"
        with open_run(self.made, layout=layout, mode="deployed", folder=run, resume=resume) as store:
            outputs = Outputs(self.made, store)
            with (
                RunListener(outputs, rounds=ROUNDS, done=store.last_round() or 0, quiet=True) as listener,
                closing(KeptSession(store.folder)) as session,
            ):
                SecureCoordinator(
                    self.made,
                    office=self._federation.office,
                    expansion=Here(),
                    session=session,
                    store=store,
                    grid=InProcessGrid(self.engine, None, self._payloads),
                    members=self._everyone,
                    evaluator=evaluator,
                    listener=listener,
                    deadline=math.inf,
                ).run()
            return store.rounds()[-1].model_sha256

    def close(self) -> None:
        self.engine.close()
        self._clients.close()


def unbroken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The model of a run that never crashed, and how many replies it took."""
    with closing(Deployment(tmp_path / "unbroken", MADE, monkeypatch)) as whole:
        model = whole.coordinate(resume=False)
        return model, whole.engine.replies


def test_wherever_it_crashes_the_run_ends_with_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, replies = unbroken(tmp_path, monkeypatch)
    # Three trips a round, two to end the last one, and its record.
    assert replies == CLIENTS * (3 * ROUNDS + 3)
    for moment in range(replies):
        with closing(Deployment(tmp_path / f"crash-{moment}", MADE, monkeypatch)) as broken:
            broken.engine.left = moment
            with pytest.raises(Crash):
                broken.coordinate(resume=False)
            broken.engine.left = math.inf
            assert broken.coordinate(resume=True) == model, f"crashed at reply {moment}"
            check_one_sum_a_round(broken)


def test_it_may_crash_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each life is a few replies longer than what it takes to get where the last one was."""
    model, replies = unbroken(tmp_path, monkeypatch)
    with closing(Deployment(tmp_path / "again", MADE, monkeypatch)) as broken:
        for life in range(3 * replies):
            broken.engine.left = 2 + life
            try:
                found = broken.coordinate(resume=life > 0)
            except Crash:
                continue
            break
        assert found == model
        check_one_sum_a_round(broken)


def test_who_has_answered_in_an_earlier_life_only_is_shown_its_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client 0 answers in the first life, the others in the second; in the third all are asked once more."""
    model, _ = unbroken(tmp_path, monkeypatch)
    with closing(Deployment(tmp_path / "lives", MADE, monkeypatch)) as broken:
        # Two trips, and client 0's work.
        broken.engine.left = 2 * CLIENTS + 1
        with pytest.raises(Crash):
            broken.coordinate(resume=False)
        # The session is given up, two trips, and the work of all but client 0.
        broken.engine.silent, broken.engine.left = {0}, 3 * CLIENTS + 2
        with pytest.raises(Crash):
            broken.coordinate(resume=True)
        broken.engine.silent, broken.engine.left = set(), math.inf
        assert broken.coordinate(resume=True) == model
        check_one_sum_a_round(broken)


def check_one_sum_a_round(deployment: Deployment) -> None:
    """Whatever was opened for a round is one sum over the same clients."""
    assert {number for number, _, _ in deployment.opened} == set(range(1, ROUNDS + 1))
    assert len({(number, survivors, words) for number, survivors, words in deployment.opened}) == ROUNDS
