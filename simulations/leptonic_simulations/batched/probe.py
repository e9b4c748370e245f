"""Whether a model's training can be batched over clients, found by trying it on made-up numbers."""

import copy

import torch
from torch import Tensor, nn

from leptonic import parameters, randomness
from leptonic_client.steps import trainable
from leptonic_client.training import LocalTrainer
from leptonic_simulations.batched.stack import Forward, Pieces

__all__ = ["unbatchable"]

CLIENTS, EXAMPLES = 2, 3
TOLERANCE = 1e-4


def unbatchable(trainer: LocalTrainer) -> str | None:
    """Why the batched engine cannot train this experiment's model; None if it can."""
    if trainer.experiment.training.precision == "float16":
        return "the loss scaling of training.precision = 'float16' belongs to one client"
    scenario = trainer.experiment.scenario
    if scenario and scenario.liars and scenario.liars.attack.name == "label_flip":
        return "clients that flip their labels do not share the others' data"
    model = copy.deepcopy(trainer.model).train()
    with randomness.torch_stream(0, "probe"):
        features = torch.rand(CLIENTS, EXAMPLES, *trainer.spec.input_shape, device=trainer.device)
        try:
            return _differs(model, features)
        except Exception as error:  # a model may fail in any way where its tensors are not what they seem
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            return f"the model cannot be batched over clients ({reason})"


def _differs(model: nn.Module, features: Tensor) -> str | None:
    """Compare outputs and gradients of two clients' models together with each alone. features: (k, n, *shape)."""
    pieces = Pieces.of(model)
    own = torch.from_numpy(parameters.to_vector(model)).to(features.device)
    vectors = own + 0.01 * torch.randn(CLIENTS, len(own), device=features.device)
    stacked = [piece.clone().requires_grad_() for piece in pieces.cut(vectors)]
    together = Forward(model)(stacked, features)
    direction = torch.randn_like(together)
    gradients = _gradients((together * direction).sum(), stacked)
    for client in range(CLIENTS):
        parameters.from_vector(model, vectors[client].cpu().numpy())
        alone = model(features[client])
        if not _close(model(features[client, 1:]), alone[1:]):
            return "the model mixes the examples of a batch"
        expected = _gradients((alone * direction[client]).sum(), trainable(model))
        own_gradient = pieces.join(gradients)[client]
        if not _close(together[client], alone) or not _close(own_gradient, torch.cat([g.flatten() for g in expected])):
            return "the model trains otherwise when it is batched over clients"
    return None


def _gradients(loss: Tensor, of: list[Tensor] | list[nn.Parameter]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of, allow_unused=True, materialize_grads=True))


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether they agree but for rounding, measured against the whole: single values may cancel."""
    return bool((found - expected).norm() <= TOLERANCE * (1 + expected.norm()))
