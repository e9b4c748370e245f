"""The one-run audit of example-level privacy: canary examples in a client's data, by coins, and its whole training.

The client answers all rounds through everything that its messages pass, always from the same model, which a server
may well send. Canaries are noise with labels drawn at random: their gradients are large and overlap little. The server
sees each update, knows all canaries, and estimates how often each one was in a batch.
Source: Steinke, Nasr & Jagielski 2023, arXiv 2305.08846; Nasr et al. 2023, arXiv 2302.07956 (gradients as canaries).
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic import parameters
from leptonic.experiment import ExamplePrivacy
from leptonic.privacy.composition import prv_epsilon
from leptonic.randomness import SecureStream
from leptonic_client.steps import trainable
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.guesses import MOST_ENTRIES, delta_of, disentangled, guess_finding
from leptonic_simulations.audit.subject import Auditor, held

__all__ = ["ExampleCanaries", "example_canaries"]


@dataclass(frozen=True)
class ExampleCanaries:
    """How much is done. canaries: m. seconds: after which no further round begins; the bound holds for any number."""

    canaries: int
    seconds: float


def example_canaries(
    auditor: Auditor, effort: ExampleCanaries, progress: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Train one client on canaries, and guess."""
    experiment, privacy = auditor.experiment, auditor.experiment.privacy
    assert isinstance(privacy, ExamplePrivacy)
    features, labels = _canaries(auditor, min(effort.canaries, MOST_ENTRIES // auditor.trainer.layout.size))
    # Coins of the audit are from the operating system, as the noise: nobody can choose them to please.
    present = SecureStream().uniform(len(labels)) < 0.5
    data = held(features[torch.from_numpy(present)], labels[torch.from_numpy(present)])
    client, run, begun = auditor.client(data, public_size=auditor.declared), secrets.token_hex(8), time.monotonic()
    moved, rounds = np.zeros(auditor.trainer.layout.size), 0
    for number in range(1, experiment.training.rounds + 1):
        if rounds and time.monotonic() - begun > effort.seconds:
            break
        answer = client.answer(*auditor.ask(client, run=run, round_number=number))
        pipeline = auditor.trainer.pipeline
        moved += pipeline.decode(pipeline.from_bytes(answer.content)).vectors["model"]
        rounds = number
        progress(f"canary examples: round {number} of {experiment.training.rounds}")
    plan, delta = auditor.example_plan(), delta_of(privacy.delta)
    steps = rounds * plan.steps_per_round
    history = ((plan.noise_multiplier, plan.sample_rate, experiment.training.rounds * plan.steps_per_round),)
    claimed = prv_epsilon(history, delta, 0.05 * max(1.0, privacy.epsilon))
    scores = _scores(auditor, features, labels, moved, steps)
    return [guess_finding(scores, present, epsilon=claimed, delta=delta, what=f"canary examples over {rounds} rounds")]


def _canaries(auditor: Auditor, count: int) -> tuple[Tensor, Tensor]:
    """Noise of twice the data's spread, with labels of the data: (m, *shape), (m,)."""
    base, labels = auditor.rows(0).batch(torch.arange(min(256, len(auditor.rows(0)))))
    noise = torch.from_numpy(SecureStream().normal(count * base[0].numel())).float().view(count, *base.shape[1:])
    drawn = torch.from_numpy((SecureStream().uniform(count) * len(labels)).astype(np.int64))
    return noise * 2 * float(base.std()), labels[drawn]


def _scores(
    auditor: Auditor, features: Tensor, labels: Tensor, moved: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """How often each canary seems to have been in a batch, (m,): the update, down the loss, sums clipped gradients."""
    plan = auditor.example_plan()
    often = plan.sample_rate * steps
    return disentangled(
        _gradients(auditor, features, labels),
        -moved * _clips_per_update(auditor),
        usual=often / 2,
        spread=often**2 / 4 + often * (1 - plan.sample_rate) / 2,
        noise=plan.noise_multiplier**2 * steps,
    )


def _clips_per_update(auditor: Auditor) -> float:
    """What makes clips of an update: a step of rate r moves by r / batch_size of a clipped sum."""
    training, privacy = auditor.experiment.training, auditor.experiment.privacy
    assert privacy is not None
    return training.batch_size * (1 - training.momentum) / (training.learning_rate * privacy.clip_norm)


def _gradients(auditor: Auditor, features: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Each canary's gradient at the model that is sent, of length 1. Returns (m, d) float64."""
    model, task = auditor.trainer.model, auditor.trainer.task
    parameters.from_vector(model, auditor.start)
    own = trainable(model)
    rows = torch.empty((len(features), auditor.trainer.layout.size), dtype=torch.float64)
    for row, one, label in zip(rows, features, labels, strict=True):
        loss = task.losses(model(one[None].to(own[0].device)), label[None].to(own[0].device)).sum()
        found = torch.autograd.grad(loss, own, materialize_grads=True)
        row.copy_(torch.cat([gradient.reshape(-1) for gradient in found]))
    return torch.nn.functional.normalize(rows, dim=1).numpy()
