"""One client's round: repeatable to the last bit, on schedule, and as the algorithm says."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.client.samples import PRIVATE_TRAINING, data_of, experiment, private_experiment, start_of

from leptonic import parameters
from leptonic.errors import DataError, PrivacyError, RunError
from leptonic.experiment import Experiment
from leptonic.pipeline import Occasion
from leptonic.privacy.accounting import plan
from leptonic.randomness import SecureStream
from leptonic_client.data import LocalData
from leptonic_client.training import LocalTrainer, LocalWork, Protection

DROPOUT = {"name": "cnn", "channels": [2, 2], "hidden": 8}


def train(trainer: LocalTrainer, data: LocalData, **changes: Any) -> Any:
    arguments = {"start": start_of(trainer), "sent": {}, "state": {}, "round_number": 1, "client": 0}
    return trainer.train(LocalWork(data=data, **{**arguments, **changes}))


def encoded(trainer: LocalTrainer, data: LocalData, **changes: Any) -> bytes:
    return trainer.pipeline.encode(train(trainer, data, **changes)).to_bytes()


@pytest.fixture(scope="module")
def plain() -> LocalTrainer:
    return LocalTrainer(experiment())


def test_a_full_batch_epoch_is_one_step_of_gradient_descent() -> None:
    made = experiment(training={"rounds": 1, "batch_size": 1000, "learning_rate": 0.5})
    trainer, data = LocalTrainer(made), data_of(made)
    start = start_of(trainer)
    weight, bias = torch.from_numpy(start[:640]).view(10, 64), torch.from_numpy(start[640:])
    features, labels = data.batch(torch.arange(40))
    logits = features.flatten(1) @ weight.T + bias
    error = (logits.softmax(1) - F.one_hot(labels, 10)) / 40
    expected = -0.5 * torch.cat([(error.T @ features.flatten(1)).reshape(-1), error.sum(0)])
    update = train(trainer, data)
    np.testing.assert_allclose(update.vectors["model"], expected.numpy(), rtol=1e-4, atol=1e-6)
    assert update.weight == 40
    assert update.sums["train_examples"] == 40
    assert update.sums["train_loss"] == pytest.approx(float(F.cross_entropy(logits, labels, reduction="sum")), rel=1e-5)


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [16]}, DROPOUT])
def test_the_same_inputs_give_the_same_bytes_whoever_trained_before(model: dict[str, Any]) -> None:
    made = experiment(model=model, training={"rounds": 3, "batch_size": 16, "momentum": 0.9, "local_epochs": 2})
    trainer, data, other = LocalTrainer(made), data_of(made), data_of(made, 1, seed=5, count=23)
    first = encoded(trainer, data)
    for round_number in (1, 2):
        encoded(trainer, other, client=1, round_number=round_number)
    trainer.evaluate(start_of(trainer, 9), other)
    torch.manual_seed(123)
    torch.rand(1000)
    np.random.seed(5)
    assert encoded(trainer, data) == first
    assert encoded(LocalTrainer(made), data) == first


def test_training_leaves_the_global_generator_and_the_received_vector_alone(plain: LocalTrainer) -> None:
    data, start = data_of(plain.experiment), start_of(plain)
    start.setflags(write=False)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    before = start.copy()
    train(plain, data, start=start)
    assert torch.equal(torch.rand(4), expected)
    assert (start == before).all()


def test_clients_and_rounds_visit_their_examples_in_other_orders(plain: LocalTrainer) -> None:
    data = data_of(plain.experiment)
    assert len({encoded(plain, data, client=c, round_number=r) for c in (0, 1) for r in (1, 2)}) == 4


def test_rows_of_shared_tensors_train_as_rows_of_ones_own() -> None:
    """What was simulated is what runs: a simulated client's rows lie in one big tensor."""
    made = experiment()
    trainer, own = LocalTrainer(made), data_of(made)
    padded = torch.cat([torch.full((7, 1, 8, 8), 99.0), own.features])
    labels = torch.cat([torch.zeros(7, dtype=torch.int64), own.labels])
    shared = LocalData(padded, labels, rows=own.rows + 7, held_rows=own.held_rows)
    assert encoded(trainer, shared) == encoded(trainer, own)


