"""Model parameters <-> one flat vector, and the layout that says which part is which.

Only trainable parameters travel. Frozen ones and non-persistent buffers are made anew on both sides, when the
model is built from the same settings and seed. Everything after training (pipeline, secure aggregation,
server optimiser, run store) works on the vector alone, so torch is imported only where a model is touched.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError, ExperimentError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Layout", "from_vector", "layout_of", "state_dict_of", "to_vector", "vector_of"]

_WRAPPER = "_module."
"""What Opacus puts before every name when it wraps a model."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the parameters in a flat vector, one after the other, each in row-major order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each parameter; 1 for a scalar."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each parameter begins in the vector."""
        return tuple(accumulate(self.sizes[:-1], initial=0)) if self.sizes else ()

    @cached_property
    def size(self) -> int:
        """Length d of the vector."""
        return sum(self.sizes)

    @cached_property
    def hash(self) -> str:
        """SHA-256, hexadecimal, over names and shapes in order, as canonical JSON."""
        content = [[name, list(shape)] for name, shape in zip(self.names, self.shapes, strict=True)]
        text = json.dumps({"float32": content}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def layout_of(model: "nn.Module") -> Layout:
    """The layout of a model's trainable parameters, in ``named_parameters`` order, without Opacus' prefix.

    Raises ExperimentError when nothing is trainable, when a parameter's type cannot hold float32 values
    exactly, or when a float buffer belongs to the model's state, which the vector would leave behind.
    """
    named = dict(_trainable(model))
    if not named:
        raise ExperimentError("the model has no trainable parameters; is requires_grad off everywhere?")
    _check_types(named)
    _check_buffers(model)
    wrapped = all(name.startswith(_WRAPPER) for name in named)
    names = tuple(name.removeprefix(_WRAPPER) if wrapped else name for name in named)
    return Layout(names, tuple(tuple(parameter.shape) for parameter in named.values()))


def to_vector(model: "nn.Module") -> NDArray[np.float32]:
    """A copy of the trainable parameters in :func:`layout_of`'s order, on the CPU. Returns (d,) float32."""
    import torch

    parts = [parameter.detach().reshape(-1) for _, parameter in _trainable(model)]
    vector: NDArray[np.float32] = torch.cat(parts).to("cpu", torch.float32).numpy()
    return vector


def from_vector(model: "nn.Module", vector: NDArray[np.float32]) -> None:
    """Copy ``vector`` into the trainable parameters, in place, on the device where they are.

    vector: (d,) float32, unchanged and not kept. Raises DecodeError, before any change, unless it fits.
    """
    import torch

    parameters = [parameter for _, parameter in _trainable(model)]
    _check_vector(vector, sum(parameter.numel() for parameter in parameters))
    # Received vectors are often read-only, which torch cannot represent: those are copied first.
    flat = torch.from_numpy(np.require(vector, requirements=["C", "W"])).to(parameters[0].device)
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view(parameter.shape))


def state_dict_of(layout: Layout, vector: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The parameters by name, as views into ``vector`` (d,) float32; what safetensors stores.

    Raises DecodeError when the vector does not fit the layout.
    """
    _check_vector(vector, layout.size)
    parts = zip(layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True)
    return {name: vector[start : start + size].reshape(shape) for name, shape, start, size in parts}


def vector_of(layout: Layout, state_dict: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The flat vector of named parameters, which may come in any order. Returns (d,) float32, a copy.

    Raises DecodeError when a name is missing or unknown, or a shape or type is not the layout's.
    """
    missing = [name for name in layout.names if name not in state_dict]
    unknown = sorted(state_dict.keys() - set(layout.names))
    if missing or unknown:
        raise DecodeError(f"these are not the model's parameters: missing {missing}, unknown {unknown}")
    vector = np.empty(layout.size, np.float32)
    parts = zip(layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True)
    for name, shape, start, size in parts:
        value = state_dict[name]
        if value.shape != shape or value.dtype != np.float32:
            raise DecodeError(f"parameter {name!r} is {value.shape} {value.dtype}, the model has {shape} float32")
        vector[start : start + size] = value.reshape(-1)
    return vector


def _trainable(model: "nn.Module") -> "Iterator[tuple[str, nn.Parameter]]":
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _check_vector(vector: NDArray[np.float32], size: int) -> None:
    if vector.shape != (size,) or vector.dtype != np.float32:
        raise DecodeError(
            f"a vector of {vector.shape} {vector.dtype} does not fit the model, which has ({size},) float32"
        )


def _check_types(named: "Mapping[str, nn.Parameter]") -> None:
    import torch

    for name, parameter in named.items():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ExperimentError(
                f"the model's parameter {name!r} is {parameter.dtype}; keep parameters in float32 "
                "(training.precision sets the type of the arithmetic)"
            )


def _check_buffers(model: "nn.Module") -> None:
    stateful = model.state_dict()
    for name, buffer in model.named_buffers():
        if name in stateful and (buffer.is_floating_point() or buffer.is_complex()):
            raise ExperimentError(
                f"the model's buffer {name!r} is state outside its parameters (BatchNorm's running "
                "statistics, say), which the mean of updates would leave behind: use GroupNorm; "
                "a constant may stay if registered with persistent=False"
            )
