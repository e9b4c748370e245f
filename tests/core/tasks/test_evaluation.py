"""Evaluation: sums that do not depend on the batch size, and a model left as it was found."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leptonic.data.examples import DataSpec
from leptonic.tasks.classification import TabularClassification
from leptonic.tasks.evaluation import evaluate

TASK = TabularClassification(DataSpec(shape=(6,), classes=3))


def model_and_data(n: int = 123) -> tuple[nn.Sequential, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return model, torch.randn(n, 6, generator=draws), torch.randint(3, (n,), generator=draws)


@pytest.mark.parametrize("batch_size", [1, 5, 64, 123, 1000])
def test_agrees_with_numpy_at_any_batch_size(batch_size: int) -> None:
    model, features, labels = model_and_data()
    weight, bias = (parameter.detach().numpy().astype(np.float64) for parameter in model.parameters())
    logits = features.numpy().astype(np.float64) @ weight.T + bias
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    sums = evaluate(TASK, model, features, labels, batch_size=batch_size)
    assert list(sums) == ["loss", "correct", "examples"]
    assert sums["examples"] == 123.0
    assert sums["correct"] == (logits.argmax(axis=1) == labels.numpy()).sum()
    assert sums["loss"] == pytest.approx(-log_softmax[np.arange(123), labels.numpy()].sum(), rel=1e-6)


def test_no_examples_give_zeros() -> None:
    model, features, labels = model_and_data(0)
    assert evaluate(TASK, model, features, labels, batch_size=8) == {
        "loss": 0.0,
        "correct": 0.0,
        "examples": 0.0,
    }


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_gets_its_mode_back(fails: bool) -> None:
    model, features, labels = model_and_data()
    model.train()
    model[1].eval()
    if fails:
        with pytest.raises(RuntimeError):
            evaluate(TASK, model, features[:, :5], labels, batch_size=50)
    else:
        evaluate(TASK, model, features, labels, batch_size=50)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_runs_without_gradients() -> None:
    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            return x[:, :3]

    _, features, labels = model_and_data()
    assert evaluate(TASK, Watching(), features, labels, batch_size=50)["examples"] == 123.0
    assert torch.is_grad_enabled()
