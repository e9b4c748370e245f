"""Every built-in model trains in private as it is: validated, and its clipped sums are exact, by either way."""

import pytest
import torch
import torch.nn.functional as F
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from pydantic import TypeAdapter

from leptonic import experiment, models
from leptonic.data.examples import DataSpec
from leptonic.device import placed
from leptonic.privacy.bookkeeping.recorder import Recorder
from leptonic.privacy.clipping import clipped_sums

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


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings["name"])
def test_clipped_sums_of_models_as_they_lie_in_memory_are_exact(settings: dict[str, object]) -> None:
    checked: experiment.Model = TypeAdapter(experiment.Model).validate_python(settings)
    model = placed(models.build(checked, SPEC, seed=0), torch.device("cpu"))
    features = torch.randn(6, *SPEC.shape, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    alone = []
    for i in range(6):
        loss = F.cross_entropy(model(features[i : i + 1]), labels[i : i + 1])
        alone.append(torch.autograd.grad(loss, list(model.parameters())))
    samples = [torch.stack(own) for own in zip(*alone, strict=True)]
    clip_norm = 0.5 * float(torch.cat([s.flatten(1) for s in samples], dim=1).norm(dim=1).mean())
    recorder = Recorder(model)
    F.cross_entropy(model(features), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    sums = recorder.clipped_sums(6, clip_norm)
    recorder.cleanup()
    for parameter, expected in zip(model.parameters(), clipped_sums(samples, clip_norm), strict=True):
        torch.testing.assert_close(sums[parameter].double(), expected, rtol=1e-4, atol=1e-5 * clip_norm)
