"""Memory that is used again in every step: fresh pages for hundreds of megabytes cost as much as the arithmetic."""

from collections.abc import Hashable

from torch import Tensor

__all__ = ["Scratch"]


class Scratch:
    """Uninitialised tensors by name. The next request for a name overwrites what the last one returned."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}

    def empty(self, name: Hashable, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A contiguous tensor of this shape, with the type and device of ``like`` and whatever values."""
        size = 1
        for side in shape:
            size *= side
        kept = self._kept.get(name)
        if kept is None or kept.numel() < size or kept.dtype != like.dtype or kept.device != like.device:
            kept = self._kept[name] = like.new_empty(size)
        return kept[:size].view(shape)
