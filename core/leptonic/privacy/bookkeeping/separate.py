"""Any other module: one example's gradient after the other's, vectorised, of that module alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.samples import Materialised, Samples

__all__ = ["separate"]


def separate(module: nn.Module, inputs: tuple[Any, ...], gradients: Tensor) -> Samples:
    """A module with parameters of its own, called once as module(*inputs); runs its forward pass again.

    inputs: tensors (n, ...). gradients: (n, ...), of its one output.
    Raises PrivacyError if the module cannot be taken apart by example.
    """
    own = {name: p.detach() for name, p in module.named_parameters(recurse=False) if p.requires_grad}
    if not all(isinstance(x, Tensor) and x.ndim and len(x) == len(gradients) for x in inputs):
        raise PrivacyError(
            f"a {type(module).__name__} takes an argument that is not one of the examples: pass it at construction"
        )

    def product(parameters: dict[str, Tensor], own_inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
        output = functional_call(module, parameters, tuple(x[None] for x in own_inputs))
        return (output[0] * gradient).sum()  # type: ignore[no-any-return]

    try:
        with torch.enable_grad():
            samples = vmap(grad(product), in_dims=(None, 0, 0))(own, inputs, gradients)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise PrivacyError(
            f"no per-example gradients of a {type(module).__name__} ({error}): build it of layers that PyTorch's"
            " function transforms support, and without randomness of its own"
        ) from error
    return Materialised(samples)
