"""Flower apps whose updates are summed securely: exact sums, stock strategies, clients that drop out, what leaves."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi
from tests.simulations.flower_apps.secure_federation import (
    STEPS,
    Federation,
    Nodes,
    app,
    fedavg,
    initial,
    plain,
    ran,
    sum_of,
    worked,
)

from leptonic.errors import BelowThreshold, ExperimentError, PolicyRefused, RunError
from leptonic.flower.content import moved
from leptonic.flower.simulated import SWITCH
from leptonic.flower.wire import MASKED, RECORD
from leptonic.pipeline import Contribution
from leptonic_client.flower import secure_aggregation, steps
from leptonic_server.flower import SecureAggregation

STEP_OF_LATTICE = 8.0 * 6 * 100 / 2**31
"""range * clients * cap / 2^31, for six clients: one step of the sum, in units of the least weight."""


def same_bits(one: ArrayRecord, other: ArrayRecord) -> None:
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name].numpy(), other[name].numpy())


def near(one: ArrayRecord, other: ArrayRecord, tolerance: float) -> None:
    for name in other:
        np.testing.assert_allclose(one[name].numpy(), other[name].numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("count", [3, 6])
def test_a_round_is_the_sum_of_integers_bit_for_bit_and_the_mean_but_for_rounding(tmp_path: Path, count: int) -> None:
    federation = Federation(tmp_path, count)
    result = ran(federation.nodes(), federation.strategy())
    mean = sum_of(initial(), list(range(count)), count)
    same_bits(result.arrays, moved(initial(), mean.vectors["model"]))
    near(result.arrays, plain(fedavg(), count).arrays, 1e-5)
    metrics, clear = result.train_metrics_clientapp[1], plain(fedavg(), count).train_metrics_clientapp[1]
    assert metrics == {name: mean.sums[name] / mean.sums["weight"] for name in ("loss", "other")}
    assert metrics == pytest.approx(dict(clear), abs=1e-5)


@pytest.mark.parametrize("kind", [FedAvg, FedAvgM, FedProx, FedAdam, FedYogi, FedAdagrad])
def test_flowers_own_strategies_take_their_steps_on_the_mean(tmp_path: Path, kind: type[FedAvg]) -> None:
    more: dict[str, Any] = {FedAvgM: {"server_momentum": 0.5}, FedProx: {"proximal_mu": 0.1}}.get(kind, {})
    federation = Federation(tmp_path, 4)
    result = ran(federation.nodes(), federation.strategy(fedavg(kind, **more)), rounds=3)
    near(result.arrays, plain(fedavg(kind, **more), 4, rounds=3).arrays, 1e-4)


@pytest.mark.parametrize("step", STEPS)
def test_the_sum_is_that_of_the_others_when_a_client_drops_out_at(tmp_path: Path, step: str) -> None:
    federation = Federation(tmp_path, 6)
    nodes = federation.nodes()

    def lost(at: str, number: int, message: Message) -> None:
        if number == 4 and STEPS.index(at) >= STEPS.index(step):
            raise ConnectionError("gone")

    nodes.between = lost
    result = ran(nodes, federation.strategy())
    counted = [0, 1, 2, 3, 5] if STEPS.index(step) <= STEPS.index("train") else [0, 1, 2, 3, 4, 5]
    same_bits(result.arrays, moved(initial(), sum_of(initial(), counted, 6).vectors["model"]))


def test_a_round_below_the_bounds_leaves_the_model_and_the_next_one_asks_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four have answered when three have not: a quorum gives the session up, and the same model is asked again."""
    federation = Federation(tmp_path, 7)
    nodes, gone = federation.nodes(), {0, 1, 2}

    def lost(at: str, number: int, message: Message) -> None:
        if at == "train" and number in gone:
            raise ConnectionError("gone")
        if at == "abort":
            gone.clear()

    nodes.between = lost
    result = ran(nodes, federation.strategy(), rounds=2)
    assert "round 1 has no sum, the model stays: BelowThreshold" in caplog.text
    same_bits(result.arrays, moved(initial(), sum_of(initial(), list(range(7)), 7).vectors["model"]))
    assert list(result.train_metrics_clientapp) == [2]


