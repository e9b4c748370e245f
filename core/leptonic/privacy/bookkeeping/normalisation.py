"""LayerNorm and GroupNorm: per-example gradients as they are, which are as small as the layer."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Materialised, Samples

__all__ = ["group_norm", "layer_norm"]


def layer_norm(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Samples:
    """nn.LayerNorm. inputs, gradients: (n, ..., *normalized_shape)."""
    assert isinstance(module, nn.LayerNorm)
    shape = tuple(module.normalized_shape)
    samples = {}

    def rows(tensor: Tensor) -> Tensor:
        return tensor.reshape(len(inputs), -1, math.prod(shape))

    if module.weight.requires_grad:
        samples["weight"] = _by_normalised(rows(inputs), rows(gradients), module.eps).unflatten(1, shape)
    if module.bias is not None and module.bias.requires_grad:
        samples["bias"] = rows(gradients).sum(dim=1).unflatten(1, shape)
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


def _by_normalised(inputs: Tensor, gradients: Tensor, eps: float) -> Tensor:
    """The sum over rows of gradients times normalised inputs, both (n, rows, k), (n, k).

    Not by F.layer_norm, which takes twice as long as all of this: rows are scaled as they are added.
    """
    centred = inputs - inputs.mean(dim=2, keepdim=True)
    lengths = torch.linalg.vector_norm(centred, dim=2)
    scales = (lengths.square() / inputs.shape[2] + eps).rsqrt()
    return torch.bmm(scales[:, None], centred.mul_(gradients))[:, 0]
