"""What cannot be batched is found before any client is asked."""

from typing import Any

import pytest
from tests.simulations.small import TRAINING, experiment

from leptonic import parameters
from leptonic_client.training import LocalTrainer
from leptonic_simulations.batched import unbatchable

OWN = "tests.simulations.own_models"


@pytest.mark.parametrize(
    "model",
    [
        {"name": "logistic"},
        {"name": "mlp", "hidden": [64, 32]},
        {"name": "cnn"},
        {"name": "resnet"},
        {"name": f"{OWN}:Odd"},
    ],
    ids=lambda model: model["name"].split(":")[-1],
)
def test_models_that_can_be_batched(model: dict[str, Any]) -> None:
    trainer = LocalTrainer(experiment(model=model))
    before = parameters.to_vector(trainer.model)
    assert unbatchable(trainer) is None
    assert (parameters.to_vector(trainer.model) == before).all()


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"model": {"name": f"{OWN}:dropout"}}, "vmap"),
        ({"model": {"name": f"{OWN}:mixing"}}, "mixes the examples"),
        ({"model": {"name": f"{OWN}:Deciding"}}, "cannot be batched"),
        ({"model": {"name": f"{OWN}:BackwardLeavesTorch"}}, "cannot be batched"),
        ({"model": {"name": f"{OWN}:failing"}}, "a defect of the model"),
        ({"training": {**TRAINING, "precision": "float16"}}, "float16"),
    ],
    ids=["dropout", "mixing", "deciding", "backward", "failing", "float16"],
)
def test_what_cannot_be_batched_is_said_in_a_line(sections: dict[str, Any], reason: str) -> None:
    why = unbatchable(LocalTrainer(experiment(**sections)))
    assert why is not None
    assert reason in why
    assert "\n" not in why