def test_the_schedule_reaches_the_optimizer() -> None:
    schedule = {"kind": "exponential", "factor": 0.5}
    made = experiment(training={"rounds": 3, "batch_size": 1000, "learning_rate": 0.4, "schedule": schedule})
    trainer, data = LocalTrainer(made), data_of(made)
    moves = [train(trainer, data, round_number=number).vectors["model"] for number in (1, 2, 3)]
    for number, move in enumerate(moves):
        np.testing.assert_allclose(move, moves[0] * 0.5**number, rtol=1e-3, atol=1e-6)


def test_a_large_proximal_term_holds_the_client_near_the_start() -> None:
    settings = {"rounds": 1, "batch_size": 8, "learning_rate": 0.05, "local_epochs": 3}
    free = LocalTrainer(experiment(training=settings))
    held = LocalTrainer(experiment(training=settings, algorithm={"name": "fedprox", "mu": 10.0}))
    data = data_of(free.experiment)
    norms = [float(np.linalg.norm(train(trainer, data).vectors["model"])) for trainer in (free, held)]
    assert norms[1] < norms[0] / 2


def test_fedprox_with_mu_0_is_fedavg() -> None:
    plain, zero = LocalTrainer(experiment()), LocalTrainer(experiment(algorithm={"name": "fedprox", "mu": 0.0}))
    data = data_of(plain.experiment)
    assert encoded(plain, data) == encoded(zero, data)


@pytest.mark.parametrize("name", ["scaffold", "feddyn", "fednova"])
def test_received_vectors_may_be_read_only(name: str) -> None:
    """They are views of what came over the network."""
    trainer = LocalTrainer(experiment(algorithm={"name": name}))
    data = data_of(trainer.experiment)
    sent = {key: np.ones(trainer.layout.size, np.float32) for key in trainer.algorithm.broadcast}
    for vector in sent.values():
        vector.setflags(write=False)
    state: dict[str, Any] = {}
    for number in (1, 2):
        update = train(trainer, data, sent=sent, state=state, round_number=number)
        state = dict(update.state)
        for vector in state.values():
            vector.setflags(write=False)
    assert np.isfinite(update.vectors["model"]).all()
    correction = trainer.algorithm.correction(sent, state)
    assert (correction.offset is not None) == (name != "fednova")


def test_a_client_without_examples_is_an_error_that_names_it(plain: LocalTrainer) -> None:
    data = data_of(plain.experiment)
    empty = LocalData(data.features, data.labels, rows=data.rows[:0], held_rows=data.held_rows)
    with pytest.raises(DataError, match="client 4"):
        train(plain, empty, client=4)


def test_evaluation_is_over_the_held_out_examples_alone() -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.25, "batch_size": 3})
    trainer, data = LocalTrainer(made), data_of(made)
    vector = start_of(trainer)
    features, labels = data.held_out()
    logits = features.flatten(1) @ torch.from_numpy(vector[:640]).view(10, 64).T + torch.from_numpy(vector[640:])
    sums = trainer.evaluate(vector, data)
    assert sums["examples"] == 10
    assert sums["correct"] == float((logits.argmax(1) == labels).sum())
    assert sums["loss"] == pytest.approx(float(F.cross_entropy(logits, labels, reduction="sum")), rel=1e-5)


def private_bytes(trainer: LocalTrainer, data: LocalData, made: Experiment, keys: tuple[bytes, bytes] | None) -> bytes:
    assert made.privacy is not None
    planned = plan(made.privacy, made.training, public_size=len(data), releases=made.training.rounds)
    streams = (SecureStream(), SecureStream()) if keys is None else (SecureStream(keys[0]), SecureStream(keys[1]))
    return encoded(trainer, data, protection=Protection(planned, *streams))


