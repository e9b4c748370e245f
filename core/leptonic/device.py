"""Chooses the device that tensors live on, and how a model lies there."""

from typing import TYPE_CHECKING

from leptonic.errors import ExperimentError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["placed", "torch_device"]


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
    import torch

    model.to(device)
    # Not Module.to(memory_format=...), which fails at weights of five axes.
    for parameter in model.parameters() if device.type == "cpu" else ():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
