"""Gradient inversion: exact where it is exact, no better than chance under privacy; and its picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.simulations.small import experiment
from torch import nn

from leptonic.data.catalogue import spec_of
from leptonic.experiment import Experiment
from leptonic.tasks.classification import ImageClassification
from leptonic_client.training import LocalTrainer
from leptonic_simulations.audit.demonstration import Shown, demonstration
from leptonic_simulations.audit.inversion import invert, linear_entry
from leptonic_simulations.audit.picture import draw
from leptonic_simulations.audit.subject import Subject, auditing

CLIENT = {"unit": "client", "epsilon": 4.0, "delta": 1e-3, "clip_norm": 0.5, "mechanism": "server"}


def shown(made: Experiment) -> Shown:
    with auditing(Subject(made)) as auditor:
        found = demonstration(auditor, steps=10)
    assert found is not None
    return found


@pytest.mark.parametrize("model", [{"name": "logistic"}, {"name": "mlp", "hidden": [16]}])
def test_one_update_of_a_linear_entry_shows_its_image_and_a_sum_a_mixture(model: dict[str, Any]) -> None:
    found = shown(experiment(model=model, federation={"clients": 20}))
    one, mixed = found.views
    assert found.attack.startswith("division")
    assert min(one.likeness) > 0.999
    assert torch.allclose(one.images, found.originals, atol=1e-3)
    assert mixed.mean_likeness < 0.9
    assert "sum of 20 updates" in mixed.name


def test_an_update_under_privacy_shows_nothing_to_this_attack() -> None:
    made = experiment(
        federation={"clients": 200, "cohort": 20}, aggregation={"rule": "mean", "weighting": "uniform"}, privacy=CLIENT
    )
    found = shown(made)
    assert [view.name.partition(" (")[0] for view in found.views][
        -1
    ] == "sum of 20 updates, each clipped and all noised"
    assert abs(found.views[-1].mean_likeness) < 0.5 < found.views[0].mean_likeness


def test_a_search_finds_an_image_whose_gradient_is_alike() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 10))
    task = ImageClassification(spec_of(experiment().data))
    image, label = torch.rand(1, 8, 8), torch.tensor(3)
    loss = task.losses(model(image[None]), label[None]).sum()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    found = invert(model, task, gradient, shape=(1, 8, 8), label=label, bounds=(0.0, 1.0), steps=200)
    likeness = float(torch.corrcoef(torch.stack([found.flatten(), image.flatten()]))[0, 1])
    assert linear_entry(model, (1, 8, 8)) is None
    assert likeness > 0.9


def test_a_gradient_of_zero_gives_a_picture_all_the_same() -> None:
    trainer = LocalTrainer(experiment())
    nothing = torch.zeros(trainer.layout.size)
    found = invert(
        trainer.model, trainer.task, nothing, shape=(1, 8, 8), label=torch.tensor(0), bounds=(0.0, 1.0), steps=1
    )
    assert bool(torch.isfinite(found).all())


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    made = experiment()
    draw(shown(made), spec_of(made.data), tmp_path / "audit.png")
    with Image.open(tmp_path / "audit.png") as picture:
        assert picture.width > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