def test_private_training_is_as_random_as_its_streams_and_tells_nothing_but_the_update() -> None:
    made = private_experiment()
    trainer, data = LocalTrainer(made), data_of(made)
    keys = (bytes(32), b"\x01" * 32)
    assert private_bytes(trainer, data, made, keys) == private_bytes(trainer, data, made, keys)
    assert private_bytes(trainer, data, made, None) != private_bytes(trainer, data, made, None)
    assert private_bytes(trainer, data, made, keys) != private_bytes(trainer, data, made, (keys[1], keys[1]))
    assert trainer.pipeline.sum_names == ()
    assert not any(hasattr(parameter, "grad_sample") for parameter in trainer.model.parameters())


def test_private_training_leaves_the_trainer_fit_for_the_next_client() -> None:
    made = private_experiment()
    trainer, data = LocalTrainer(made), data_of(made)
    keys = (bytes(32), b"\x01" * 32)
    first = private_bytes(trainer, data, made, keys)
    private_bytes(trainer, data_of(made, 1, seed=4, count=25), made, None)
    assert private_bytes(trainer, data, made, keys) == first
    assert parameters.to_vector(trainer.model).shape == (650,)


@pytest.mark.parametrize("accumulation_steps", [1, 4])
def test_a_private_batch_is_computed_in_as_many_micro_batches_as_the_file_says(accumulation_steps: int) -> None:
    made = private_experiment(
        training={**PRIVATE_TRAINING, "local_steps": 3, "batch_size": 400, "accumulation_steps": accumulation_steps}
    )
    trainer = LocalTrainer(made)
    sizes: list[int] = []

    def note(_module: object, inputs: tuple[torch.Tensor]) -> None:
        if torch.is_grad_enabled() and len(inputs[0]) > 2:  # not what tries the model before
            sizes.append(len(inputs[0]))

    hook = trainer.model.register_forward_pre_hook(note)
    private_bytes(trainer, data_of(made, count=900), made, None)
    hook.remove()
    assert len(sizes) in range(3 * (accumulation_steps - 1), 3 * (accumulation_steps + 1) + 1)
    assert accumulation_steps == 1 or max(sizes) == 400 // accumulation_steps


def test_under_privacy_a_client_without_examples_sends_an_update_like_any_other() -> None:
    made = private_experiment()
    trainer = LocalTrainer(made)
    planned = plan(made.privacy, made.training, public_size=40, releases=2)  # type: ignore[arg-type]
    lengths = set()
    for count in (0, 1, 40):
        protection = Protection(planned, SecureStream(), SecureStream())
        lengths.add(len(encoded(trainer, data_of(made, count=count), protection=protection)))
    assert len(lengths) == 1


def test_a_loss_that_couples_the_batch_is_refused_under_privacy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = private_experiment()
    trainer = LocalTrainer(made)
    own = trainer.task.losses
    monkeypatch.setattr(trainer.task, "losses", lambda output, labels: own(output, labels) / (1 + labels.sum()))
    with pytest.raises(PrivacyError, match="depends on the other examples"):
        private_bytes(trainer, data_of(made), made, None)


def test_training_that_diverges_says_so_and_what_to_do(plain: LocalTrainer) -> None:
    start = np.full_like(start_of(plain), np.inf)
    with pytest.raises(RunError, match=r"diverged.*training\.learning_rate"):
        train(plain, data_of(plain.experiment), start=start)


def test_under_client_level_privacy_an_update_that_diverged_is_none_that_anybody_notices() -> None:
    made = experiment(
        aggregation={"rule": "mean", "weighting": "uniform"},
        privacy={"unit": "client", "mechanism": "server", "epsilon": 50.0, "delta": 1e-3},
    )
    trainer = LocalTrainer(made)
    update = train(trainer, data_of(made), start=np.full_like(start_of(trainer), np.inf))
    words = trainer.pipeline.at(Occasion(1, 1.0)).encode(update).words
    assert not words.any()
