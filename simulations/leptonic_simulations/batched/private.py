"""DP-SGD of many clients at once: per-example gradients of all of them in one tensor program.

Sampling, bound and noise are those of :mod:`leptonic.privacy`, each client with streams of its own, so that a
client draws what it would draw alone. Source: Abadi et al. 2016, arXiv 1607.00133.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from leptonic.errors import PrivacyError
from leptonic.experiment import ExamplePrivacy
from leptonic.privacy.clipping import clipped_sums
from leptonic.privacy.engine import PoissonSampler
from leptonic.privacy.noise import noised
from leptonic.tasks import Task
from leptonic_client.data import gathered
from leptonic_client.training import LocalTrainer, LocalWork, Protection
from leptonic_simulations.batched.schedule import Schedule
from leptonic_simulations.batched.stack import Forward, Pieces, Stack, StackCorrector

__all__ = ["PerExample", "private_schedule", "private_steps"]


def private_schedule(works: Sequence[LocalWork]) -> Schedule:
    """Each client's Poisson batches of the round; weights are 1 for an example that was drawn."""
    drawn = [list(_sampler(work)) for work in works]
    steps = [len(batches) for batches in drawn]
    width = max(1, max(len(batch) for batches in drawn for batch in batches))
    rows = torch.zeros(steps[0], len(works), width, dtype=torch.int64)
    weights = torch.zeros(rows.shape)
    for client, (work, batches) in enumerate(zip(works, drawn, strict=True)):
        for step, batch in enumerate(batches):
            rows[step, client, : len(batch)] = work.data.rows[torch.tensor(batch, dtype=torch.int64)]
            weights[step, client, : len(batch)] = 1.0
    return Schedule(rows, weights, steps)


class PerExample:
    """Gradients of each example's loss: (k, *shape) parameters -> (k, n, *shape) each."""

    def __init__(self, forward: Forward, task: Task) -> None:
        def loss(own: Sequence[Tensor], features: Tensor, label: Tensor) -> Tensor:
            losses: Tensor = task.losses(forward.one(own, features[None]), label[None])
            return losses.sum()

        self._gradients = vmap(vmap(grad(loss), in_dims=(None, 0, 0)), randomness="error")

    def __call__(self, parameters: Sequence[Tensor], features: Tensor, labels: Tensor) -> list[Tensor]:
        """features: (k, n, *shape). labels: (k, n)."""
        found: list[Tensor] = self._gradients([p.detach() for p in parameters], features, labels)
        return found


def private_steps(
    stack: Stack,
    plan: Schedule,
    *,
    works: Sequence[LocalWork],
    trainer: LocalTrainer,
    gradients_of: PerExample,
    features: Tensor,
    labels: Tensor,
    correct: StackCorrector,
) -> None:
    """Train the stack under example-level privacy. features, labels: the shared examples."""
    experiment, device = trainer.experiment, trainer.device
    if not isinstance(experiment.privacy, ExamplePrivacy):
        raise PrivacyError("private steps without privacy.unit = 'example'")
    clip_norm = experiment.privacy.clip_norm
    rows, drawn = plan.rows.to(device), (plan.weights > 0).sum(dim=2).tolist()
    most = _protection(works[0]).plan.micro_batch(experiment.training.accumulation_steps)
    size = most or plan.rows.shape[2]
    for steps, clients in plan.phases():
        optimizer = stack.take(clients, experiment.training, trainer.rate(works[0]))
        for step in steps:
            sums: list[Tensor] = []
            for start in range(0, plan.rows.shape[2], size):
                chosen = rows[step, :clients, start : start + size]
                samples = gradients_of(stack.parameters, gathered(features, chosen), gathered(labels, chosen))
                more = _clipped_sums(samples, [max(0, n - start) for n in drawn[step][:clients]], clip_norm)
                sums = [total + own for total, own in zip(sums, more, strict=True)] if sums else more
            gradients = _released(sums, [_protection(work) for work in works[:clients]], clip_norm, stack.pieces)
            for parameter, gradient in zip(stack.parameters, correct(gradients), strict=True):
                parameter.grad = gradient.to(parameter)
            optimizer.step()


def _clipped_sums(samples: Sequence[Tensor], drawn: Sequence[int], clip_norm: float) -> list[Tensor]:
    """Each client's sum of clipped gradients, (k, *shape) float64. drawn: of each client, the first so many count."""
    own = [clipped_sums([sample[k, :count] for sample in samples], clip_norm) for k, count in enumerate(drawn)]
    return [torch.stack(sums) for sums in zip(*own, strict=True)]


def _released(
    sums: Sequence[Tensor], protections: Sequence[Protection], clip_norm: float, pieces: Pieces
) -> list[Tensor]:
    """Noised means, (k, *shape) float32; each client draws for its parameters in their order, as it does alone."""
    parts = []
    for client, own in enumerate(protections):
        deviation = own.plan.noise_multiplier * clip_norm
        upright = pieces.upright([total[client] for total in sums])
        means = [total / own.plan.batch_size for total in noised(upright, deviation, own.noise)]
        parts.append(pieces.upright(means))
    return [torch.stack(part).to(total.device) for part, total in zip(zip(*parts, strict=True), sums, strict=True)]


def _sampler(work: LocalWork) -> PoissonSampler:
    own = _protection(work)
    return PoissonSampler(
        len(work.data), sample_rate=own.plan.sample_rate, steps=own.plan.steps_per_round, stream=own.sampling
    )


def _protection(work: LocalWork) -> Protection:
    if work.protection is None:
        raise PrivacyError(f"client {work.client} has no plan for its privacy")
    return work.protection
