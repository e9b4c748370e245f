"""The audits of example-level privacy find nothing in correct code, and each planted fault."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from tests.simulations.audit import faults
from tests.simulations.small import experiment

from leptonic.experiment import Experiment
from leptonic_client.training import LocalTrainer
from leptonic_simulations.audit.example_bounds import example_bounds
from leptonic_simulations.audit.example_canaries import ExampleCanaries, example_canaries
from leptonic_simulations.audit.example_noise import example_accounting, example_noise, example_sampling
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.outliers import layers_of, outliers
from leptonic_simulations.audit.subject import Auditor, Subject, auditing

CANARIES = ExampleCanaries(canaries=300, seconds=60.0)
Audit = Callable[[Auditor], list[Finding]]


def guesses(auditor: Auditor) -> list[Finding]:
    return example_canaries(auditor, CANARIES)


@cache
def private(**sections: Any) -> Experiment:
    return experiment(
        privacy={"unit": "example", "epsilon": 1.0, "delta": 1e-4, "clip_norm": 0.5},
        model={"name": "mlp", "hidden": [16]},
        training={"rounds": 4, "local_steps": 2, "batch_size": 128, "learning_rate": 0.5},
        **sections,
    )


def accused(audit: Audit, **parts: Any) -> set[str]:
    """The questions whose answer contradicts the claim."""
    with auditing(Subject(private(), **parts)) as auditor:
        return {finding.question for finding in audit(auditor) if finding.verdict == "contradicted"}


@pytest.mark.parametrize("audit", [example_accounting, example_bounds, example_noise, example_sampling, guesses])
def test_nothing_is_found_in_a_correct_client(audit: Audit) -> None:
    assert accused(audit) == set()


def test_noise_that_is_left_out_is_caught() -> None:
    assert "variance, the least of any part" in accused(example_noise, trainer=faults.WithoutNoise)


def test_noise_that_is_left_out_shows_who_was_there() -> None:
    with auditing(Subject(private(), trainer=faults.WithoutNoise)) as auditor:
        (finding,) = guesses(auditor)
    assert finding.verdict == "contradicted"
    assert finding.found is not None
    assert finding.claimed is not None
    assert finding.found > finding.claimed


def test_a_clip_that_leaves_a_layer_out_is_caught() -> None:
    assert "one example, aimed at each of 2 layers, moves a clipped sum by" in accused(
        example_bounds, trainer=faults.SkipsALayer
    )


def test_the_same_noise_at_two_clients_is_caught_and_nothing_else() -> None:
    assert accused(example_noise, client=faults.SharedNoise) == {"left between clients"}


def test_the_same_noise_in_two_rounds_is_caught_and_nothing_else() -> None:
    assert accused(example_noise, client=faults.RepeatedNoise) == {"left between rounds"}


def test_the_same_batches_at_two_clients_are_caught() -> None:
    assert "rows in both clients' batches" in accused(example_sampling, client=faults.SharedNoise)


def test_rows_that_enter_batches_too_often_are_caught() -> None:
    assert "rows in a batch" in accused(example_sampling, trainer=faults.OftenSampled)


def test_a_plan_that_costs_too_much_is_caught() -> None:
    lower = private().model_copy(update={"privacy": private().privacy.model_copy(update={"epsilon": 0.5})})  # type: ignore[union-attr]
    with auditing(Subject(private())) as auditor:
        auditor.experiment = lower
        (finding,) = example_accounting(auditor)
    assert finding.verdict == "contradicted"


def test_outliers_are_far_beyond_the_clip_in_the_layer_that_they_are_aimed_at() -> None:
    with auditing(Subject(private())) as auditor:
        model = auditor.trainer.model
        aimed = list(outliers(model, auditor.trainer.task, auditor.rows(0, 4)))
    assert {one.aimed_at for one in aimed} == set(layers_of(model)) == {"hidden.0", "output"}
    for one in aimed:
        loss = torch.nn.functional.cross_entropy(model(one.features[None]), one.label[None])
        gradients = torch.autograd.grad(loss, layers_of(model)[one.aimed_at])
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        assert norm == pytest.approx(one.norm, rel=1e-4)
    assert all(max(one.norm for one in aimed if one.aimed_at == layer) > 100 for layer in layers_of(model))


def test_the_audited_trainer_is_the_clients_own() -> None:
    assert Subject(private()).trainer is LocalTrainer
