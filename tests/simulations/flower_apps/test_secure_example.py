"""The very example of docs/flower_secure: with masks, without, and with a client that drops out after it has shared."""

import importlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from tests.simulations.flower_apps.secure_federation import Silent

from leptonic.errors import ExperimentError
from leptonic.flower.content import change_of, moved
from leptonic.flower.simulated import SWITCH
from leptonic.flower.terms import Terms
from leptonic.flower.wire import RECORD
from leptonic.secagg.messages import SessionSettings
from leptonic.update import LocalUpdate
from leptonic_simulations.flower_apps.clients import InTurn
from leptonic_simulations.flower_apps.grid import FlowerGrid
from leptonic_simulations.flower_apps.loading import on_the_path
from leptonic_simulations.flower_apps.progress import AppProgress
from leptonic_simulations.flower_apps.project import read_project
from leptonic_simulations.flower_apps.run import Summary, simulate_app

EXAMPLE = Path(__file__).parents[3] / "docs/flower_secure"
COUNT, ROUNDS, CAP = 6, 5, 1000


@pytest.fixture
def app() -> Iterator[Any]:
    """The example's own training, as a plain ClientApp without mods."""
    with on_the_path(EXAMPLE):
        plain = ClientApp()
        plain.train()(importlib.import_module("digits_app.client_app").train)
        yield plain, importlib.import_module("digits_app.softmax").initial


def example(folder: Path, **config: Any) -> tuple[Summary, ArrayRecord]:
    """Runs the example; the parameters that it leaves."""
    summary = simulate_app(
        read_project(EXAMPLE),
        progress=AppProgress(quiet=True),
        clients=COUNT,
        run_config={SWITCH: True, "model-file": str(folder / "model.npz"), **config},
    )
    stored = np.load(folder / "model.npz")
    return summary, ArrayRecord([stored[name] for name in stored.files])


def in_the_clear(app: ClientApp, arrays: ArrayRecord, rounds: int) -> ArrayRecord:
    clients = InTurn(app, count=COUNT, run_config={"local-epochs": 1, "learning-rate": 0.5})
    result = FedAvg(fraction_evaluate=0.0).start(
        grid=FlowerGrid(clients, Silent()), initial_arrays=arrays, num_rounds=rounds
    )
    assert result.arrays is not None
    return result.arrays


class Summed(FedAvg):
    """FedAvg whose mean is that of integers, added in the clear. counted: whose replies count in a round."""

    counted: Callable[[int, int], bool] = staticmethod(lambda server_round, number: True)

    def configure_train(self, server_round: int, arrays: ArrayRecord, *more: Any) -> Any:
        self.model = arrays
        return super().configure_train(server_round, arrays, *more)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        terms = Terms.of(
            update_range=8.0, weight_cap=CAP, weighted_by="num-examples", metrics=["train-loss", "train-accuracy"]
        )
        size = sum(each.numpy().size for each in self.model.values())
        encoding = terms.pipeline(SessionSettings(size, 6, 32, COUNT, 1, 2, 0, 0, 0))
        total = encoding.zero()
        for reply in replies:
            if self.counted(server_round, reply.metadata.src_node_id - 2):
                metrics = reply.content["metrics"]
                change = change_of(self.model, reply.content["arrays"])
                total.add(encoding.encode(LocalUpdate({"model": change}, metrics["num-examples"])))
        return moved(self.model, encoding.decode(total).vectors["model"]), None


def integers(app: ClientApp, arrays: ArrayRecord, strategy: Summed) -> ArrayRecord:
    clients = InTurn(app, count=COUNT, run_config={"local-epochs": 1, "learning-rate": 0.5})
    result = strategy.start(grid=FlowerGrid(clients, Silent()), initial_arrays=arrays, num_rounds=ROUNDS)
    assert result.arrays is not None
    return result.arrays


def same_bits(one: ArrayRecord, other: ArrayRecord) -> None:
    for mine, theirs in zip(one.to_numpy_ndarrays(), other.to_numpy_ndarrays(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_example_learns_and_is_the_sum_of_integers_bit_for_bit(
    tmp_path: Path, app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, initial = app
    summary, secure = example(tmp_path)
    assert (summary.clients, summary.errors, summary.messages) == (COUNT, 0, ROUNDS * COUNT * 5)
    assert float(capsys.readouterr().out.split("accuracy ")[1].split()[0]) > 0.9
    same_bits(secure, integers(plain, ArrayRecord(initial()), Summed(fraction_evaluate=0.0)))


def test_the_example_is_plain_fedavg_but_for_rounding(tmp_path: Path, app: Any) -> None:
    """One round from the same model: an entry of the mean is off by half a step for each client at most."""
    plain, initial = app
    _, secure = example(tmp_path, **{"num-server-rounds": 1})
    clear = in_the_clear(plain, ArrayRecord(initial()), 1)
    step = 8.0 * COUNT / (2**31 - 1)
    examples = 21 * (1797 // 21)
    tolerance = 0.5 * COUNT * step * CAP / examples + 2**-23
    for mine, theirs in zip(secure.to_numpy_ndarrays(), clear.to_numpy_ndarrays(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


def test_a_client_that_drops_out_after_sharing_is_left_out_of_that_sum_alone(
    tmp_path: Path, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, initial = app
    rounds: list[Message] = []
    call = InTurn._call

    def lost(self: InTurn, message: Message) -> Message:
        if message.content[RECORD]["step"] == "train" and message.metadata.dst_node_id == 5:
            rounds.append(message)
            if len(rounds) == 2:
                raise ConnectionError("gone")
        return call(self, message)

    strategy = Summed(fraction_evaluate=0.0)
    strategy.counted = lambda server_round, number: (server_round, number) != (2, 3)  # type: ignore[method-assign]
    expected = integers(plain, ArrayRecord(initial()), strategy)
    monkeypatch.setattr(InTurn, "_call", lost)
    summary, secure = example(tmp_path)
    assert summary.errors == 1
    same_bits(secure, expected)


def test_without_keys_the_example_says_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ExperimentError, match=SWITCH):
        example(tmp_path, **{SWITCH: False})
