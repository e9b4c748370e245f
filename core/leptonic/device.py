"""Chooses the device that tensors live on."""

from typing import TYPE_CHECKING

from leptonic.errors import ExperimentError

if TYPE_CHECKING:
    import torch

__all__ = ["torch_device"]


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
