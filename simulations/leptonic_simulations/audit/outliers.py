"""Examples that try to move a model more than the clip allows: one aimed at each layer, and some that are not finite.

Called by the audit of neighbouring inputs. An example is aimed by a search over scales, labels and a few steps of
gradient ascent on the norm of its gradient in that layer: a fault in one layer's clip shows only for an example whose
gradient there is large beside the clip.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leptonic.tasks import Task
from leptonic_client.data import LocalData

__all__ = ["Outlier", "layers_of", "not_finite", "outliers"]

SCALES = (1.0, 1e2, 1e4)
LABELS = 3
ASCENTS = 8
STEP = 0.5


@dataclass(frozen=True)
class Outlier:
    """One example. aimed_at: a layer's name, or what is wrong with it. norm: of its gradient there."""

    aimed_at: str
    features: Tensor
    label: Tensor
    norm: float


def layers_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trainable parameters by the module that holds them."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(parameter)
    return layers


def outliers(model: nn.Module, task: Task, data: LocalData) -> Iterator[Outlier]:
    """For each layer the example with the largest gradient there, and the one that has most of its gradient there."""
    layers = layers_of(model)
    base, labels = data.batch(torch.arange(min(LABELS, len(data))))
    candidates = [(base[:1] * scale, label[None]) for scale in SCALES for label in labels]
    norms = [_norms(model, task, candidate, layers) for candidate in candidates]
    for layer in layers:
        for share in (False, True):
            best = max(range(len(candidates)), key=lambda one: _score(norms[one], layer, share=share))
            found = _ascended(model, task, candidates[best], layers, layer, share=share)
            reached = _norms(model, task, found, layers)
            if not _score(reached, layer, share=share) > _score(norms[best], layer, share=share):
                found, reached = candidates[best], norms[best]
            yield Outlier(layer, found[0][0], found[1][0], reached[layer])


def not_finite(data: LocalData) -> Iterator[Outlier]:
    """Examples with an infinity, with nothing but NaN, and with numbers whose squares are infinite."""
    features, labels = data.batch(torch.tensor([0]))
    one = features[0].clone()
    one.view(-1)[0] = torch.inf
    for name, bad in (
        ("an infinity", one),
        ("NaN", torch.full_like(one, torch.nan)),
        ("1e38", torch.full_like(one, 1e38)),
    ):
        yield Outlier(name, bad, labels[0], torch.inf)


def _norms(
    model: nn.Module, task: Task, example: tuple[Tensor, Tensor], layers: dict[str, list[nn.Parameter]]
) -> dict[str, float]:
    return {name: float(norm) for name, norm in _layer_norms(model, task, example, layers).items()}


def _layer_norms(
    model: nn.Module,
    task: Task,
    example: tuple[Tensor, Tensor],
    layers: dict[str, list[nn.Parameter]],
    *,
    differentiable: bool = False,
) -> dict[str, Tensor]:
    """The norm of the example's gradient in each layer."""
    parameters = [parameter for own in layers.values() for parameter in own]
    device = parameters[0].device
    loss = task.losses(model(example[0].to(device)), example[1].to(device)).sum()
    found = torch.autograd.grad(loss, parameters, create_graph=differentiable, materialize_grads=True)
    gradients = dict(zip(map(id, parameters), found, strict=True))
    # In float64: squares of large gradients overflow float32.
    return {
        name: torch.stack([gradients[id(p)].double().square().sum() for p in own]).sum().sqrt()
        for name, own in layers.items()
    }


def _score(norms: dict[str, float], layer: str, *, share: bool) -> float:
    """What is looked for; nothing that is not finite."""
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    value = norms[layer] / (total or 1.0) if share else norms[layer]
    return value if total < float("inf") else -1.0


def _ascended(
    model: nn.Module,
    task: Task,
    start: tuple[Tensor, Tensor],
    layers: dict[str, list[nn.Parameter]],
    layer: str,
    *,
    share: bool,
) -> tuple[Tensor, Tensor]:
    """The example after a few steps of sign ascent."""
    features, label = start[0].clone(), start[1]
    for _ in range(ASCENTS):
        features.requires_grad_(True)
        norms = _layer_norms(model, task, (features, label), layers, differentiable=True)
        aim = norms[layer].clamp(min=1e-30).log()
        if share:
            aim = aim - torch.stack([norm.square() for norm in norms.values()]).sum().clamp(min=1e-60).log() / 2
        if not aim.requires_grad:
            break
        (slope,) = torch.autograd.grad(aim, features, materialize_grads=True)
        size = max(1.0, float(features.detach().abs().max()) / 10)
        features = (features.detach() + STEP * size * slope.nan_to_num().sign()).detach()
    return features.detach(), label
