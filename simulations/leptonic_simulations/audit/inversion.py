"""Two attacks that make an example of its gradient: what an update gives away where nothing protects it.

Where the first layer is linear, its weights' gradient is a product of the example and the bias' gradient, and shows the
example. Else an image is sought whose gradient points the same way. Sources: Phong et al. 2018, doi
10.1109/TIFS.2017.2787987 (linear layers); Geiping et al. 2020, arXiv 2003.14053 (optimisation; labels are known to it).
"""

import torch
from torch import Tensor, nn

from leptonic.tasks import Task
from leptonic_client.steps import trainable

__all__ = ["invert", "linear_entry"]

RATE = 0.1
SMOOTHNESS = 1e-2
"""Weight of the total variation."""


def linear_entry(model: nn.Module, shape: tuple[int, ...]) -> nn.Linear | None:
    """The layer that sees the example itself, if it is linear and has a bias."""
    entered: list[tuple[nn.Linear, Tensor]] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        entered.append((layer, inputs[0]))

    hooks = [layer.register_forward_pre_hook(look) for layer in model.modules() if isinstance(layer, nn.Linear)]
    one = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)
    try:
        with torch.no_grad():
            model(one)
    finally:
        for hook in hooks:
            hook.remove()
    layer, seen = entered[0] if entered else (None, one)
    if layer is None or layer.bias is None or not layer.bias.requires_grad or not torch.equal(seen, one.flatten(1)):
        return None
    return layer


def invert(
    model: nn.Module,
    task: Task,
    gradient: Tensor,
    *,
    shape: tuple[int, ...],
    label: Tensor,
    bounds: tuple[float, float],
    steps: int,
) -> Tensor:
    """The example of one gradient, (*shape). gradient: (d,), any multiple of it. label: (), used by the second attack.

    bounds: of the features. steps: of the optimisation.
    """
    own = trainable(model)
    gradient = gradient.to(own[0].device)
    parts = [part.view(p.shape) for part, p in zip(gradient.split([p.numel() for p in own]), own, strict=True)]
    if (layer := linear_entry(model, shape)) is not None:
        found = {id(p): part for p, part in zip(own, parts, strict=True)}
        return _divided(found[id(layer.weight)], found[id(layer.bias)]).cpu().view(shape).clamp(*bounds)
    return _sought(model, task, parts, shape=shape, label=label, bounds=bounds, steps=steps)


def _divided(weights: Tensor, bias: Tensor) -> Tensor:
    """The least-squares x of weights = bias x^T, (features,)."""
    # As one of length 1: squares of small gradients leave float32, and not every device has float64.
    unit = bias / bias.norm().clamp(min=1e-30)
    found: Tensor = (unit @ weights) / bias.norm().clamp(min=1e-30)
    return found


def _sought(
    model: nn.Module,
    task: Task,
    target: list[Tensor],
    *,
    shape: tuple[int, ...],
    label: Tensor,
    bounds: tuple[float, float],
    steps: int,
) -> Tensor:
    """By Adam on signs of the slope of 1 - cosine + total variation, its rate divided by 10 at 3/8, 5/8 and 7/8."""
    own = trainable(model)
    length = torch.stack([part.square().sum() for part in target]).sum().sqrt().clamp(min=1e-30)
    start = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0)).clamp(*bounds)
    image = start.to(own[0].device).requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=RATE)
    turns = [steps * part // 8 for part in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, turns, gamma=0.1)
    for _ in range(steps):
        loss = task.losses(model(image), label[None].to(image.device)).sum()
        found = torch.autograd.grad(loss, own, create_graph=True, materialize_grads=True)
        along = torch.stack([(f * t).sum() for f, t in zip(found, target, strict=True)]).sum()
        norm = torch.stack([f.square().sum() for f in found]).sum().sqrt().clamp(min=1e-30)
        distance = 1 - along / (norm * length) + SMOOTHNESS * _variation(image)
        (slope,) = torch.autograd.grad(distance, image)
        image.grad = slope.nan_to_num().sign()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            image.clamp_(*bounds)
    return image.detach()[0].cpu()


def _variation(image: Tensor) -> Tensor:
    return image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()
