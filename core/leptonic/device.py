"""Chooses the device that tensors live on, and how a model lies there."""

from typing import TYPE_CHECKING

from leptonic.errors import ExperimentError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["channels_last", "placed", "torch_device"]


def torch_device(name: str) -> "torch.device":
    """The device called ``name``; "auto" takes CUDA, then MPS, then the CPU.

    Raises ExperimentError where the device is not there.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present.get(name.split(":")[0], False):
        usable = ", ".join(kind for kind, there in present.items() if there)
        raise ExperimentError(f"training.device = '{name}' is not on this machine; usable here: auto, {usable}")
    return torch.device(name)


def placed(model: "nn.Module", device: "torch.device") -> "nn.Module":
    """The model on the device, on a CPU with channels last in memory.

    Max-pools take half the time then, and convolutions with their backward passes no more. What a model computes, and
    the order of its parameters' entries in a vector, stay the same; sums may be rounded in another order.
    """
    model.to(device)
    # Not Module.to(memory_format=...), which fails at weights of five axes.
    for parameter in model.parameters() if device.type == "cpu" else ():
        if parameter.ndim == 4:
            parameter.data = channels_last(parameter.data)
    return model


def channels_last(values: "Tensor") -> "Tensor":
    """A copy (n, C, H, W) that has its channels last in memory, by its strides also where there is only one.

    Both orders are the same in memory then, and strides alone tell torch which one it is: after contiguous() they say
    channels first, for which a convolution of grey images and its pool take several times as long.
    """
    import torch

    _, channels, height, width = values.shape
    strides = (channels * height * width, 1, width * channels, channels)
    return torch.empty_strided(values.shape, strides, dtype=values.dtype, device=values.device).copy_(values)
