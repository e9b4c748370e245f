"""Every built-in model trains under Opacus as it is: validated, and per-example gradients are exact."""

import pytest
import torch
import torch.nn.functional as F
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from pydantic import TypeAdapter

from leptonic import experiment, models
from leptonic.data.examples import DataSpec

SPEC = DataSpec(shape=(1, 17, 18), classes=4)
SETTINGS = [
    {"name": "logistic"},
    {"name": "mlp", "hidden": [9, 8]},
    {"name": "lenet"},
    {"name": "cnn", "channels": [4, 6], "hidden": 10},
    {"name": "tanh_cnn"},
    {"name": "resnet", "width": 4, "blocks": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings["name"])
def test_opacus_accepts_and_per_example_gradients_are_exact(settings: dict[str, object]) -> None:
    checked: experiment.Model = TypeAdapter(experiment.Model).validate_python(settings)
    model = models.build(checked, SPEC, seed=0)
    assert ModuleValidator.validate(model, strict=True) == []
    features = torch.randn(3, *SPEC.shape, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 1])
    alone = []
    for i in range(3):
        loss = F.cross_entropy(model(features[i : i + 1]), labels[i : i + 1])
        alone.append(torch.autograd.grad(loss, list(model.parameters())))
    wrapped = GradSampleModule(model, strict=True, loss_reduction="sum")
    F.cross_entropy(wrapped(features), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    for parameter, expected in zip(model.parameters(), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(
            parameter.grad_sample,  # type: ignore[attr-defined]
            torch.stack(expected),
            rtol=1e-4,
            atol=1e-6,
        )