def test_a_session_that_too_few_give_up_ends_in_errors_and_not_in_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    federation = Federation(tmp_path, 7)
    nodes = federation.nodes()

    def lost(at: str, number: int, message: Message) -> None:
        if (at == "train" and number < 3) or (at == "abort" and number > 1):
            raise ConnectionError("gone")

    nodes.between = lost
    result = ran(nodes, federation.strategy(), rounds=3)
    assert not result.arrays
    assert caplog.text.count("has no sum") == 3
    refusals = [error for step, number, error in nodes.refused if step == "train" and number >= 3]
    assert refusals
    assert all("nobody proves that it was given up" in str(error) for error in refusals)


def test_too_few_nodes_end_the_run_before_anything_is_asked(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes()
    with pytest.raises(BelowThreshold, match="min_train_nodes"):
        ran(nodes, federation.strategy(colluders=2))
    assert not nodes.asked


def test_nothing_but_protocol_and_masked_inputs_leaves(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4)
    nodes = federation.nodes()
    ran(nodes, federation.strategy())
    assert len(nodes.replied) == 5 * 4
    for step, _, reply in nodes.replied:
        assert set(reply.content) == ({RECORD, MASKED} if step == "train" else {RECORD})
        assert set(reply.content[RECORD]) == {"content"}
    numbers = [struct.pack("<d", 0.3125), struct.pack("<f", 0.75 * initial()["w"].numpy()[0, 0] + 3)]
    left = b"".join(reply.content[RECORD]["content"] for _, _, reply in nodes.replied)
    assert not any(number in left for number in numbers)
    # Two of the masked inputs are as good as random: their difference is too.
    one, other = (
        np.frombuffer(reply.content[MASKED][MASKED].data[:72], np.uint32)
        for step, _, reply in nodes.replied
        if step == "train" and reply.metadata.src_node_id in (2, 3)
    )
    assert np.count_nonzero(np.abs((one - other).view(np.int32)) > 2**24) > 9


def test_what_the_app_raises_is_told_by_its_type_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(message: Message, context: Context) -> Message:
        raise ValueError("row 17 of anna.csv")

    federation = Federation(tmp_path, 4)
    nodes = federation.nodes(app(secure_aggregation, work=broken))
    assert not ran(nodes, federation.strategy()).arrays
    assert "ValueError" in caplog.text
    assert "anna" not in caplog.text
    assert all(isinstance(error, RunError) and isinstance(error.__cause__, ValueError) for _, _, error in nodes.refused)


def reply(arrays: ArrayRecord, metrics: dict[str, Any], **more: Any) -> RecordDict:
    return RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics), **more})


GOOD: dict[str, Any] = {"num-examples": 2, "loss": 0.5, "other": 1.0}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda arrays: reply(arrays, {"num-examples": 2, "loss": 0.5}), "name those beside the weight"),
        (lambda arrays: reply(arrays, {**GOOD, "secret": 1.0}), "metrics=["),
        (lambda arrays: reply(arrays, {**GOOD, "loss": [0.5, 0.5]}), "are lists"),
        (lambda arrays: reply(arrays, {**GOOD, "num-examples": 0}), "more than 0"),
        (lambda arrays: reply(arrays, {**GOOD, "num-examples": float("nan")}), "more than 0"),
        (lambda arrays: reply(arrays, {**GOOD, "loss": float("nan")}), "RunError; the client's log"),
        (lambda arrays: reply(arrays, {**GOOD, "loss": 1e12}), "RunError; the client's log"),
        (lambda arrays: reply(arrays, GOOD, more=MetricRecord({"a": 1})), "nothing else"),
        (lambda arrays: reply(ArrayRecord({"w": arrays["w"]}), GOOD), "other arrays"),
        (lambda arrays: reply(ArrayRecord({**arrays, "s": arrays["b"]}), GOOD), "other arrays"),
        (lambda arrays: reply(moved(arrays, np.full(18, np.inf, np.float32)), GOOD), "RunError; the client's log"),
    ],
)
def test_a_reply_that_cannot_be_summed_is_refused_with_its_reason(tmp_path: Path, wrong: Any, says: str) -> None:
    def work(message: Message, context: Context) -> Message:
        return Message(wrong(message.content["arrays"]), reply_to=message)

    federation = Federation(tmp_path, 3)
    nodes = federation.nodes(app(secure_aggregation, work=work))
    assert not ran(nodes, federation.strategy()).arrays
    assert [step for step, _, _ in nodes.refused] == ["train"] * 3
    assert all(says in str(error) for _, _, error in nodes.refused)


