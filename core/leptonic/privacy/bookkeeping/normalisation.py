"""LayerNorm and GroupNorm: per-example gradients as they are, which are as small as the layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Materialised, Samples

__all__ = ["group_norm", "layer_norm"]


def layer_norm(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Samples:
    """nn.LayerNorm. inputs, gradients: (n, ..., *normalized_shape)."""
    assert isinstance(module, nn.LayerNorm)
    shape = tuple(module.normalized_shape)
    samples = {}
    if module.weight.requires_grad:
        scaled = F.layer_norm(inputs, shape, eps=module.eps).mul_(gradients)
        samples["weight"] = scaled.reshape(len(inputs), -1, *shape).sum(dim=1)
    if module.bias is not None and module.bias.requires_grad:
        samples["bias"] = gradients.reshape(len(inputs), -1, *shape).sum(dim=1)
    return Materialised(samples)


def group_norm(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Samples:
    """nn.GroupNorm. inputs, gradients: (n, channels, ...)."""
    assert isinstance(module, nn.GroupNorm)
    shape = (len(inputs), module.num_channels, -1)
    samples = {}
    if module.weight.requires_grad:
        scaled = F.group_norm(inputs, module.num_groups, eps=module.eps).mul_(gradients)
        samples["weight"] = scaled.reshape(shape).sum(dim=2)
    if module.bias is not None and module.bias.requires_grad:
        samples["bias"] = gradients.reshape(shape).sum(dim=2)
    return Materialised(samples)
