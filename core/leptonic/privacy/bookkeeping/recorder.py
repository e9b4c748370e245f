"""Watches a whole model through one forward and one backward pass, and sums its examples' clipped gradients.

Made by :class:`leptonic.privacy.engine.SecurePrivacyEngine`, asked by its optimizer. Stands where Opacus has its
hooks. Source: Bu et al. 2022, arXiv 2210.00038.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.samples import Samples
from leptonic.privacy.bookkeeping.scratch import Scratch
from leptonic.privacy.bookkeeping.watching import Switch, Watch, watch
from leptonic.privacy.clipping import factors_for

__all__ = ["Recorder", "bounded_sums"]


class Recorder:
    """Over all modules with trainable parameters, until :meth:`cleanup`. The model has passed check_model."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._scratch = Scratch()
        switch = Switch()
        self._watches: list[tuple[str, nn.Module, Watch]] = []
        for parameter in model.parameters():
            parameter.grad = None
        for name, module in model.named_modules():
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
                self._watches.append((name, module, watch(module, switch)))

    def forbid_grad_accumulation(self) -> None:
        """Asked for by Opacus; gradients of several batches are never accumulated here."""

    def cleanup(self) -> None:
        """Leave the model as it was."""
        for _, _, watched in self._watches:
            watched.remove()
        self._watches = []

    def expect(self, examples: int) -> None:
        """Raise PrivacyError, naming the parameter, unless every module shows the gradients of so many examples."""
        for name, module, watched in self._watches if examples else []:
            if watched.calls > 1:
                raise PrivacyError(
                    f"{name or 'model'} ({type(module).__name__}): called {watched.calls} times before step():"
                    " call each module once per batch, and anything else under torch.no_grad()"
                )
            if watched.examples() != examples:
                raise PrivacyError(
                    f"{self._first_parameter(name, module)} has no gradient for each example of the batch: call"
                    " backward() once per batch, on a loss that this parameter reaches through its module"
                )
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                raise PrivacyError(
                    f"{name} is used outside its module's call, where its gradient cannot be clipped:"
                    " call the module, and keep penalties out of the loss"
                )

    def clipped_sums(self, examples: int, clip_norm: float) -> dict[nn.Parameter, Tensor]:
        """The sum over examples of gradients clipped to clip_norm, as :func:`leptonic.privacy.clipping.clipped_sums`.

        examples: of the last batch, 0 if nothing was run. The backward pass was that of the sum of their losses.
        Returns sums by parameter, float64 or as precise as if they were, and forgets the batch.
        """
        self.expect(examples)
        try:
            with torch.no_grad():
                return self._sums(clip_norm) if examples else self._nothing()
        finally:
            self.reset()

    def reset(self) -> None:
        """Forget the batch."""
        for _, _, watched in self._watches:
            watched.reset()

    def _sums(self, clip_norm: float) -> dict[nn.Parameter, Tensor]:
        owners: list[nn.Module] = []
        samples: list[Samples] = []
        for _, module, watched in self._watches:
            found = watched.samples(self._scratch)
            owners += [module] * len(found)
            samples += found
        parts = bounded_sums(samples, clip_norm)
        return {
            module.get_parameter(name): total
            for module, part in zip(owners, parts, strict=True)
            for name, total in part.items()
        }

    def _nothing(self) -> dict[nn.Parameter, Tensor]:
        trainable = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        return {parameter: torch.zeros_like(parameter, dtype=torch.float64) for parameter in trainable}

    @staticmethod
    def _first_parameter(name: str, module: nn.Module) -> str:
        own = next(own for own, p in module.named_parameters(recurse=False) if p.requires_grad)
        return f"{name}.{own}" if name else own


def bounded_sums(samples: Sequence[Samples], clip_norm: float) -> list[dict[str, Tensor]]:
    """sum_i f_i g_i, where f_i makes the norm of f_i g_i at most clip_norm (1 - 1e-4), and is at most 1.

    samples: of all modules, over the same examples. g_i: the whole gradient of example i. An example whose norm
    is not finite adds exactly zero. Returns the sums of each of the samples, by parameter.

    One example moves the result by at most clip_norm: its own part has norm at most clip_norm (1 - 1e-4), give
    or take what float32 rounds in making it (1e-5), and the other examples' sums are rounded anew
    when it joins, which :mod:`leptonic.privacy.bookkeeping.products` keeps below the rest of the slack. The g_i
    themselves must not change when it joins: hence they are of a sum of losses. In a mean's, each would be rounded
    otherwise for another number of examples, and equal ones alike, which for thousands of them is above the slack.
    """
    squares = torch.stack([part.squares() for part in samples]).sum(dim=0)
    weights = factors_for(squares, clip_norm)
    return [part.sums(weights) for part in samples]
