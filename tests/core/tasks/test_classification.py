"""Losses and metric sums against a NumPy log-softmax, and what a task refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic import experiment
from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import DataError, ExperimentError
from leptonic.tasks import Task, task_for
from leptonic.tasks.classification import ImageClassification, TabularClassification
from leptonic.tasks.evaluation import totalled

IMAGES = DataSpec(shape=(1, 2, 2), classes=10)
TABLE = DataSpec(shape=(4,), classes=10)


def reference(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Each row's cross-entropy in float64 by the definition, and the number of correct answers."""
    x = logits.astype(np.float64)
    shifted = x - x.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_softmax[np.arange(len(x)), labels], int((x.argmax(axis=1) == labels).sum())


@given(n=st.integers(0, 70), scale=st.sampled_from([0.1, 3.0, 60.0]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_losses_and_measures_agree_with_numpy(n: int, scale: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    logits = (scale * draws.standard_normal((n, 10))).astype(np.float32)
    labels = draws.integers(0, 10, n)
    losses, correct = reference(logits, labels)
    task = TabularClassification(TABLE)
    measures = task.measures(torch.from_numpy(logits), torch.from_numpy(labels))
    assert measures.shape == (len(task.metric_names), n)
    sums = totalled(measures)
    assert sums.dtype == torch.float64
    assert task.metric_names == ("loss", "correct")
    assert sums[0].item() == pytest.approx(losses.sum(), rel=1e-5, abs=1e-4)
    assert sums[1].item() == correct
    each = task.losses(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(each.numpy(), losses, rtol=1e-5, atol=1e-5)


def test_the_gradients_of_losses_are_those_of_automatic_differentiation() -> None:
    task, generator = TabularClassification(TABLE), torch.Generator().manual_seed(2)
    logits = (5 * torch.randn(6, 7, 10, generator=generator)).requires_grad_()
    labels = torch.randint(0, 10, (6, 7), generator=generator)
    (expected,) = torch.autograd.grad(task.losses(logits.flatten(0, 1), labels.flatten()).sum(), logits)
    found = task.loss_gradients(logits.detach(), task.targets(labels))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_measures_carry_no_gradient_and_accept_half_precision() -> None:
    logits = torch.eye(10, requires_grad=True)
    assert not ImageClassification(IMAGES).measures(logits, torch.arange(10)).requires_grad
    half = ImageClassification(IMAGES).measures(logits.bfloat16(), torch.arange(10))
    assert totalled(half).tolist() == pytest.approx([10 * (np.log(np.e + 9) - 1), 10], rel=1e-6)


def test_the_gradient_of_one_example_does_not_depend_on_the_others() -> None:
    task, generator = TabularClassification(TABLE), torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 4, 10, generator=generator)
    second[0] = first[0]
    labels = torch.tensor([3, 1, 4, 1])
    gradients = []
    for batch in (first, second):
        logits = batch.clone().requires_grad_()
        task.losses(logits, labels).mean().backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        gradients.append(logits.grad)
    assert torch.equal(gradients[0][0], gradients[1][0])
    expected = (torch.softmax(first[0], dim=0) - torch.nn.functional.one_hot(labels[0], 10)) / 4
    torch.testing.assert_close(gradients[0][0], expected)


def test_an_empty_batch_gives_no_gradient() -> None:
    task, model = TabularClassification(TABLE), torch.nn.Linear(4, 10)
    task.losses(model(torch.zeros(0, 4)), torch.zeros(0, dtype=torch.int64)).mean().backward()  # type: ignore[no-untyped-call]
    assert model.weight.grad is not None
    assert torch.equal(model.weight.grad, torch.zeros(10, 4))


def test_summary() -> None:
    task = ImageClassification(IMAGES)
    assert task.summary({"loss": 6.0, "correct": 3.0}, 4.0) == {"loss": 1.5, "accuracy": 0.75}
    assert task.summary({"loss": 0.0, "correct": 0.0}, 0.0) == {}


@pytest.mark.parametrize("shape", [(4, 11), (4,), (4, 10, 1)])
def test_an_output_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    task, labels = ImageClassification(IMAGES), torch.zeros(4, dtype=torch.int64)
    for method in (task.losses, task.measures):
        with pytest.raises(ExperimentError, match=r"task has 10 classes: return logits \[n, 10\]"):
            method(torch.zeros(shape), labels)


def test_images_and_tables_are_told_apart() -> None:
    with pytest.raises(ExperimentError, match=r"'image_classification' needs images.*\[4\]"):
        task_for(experiment.Task(), TABLE)
    with pytest.raises(ExperimentError, match=r"'tabular_classification' needs table rows.*\[1, 2, 2\]"):
        task_for(experiment.Task(kind="tabular_classification"), IMAGES)


@pytest.mark.parametrize(("kind", "spec"), [("image_classification", IMAGES), ("tabular_classification", TABLE)])
def test_built_in_tasks_keep_the_protocol_and_check_the_contract(kind: str, spec: DataSpec) -> None:
    task = task_for(experiment.Task(kind=kind), spec)
    assert isinstance(task, Task)
    features = np.zeros((2, *spec.shape), np.uint8)
    task.check(Examples(features, np.array([0, 9])), "good.npz")
    with pytest.raises(DataError, match=r"bad.npz: row 1: label 10 is outside 0..9"):
        task.check(Examples(features, np.array([0, 10])), "bad.npz")
    with pytest.raises(DataError, match=r"bad.npz"):
        task.check(Examples(np.zeros((2, 3), np.uint8), np.array([0, 9])), "bad.npz")


OWN = """
from leptonic.tasks.classification import TabularClassification

class Mine(TabularClassification):
    pass

class Renamed(TabularClassification):
    metric_names = ("loss", "examples")

class Nothing:
    def __init__(self, spec):
        pass
"""


def test_own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taskstest_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert type(task_for(experiment.Task(kind="taskstest_own:Mine"), TABLE)).__name__ == "Mine"
    with pytest.raises(ExperimentError, match=r"returned no task; a task has metric_names, check, loss"):
        task_for(experiment.Task(kind="taskstest_own:Nothing"), TABLE)
    with pytest.raises(ExperimentError, match=r"none of them 'examples'"):
        task_for(experiment.Task(kind="taskstest_own:Renamed"), TABLE)
    with pytest.raises(ExperimentError, match=r"task.kind = 'taskstest_absent:Mine': no module"):
        task_for(experiment.Task(kind="taskstest_absent:Mine"), TABLE)
