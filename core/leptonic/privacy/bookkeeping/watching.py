"""Keeps what a backward pass shows of one module: its inputs and the gradients of its output.

Within its module's call a parameter is a constant, so that autograd makes no gradient of it. Whatever else
reaches the parameter leaves ``p.grad`` behind, by which :class:`Recorder` notices.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.convolution import convolution
from leptonic.privacy.bookkeeping.embedding import embedding
from leptonic.privacy.bookkeeping.linear import linear, outer_products
from leptonic.privacy.bookkeeping.normalisation import group_norm, layer_norm
from leptonic.privacy.bookkeeping.recurrent import lstm_forward
from leptonic.privacy.bookkeeping.samples import Samples
from leptonic.privacy.bookkeeping.scratch import Scratch
from leptonic.privacy.bookkeeping.separate import separate

__all__ = ["Switch", "Watch", "watch"]

_DIRECT = {nn.Linear: linear, nn.Embedding: embedding, nn.LayerNorm: layer_norm, nn.GroupNorm: group_norm}


@dataclass
class Switch:
    """One for all modules of a model. on: calls are watched; off while one module is run again by itself."""

    on: bool = True


class Watch(Protocol):
    """Over one module with trainable parameters of its own."""

    calls: int
    """With gradients, since the last reset."""

    def examples(self) -> int | None:
        """How many examples the one backward pass had; None if none came, or several."""
        ...

    def samples(self, scratch: Scratch) -> list[Samples]:
        """The examples' gradients. Raises PrivacyError if they cannot be told any more, or not at all."""
        ...

    def reset(self) -> None:
        """Forget the batch; its memory goes as the next forward pass needs some, or with :meth:`remove`.

        Given back at once, it would go to the operating system, which then clears every page of the next batch's.
        """
        ...

    def remove(self) -> None:
        """Leave the module as it was."""
        ...


def watch(module: nn.Module, switch: Switch) -> Watch:
    """Watch a module from now on."""
    return _LSTM(module, switch) if type(module) is nn.LSTM else _Module(module, switch)


class _Kept:
    """A tensor, and whether it is still what it was."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor.detach(), tensor._version

    def value(self) -> Tensor:
        if self._tensor._version != self._version:
            raise PrivacyError(
                "the input or output gradient of a layer was changed in place after its call: use operations that"
                " make a new tensor, such as F.relu(x) instead of F.relu(x, inplace=True)"
            )
        return self._tensor


class _Module:
    """A module with one tensor as output, by hooks."""

    def __init__(self, module: nn.Module, switch: Switch) -> None:
        self._module = module
        self._own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        self._anchor = torch.zeros((), requires_grad=True)
        self._switch = switch
        self.calls = 0
        self._spent: object = None
        self._hooks = [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after, always_call=True),
        ]
        self.reset()

    def reset(self) -> None:
        if self.calls:
            self._spent = (self._inputs, self._gradients)
        self.calls = 0
        self._inputs: list[Any] = []
        self._gradients: list[_Kept] = []

    def remove(self) -> None:
        self.reset()
        self._spent = None
        for hook in self._hooks:
            hook.remove()

    def examples(self) -> int | None:
        return len(self._gradients[0].value()) if len(self._gradients) == 1 else None

    def samples(self, scratch: Scratch) -> list[Samples]:
        inputs = tuple(x.value() if isinstance(x, _Kept) else x for x in self._inputs)
        gradients, kind = self._gradients[0].value(), type(self._module)
        if kind in _DIRECT:
            return [_DIRECT[kind](self._module, inputs[0], gradients)]
        if kind in (nn.Conv1d, nn.Conv2d):
            return [convolution(self._module, inputs[0], gradients, scratch)]
        self._switch.on = False
        try:
            return [separate(self._module, inputs, gradients)]
        finally:
            self._switch.on = True

    def _before(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not (self._switch.on and torch.is_grad_enabled()):
            return
        if named:
            raise PrivacyError(f"a {type(module).__name__} is called with named arguments: pass them by position")
        for parameter in self._own:
            parameter.requires_grad_(False)

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        if not (self._switch.on and torch.is_grad_enabled()):
            return None
        for parameter in self._own:
            parameter.requires_grad_(True)
        if output is None:  # the call has failed
            return None
        if not isinstance(output, Tensor):
            raise PrivacyError(f"a {type(module).__name__} with parameters returns more than one tensor: split it up")
        self.calls += 1
        self._spent = None
        self._inputs = [_Kept(x) if isinstance(x, Tensor) else x for x in inputs]
        watched = output if output.requires_grad else _Start.apply(output, self._anchor)  # type: ignore[no-untyped-call]
        watched.register_hook(self._receive)
        return watched

    def _receive(self, gradient: Tensor) -> None:
        self._gradients.append(_Kept(gradient))


class _Start(torch.autograd.Function):
    """Makes a tensor part of the graph where nothing before it is: the first layer's output."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, _: Tensor) -> Tensor:
        ctx.mark_dirty(output)  # the same memory, yet no view, which in-place operations could not change
        return output

    @staticmethod
    def backward(*_: Any) -> tuple[None, None]:
        return None, None


class _LSTM:
    """An nn.LSTM, whose own forward pass is replaced meanwhile."""

    def __init__(self, module: nn.Module, switch: Switch) -> None:
        assert isinstance(module, nn.LSTM)
        self._module = module
        self._anchor = torch.zeros((), requires_grad=True)
        self._fused, self._switch = module.forward, switch
        module.forward = self._forward  # type: ignore[method-assign, assignment]
        self.calls = 0
        self._spent: object = None
        self.reset()

    def reset(self) -> None:
        if self.calls:
            self._spent = self._layers
        self.calls = 0
        self._layers: list[tuple[int, _Kept, _Kept, Tensor]] = []

    def remove(self) -> None:
        self.reset()
        self._spent = None
        del self._module.forward

    def examples(self) -> int | None:
        layers = sorted(layer for layer, *_ in self._layers)
        return len(self._layers[0][3]) if layers == list(range(self._module.num_layers)) else None

    def samples(self, scratch: Scratch) -> list[Samples]:
        return [
            outer_products(
                gradients,
                self._trainable({f"weight_ih_l{layer}": inputs.value(), f"weight_hh_l{layer}": states.value()}),
                [*self._trainable(dict.fromkeys((f"bias_ih_l{layer}", f"bias_hh_l{layer}"), gradients))],
            )
            for layer, inputs, states, gradients in self._layers
        ]

    def _trainable(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        own = dict(self._module.named_parameters())
        return {name: tensor for name, tensor in tensors.items() if name in own and own[name].requires_grad}

    def _forward(self, inputs: Tensor, state: Any = None) -> Any:
        if not (self._switch.on and torch.is_grad_enabled()):
            return self._fused(inputs, state)
        self.calls += 1
        self._spent = None
        return lstm_forward(self._module, self._receive, self._anchor, inputs, state)

    def _receive(self, layer: int, inputs: Tensor, states: Tensor, gradients: Tensor) -> None:
        self._layers.append((layer, _Kept(inputs), _Kept(states), gradients))
