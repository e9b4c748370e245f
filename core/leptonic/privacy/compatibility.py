"""Refuses models and losses whose per-example gradients are not defined, or not of one example alone.

Called before any private training, and by whoever wants to refuse an experiment early.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.recurrent import unsupported

__all__ = ["check_losses", "check_model", "made_up"]

_MIXED = (
    "the model's output for one example depends on another example of the batch: nothing in a private model may mix"
    " examples"
)

_SAME = 1e-3
"""Two results of one computation differ by no more, relatively to the largest, on whatever device."""


def made_up(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Two different inputs to try a model with, (2, *shape); integers are 0 and 1, which any vocabulary has."""
    if dtype.is_floating_point:
        return torch.rand((2, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.arange(2).view(2, *[1] * len(shape)).expand(2, *shape).to(dtype)


def check_model(model: nn.Module, probe: Tensor | None = None, *, lstm: bool = False) -> None:
    """Raise PrivacyError, naming the module, unless each example's part in the gradient can be bounded.

    probe: (2, *shape) inputs, :func:`made_up`. With them the model is also run, to find modules that are called
    twice, buffers that change, outputs that depend on another example, inputs of layers whose first axis is
    not the examples, and models that fail on an empty batch. lstm: allow nn.LSTM, as
    :mod:`leptonic.privacy.bookkeeping` does. The model's mode, its gradients and torch's global generators
    are left as they were.
    """
    _check_modules(model, lstm=lstm)
    _check_parameters(model)
    if probe is not None:
        with torch.random.fork_rng():
            _check_buffers(model, probe)
            _check_calls(model, probe)
            _check_empty(model, probe)
            _check_independence(model, probe)


def check_losses(losses: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, labels: Tensor) -> None:
    """Raise PrivacyError unless each example's loss, and its derivative, is what it is by itself.

    losses: as :meth:`leptonic.tasks.Task.losses`. outputs: (n, ...), made up, as a model gives them. labels: (n,), made
    up, of several classes: weights that come from the batch show only there.
    """
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        raise PrivacyError("the model gives no single tensor of real numbers, on which its losses could be tried")
    found, again = (_with_gradient(losses, outputs, labels) for _ in range(2))
    if found[0].shape != labels.shape[:1]:
        raise PrivacyError(f"the task's losses have the shape {tuple(found[0].shape)}: give one for each example")
    if not all(_same(one, other) for one, other in zip(found, again, strict=True)):
        return  # they are random, and nothing can be compared
    for number in range(len(outputs)):
        one = slice(number, number + 1)
        alone = _with_gradient(losses, outputs[one], labels[one])
        if not all(_same(own, whole[one]) for own, whole in zip(alone, found, strict=True)):
            raise PrivacyError(
                "the task's loss of one example depends on the other examples of its batch, so that no clip bounds what"
                " one example does: leave out batch means and weights that come from the batch"
            )


def _with_gradient(
    losses: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    inputs = outputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        found = losses(inputs.clone(), labels)
        if not found.requires_grad:
            raise PrivacyError("the task's losses do not depend on the model's output: nothing could be learned")
        (gradient,) = torch.autograd.grad(found.sum(), inputs)
    return found.detach(), gradient


def _same(one: Tensor, other: Tensor) -> bool:
    one, other = one.cpu().double(), other.cpu().double()
    scale = max((float(t.nan_to_num(0.0, 0.0, 0.0).abs().max()) for t in (one, other) if t.numel()), default=0.0)
    return torch.allclose(one, other, rtol=_SAME, atol=_SAME * scale, equal_nan=True)


def _check_modules(model: nn.Module, *, lstm: bool) -> None:
    for name, module in model.named_modules():
        where = _named(name, module)
        if isinstance(module, _BatchNorm):  # also without parameters, where Opacus lets it pass
            raise PrivacyError(f"{where}: batch statistics mix the examples of a batch: use GroupNorm instead")
        if not _trainable(module):
            continue
        if next(module.buffers(), None) is not None:
            raise PrivacyError(f"{where}: has parameters and buffers: keep buffers in modules of their own")
        if problem := _problem(module, lstm=lstm):
            raise PrivacyError(f"{where}: {problem}")


def _problem(module: nn.Module, *, lstm: bool) -> str | None:
    """What keeps this one module from per-example gradients."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        if module.scale_grad_by_freq:
            return "scale_grad_by_freq mixes the examples of a batch: leave it out"
        if module.max_norm is not None:
            return "max_norm changes weights as the data look them up, without noise: leave it out"
    if lstm and type(module) is nn.LSTM:
        return unsupported(module)
    validator = ModuleValidator.VALIDATORS.get(type(module))
    errors = validator(module) if validator is not None else []
    return str(errors[0]) if errors else None


def _check_parameters(model: nn.Module) -> None:
    first_name: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = first_name.setdefault(id(parameter), name)
        if known != name:
            raise PrivacyError(f"{name} is tied to {known}: give each module parameters of its own")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise PrivacyError("the model has no trainable parameter, so there is nothing to train in private")


def _check_buffers(model: nn.Module, probe: Tensor) -> None:
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        model(probe)
        for name, buffer in model.named_buffers():
            if not torch.equal(buffer, before[name]):
                buffer.copy_(before[name])
                raise PrivacyError(f"buffer {name} changes in training, which carries data past the noise: remove it")


def _check_calls(model: nn.Module, probe: Tensor) -> None:
    calls: Counter[str] = Counter()

    def counter(name: str) -> Any:
        return lambda *_: calls.update([name])

    owners = [(name, module) for name, module in model.named_modules() if _trainable(module)]
    hooks = [module.register_forward_hook(counter(name)) for name, module in owners]
    try:
        with torch.no_grad():
            model(probe)
    finally:
        for hook in hooks:
            hook.remove()
    for name, module in owners:
        if calls[name] != 1:
            raise PrivacyError(
                f"{_named(name, module)}: called {calls[name]} times in one forward pass:"
                " each module with parameters must be called exactly once"
            )


def _check_empty(model: nn.Module, probe: Tensor) -> None:
    hooks = [
        module.register_forward_pre_hook(_requires_examples_first(name))
        for name, module in model.named_modules()
        if _trainable(module) and not isinstance(module, nn.LSTM)
    ]
    try:
        with torch.no_grad():
            model(probe[:0])
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise PrivacyError(
            f"the model fails on an empty batch, which Poisson sampling may draw ({error}):"
            " for example, flatten with torch.flatten(x, 1), not x.view(len(x), -1)"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _requires_examples_first(name: str) -> Any:
    def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not all(isinstance(x, Tensor) and x.ndim and len(x) == 0 for x in inputs):
            raise PrivacyError(
                f"{_named(name, module)}: takes something whose first axis is not the examples, so that its gradients"
                " cannot be told apart: put the examples first, and expand what they share to each of them"
            )

    return check


def _check_independence(model: nn.Module, probe: Tensor) -> None:
    # By values, which also show what no derivative does: as in training, and, since dropout draws otherwise for two
    # examples than for one, with every module as in evaluation.
    modes = {module: module.training for module in model.modules()}
    for training in (True, False):
        try:
            for module in modes:  # not train(): some change their weights there
                module.training = training
            _check_values(model, probe)
        finally:
            for module, mode in modes.items():
                module.training = mode
    if not probe.is_floating_point():
        return
    for one, other in ((0, 1), (1, 0)):
        inputs = probe.clone().requires_grad_()
        with torch.enable_grad():
            output = model(inputs)
            if not isinstance(output, Tensor) or not output.requires_grad:
                return
            (gradient,) = torch.autograd.grad(output[one].sum(), inputs, allow_unused=True)
        if gradient is not None and bool((gradient[other].abs() > 0).any()):
            raise PrivacyError(_MIXED)


def _check_values(model: nn.Module, probe: Tensor) -> None:
    with torch.no_grad():
        together = model(probe)
        if not isinstance(together, Tensor):
            return
        alone = [model(probe[:1]), model(probe[1:])]
        by_row = all(own.ndim and len(own) == count for own, count in zip((together, *alone), (2, 1, 1), strict=True))
        if by_row and _same(torch.cat(alone), together):
            return
        if not _same(together, model(probe)):
            return  # it is random, and nothing can be compared
    if not by_row:
        raise PrivacyError("the model's output does not have the examples first: give one row for each of them")
    raise PrivacyError(_MIXED)


def _trainable(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters(recurse=False))


def _named(name: str, module: nn.Module) -> str:
    return f"{name or 'model'} ({type(module).__name__})"