def test_weights_beyond_the_cap_and_changes_beyond_the_range_are_clamped_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    federation = Federation(tmp_path, 4)
    ran(federation.nodes(), federation.strategy(weight_cap=7, update_range=2.5))
    assert "2 weights were clamped" in caplog.text
    assert "values were clamped" in caplog.text


def test_work_on_another_model_than_the_others_is_not_added(tmp_path: Path) -> None:
    """A coordinator that sends one client another model has its input refused by its own sum."""
    federation = Federation(tmp_path, 6)
    nodes = federation.nodes()

    def other(at: str, number: int, message: Message) -> None:
        if at == "train" and number == 2:
            message.content["arrays"] = worked(initial(), 1)["arrays"]

    nodes.between = other
    result = ran(nodes, federation.strategy())
    same_bits(result.arrays, moved(initial(), sum_of(initial(), [0, 1, 3, 4, 5], 6).vectors["model"]))


def test_simulated_keys_have_to_be_allowed_on_both_sides() -> None:
    def simulated(run_config: dict[str, Any], config: dict[str, Any]) -> Nodes:
        nodes = Nodes(app(secure_aggregation), [config] * 4, run_config)
        ran(nodes, SecureAggregation(fedavg(), simulated_keys=True, metrics=["loss", "other"]))
        return nodes

    assert not simulated({SWITCH: True}, {}).refused
    refused = simulated({}, {}).refused
    assert all(isinstance(error, PolicyRefused) and SWITCH in str(error) for _, _, error in refused)
    assert {step for step, _, _ in refused} == {"open"}
    assert {step for step, _, _ in simulated({SWITCH: True}, {"leptonic-node": "/a/node.toml"}).refused} == {"open"}


def test_a_simulation_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    strategy = SecureAggregation(fedavg(), simulated_keys=True, metrics=["loss", "other"])
    ran(Nodes(app(secure_aggregation), [{}] * 3, {SWITCH: True}), strategy, rounds=2)
    assert list(tmp_path.iterdir())
    del strategy
    assert not list(tmp_path.iterdir())


def test_evaluations_leave_in_the_clear_only_where_both_sides_say_so(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes()
    strategy = federation.strategy(fedavg(fraction_evaluate=1.0), clear_evaluation=True)
    assert not ran(nodes, strategy).evaluate_metrics_clientapp
    assert all(isinstance(error, PolicyRefused) and "in the clear" in str(error) for _, _, error in nodes.refused)
    for config in federation.configs:
        config["leptonic-clear-evaluation"] = True
    strategy = federation.strategy(fedavg(fraction_evaluate=1.0), clear_evaluation=True)
    assert ran(federation.nodes(), strategy).evaluate_metrics_clientapp[1] == {"loss": 0.5}


def test_plain_training_is_refused_by_the_mod(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes()
    assert not ran(nodes, fedavg()).arrays
    assert all(isinstance(error, PolicyRefused) for _, _, error in nodes.refused)
    assert len(nodes.refused) == 3


def test_two_strategies_in_a_row_go_on_in_one_run(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes()
    first = ran(nodes, federation.strategy())
    again = ran(nodes, federation.strategy(), arrays=first.arrays)
    same_bits(again.arrays, moved(first.arrays, sum_of(first.arrays, [0, 1, 2], 3).vectors["model"]))


class Different(FedAvg):
    def configure_train(self, server_round: int, *more: Any) -> list[Message]:
        messages = list(super().configure_train(server_round, *more))
        own = RecordDict({**messages[-1].content, "own": MetricRecord({"wish": 1})})
        return [*messages[:-1], Message(own, messages[-1].metadata.dst_node_id, "train")]


def test_a_strategy_that_sends_clients_different_content_is_refused(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes()
    with pytest.raises(ExperimentError, match="different content"):
        ran(nodes, federation.strategy(fedavg(Different)))
    assert not nodes.asked


def test_a_sum_that_cannot_be_right_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client counts itself twice: the sum is opened, and nobody can tell whose fault it is."""
    honest, calls = steps._encoded, []

    def doubled(*what: Any) -> Contribution:
        contribution = honest(*what)
        calls.append(contribution)
        if len(calls) == 1:
            contribution.add(contribution.copy())
        return contribution

    monkeypatch.setattr(steps, "_encoded", doubled)
    federation = Federation(tmp_path, 4)
    with pytest.raises(RunError, match="secure aggregation hides which"):
        ran(federation.nodes(), federation.strategy())
