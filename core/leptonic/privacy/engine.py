"""Opacus with noise and batches from the operating system's randomness, and a bound that holds.

Opacus 1.6 draws both from torch's global generator (the same seed on two clients gives identical noise),
takes 1/len(loader) for the sample rate, and lets one infinite example make every parameter NaN. This engine
keeps Opacus' interfaces (per-example gradients, optimizer, loader, accountant) and replaces those three.
Beside Opacus' own ways to per-example gradients there is one more, "bookkeeping", which makes few of them.
Called by :mod:`leptonic.privacy.example_level`. Source: Abadi et al. 2016, arXiv 1607.00133.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.accountants import create_accountant
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from leptonic.errors import PrivacyError
from leptonic.privacy.accounting import ExamplePlan
from leptonic.privacy.bookkeeping.recorder import Recorder
from leptonic.privacy.clipping import clipped_sums, wide
from leptonic.privacy.noise import noised
from leptonic.randomness import SecureStream

__all__ = ["SecurePrivacyEngine", "SecureOptimizer", "BookkeepingOptimizer", "PoissonLoader", "PoissonSampler"]


_SECURED = ("hooks", "functorch", "bookkeeping")
"""Ways to the clipped sum that keep the bound; Opacus' ghost clipping does not."""


class SecurePrivacyEngine(PrivacyEngine):  # type: ignore[misc]
    """Opacus' engine for one plan, with the PRV accountant.

    noise and sampling: secure streams, used by this engine alone. make_private takes the plan's noise
    multiplier, ``poisson_sampling`` on, flat clipping, a loader over a TensorDataset, loss_reduction "sum", and for
    grad_sample_mode "hooks", "functorch" or "bookkeeping", the last without wrapping the model.
    """

    def __init__(self, *, plan: ExamplePlan, noise: SecureStream, sampling: SecureStream) -> None:
        # Not super().__init__(): it warns of an insecure generator, which is not used here.
        self.accountant = create_accountant(mechanism="prv")
        self.secure_mode = False
        self.secure_rng = None
        self.dataset = None
        self.plan = plan
        self._noise = noise
        self._sampling = sampling
        self._recorder: Recorder | None = None

    def make_private(self, **arguments: Any) -> Any:
        """As Opacus' make_private. Returns (hooks or module, SecureOptimizer, PoissonLoader)."""
        if arguments.get("noise_multiplier") != self.plan.noise_multiplier:
            raise PrivacyError("make_private: noise_multiplier must be the plan's, on which the accounting rests")
        model, optimizer, loader = super().make_private(**arguments)
        # Opacus has attached a hook that accounts for a sample rate of 1/len(loader).
        optimizer.attach_step_hook(self.accountant.get_optimizer_hook_fn(sample_rate=self.plan.sample_rate))
        return model, optimizer, loader

    def _prepare_model(self, module: nn.Module, *, grad_sample_mode: str = "hooks", **arguments: Any) -> Any:
        if grad_sample_mode not in _SECURED:
            raise PrivacyError(f"make_private: only {', '.join(_SECURED)} are secured, not {grad_sample_mode}")
        if grad_sample_mode != "bookkeeping":
            return super()._prepare_model(module, grad_sample_mode=grad_sample_mode, **arguments)
        if arguments.get("wrap_model", True):
            raise PrivacyError("make_private: bookkeeping takes the model as it is: say wrap_model=False")
        self._recorder = Recorder(module)
        return self._recorder

    def _prepare_optimizer(self, *, optimizer: torch.optim.Optimizer, **arguments: Any) -> "SecureOptimizer":
        if arguments.get("clipping", "flat") != "flat" or arguments.get("distributed", False):
            raise PrivacyError("make_private: only flat clipping, not distributed, is secured")
        if arguments.get("loss_reduction", "mean") != "sum":
            raise PrivacyError(
                "make_private: say loss_reduction='sum', and run backward() on the sum of the losses: in a mean's"
                " gradients every example's is rounded anew when another joins"
            )
        plain = getattr(optimizer, "original_optimizer", optimizer)
        settings = {
            "stream": self._noise,
            "noise_multiplier": self.plan.noise_multiplier,
            "max_grad_norm": arguments["max_grad_norm"],
            "expected_batch_size": self.plan.batch_size,
            "loss_reduction": "sum",
        }
        if arguments.get("grad_sample_mode") == "bookkeeping":
            assert self._recorder is not None
            return BookkeepingOptimizer(plain, recorder=self._recorder, **settings)
        return SecureOptimizer(plain, **settings)

    def _prepare_data_loader(
        self, data_loader: DataLoader[Any], *, poisson_sampling: bool, **_: Any
    ) -> "PoissonLoader":
        dataset = data_loader.dataset
        if not poisson_sampling or not isinstance(dataset, TensorDataset):
            raise PrivacyError("make_private: needs poisson_sampling and a loader over a TensorDataset")
        return PoissonLoader(dataset, plan=self.plan, stream=self._sampling)


class SecureOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimizer with a bound that holds for any example, and noise from a secure stream."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, stream: SecureStream, **arguments: Any) -> None:
        super().__init__(optimizer, **arguments)
        self._stream = stream

    def expect(self, model: nn.Module, examples: int) -> None:
        """Raise PrivacyError, naming the parameter, unless each of so many examples has shown its gradients.

        For an empty batch they need not have been computed.
        """
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if examples == 0:
                empty = parameter.new_zeros((0, *parameter.shape))
                parameter.grad_sample = empty  # type: ignore[attr-defined]
            found = parameter.grad_sample  # type: ignore[attr-defined]
            if not isinstance(found, Tensor) or len(found) != examples:
                raise PrivacyError(
                    f"{name} has no gradient for each example of the batch: call backward() once per"
                    " batch, on a loss that this parameter reaches through its module"
                )

    def clip_and_accumulate(self) -> None:
        """Add the clipped gradients into ``p.summed_grad``, which one example moves by at most the bound."""
        for parameter in self.params:
            _check_processed_flag(parameter.grad_sample)
        for parameter, total in zip(self.params, clipped_sums(self.grad_samples, self.max_grad_norm), strict=True):
            parameter.summed_grad = total if parameter.summed_grad is None else parameter.summed_grad + total
            _mark_as_processed(parameter.grad_sample)

    def add_noise(self) -> None:
        """Add N(0, (noise_multiplier * max_grad_norm)^2) to ``p.summed_grad``, into ``p.grad``."""
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            _check_processed_flag(parameter.summed_grad)
        sums = noised([parameter.summed_grad for parameter in self.params], deviation, self._stream)
        for parameter, total in zip(self.params, sums, strict=True):
            # As the parameter lies in memory: a fused optimizer takes their entries in the order in which they lie.
            alike = total.device == parameter.device and total.dtype == parameter.dtype and parameter.is_contiguous()
            parameter.grad = total if alike else torch.empty_like(parameter).copy_(total)
            _mark_as_processed(parameter.summed_grad)

    def scale_grad(self) -> None:
        """Make the noised sum a mean, over the plan's batch size whatever the batch held."""
        for parameter in self.params:
            parameter.grad /= self.expected_batch_size


class BookkeepingOptimizer(SecureOptimizer):
    """The same steps from a :class:`Recorder`'s clipped sums, without per-example gradients of whole models."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, recorder: Recorder, **arguments: Any) -> None:
        super().__init__(optimizer, **arguments)
        self._recorder = recorder
        self._examples: int | None = None

    @property
    def accumulated_iterations(self) -> int:
        """One: the micro-batches of a batch have been summed before anything is counted."""
        return 1

    def expect(self, model: nn.Module, examples: int) -> None:
        """As :meth:`SecureOptimizer.expect`; required before each step."""
        self._recorder.expect(examples)
        self._examples = examples

    def clip_and_accumulate(self) -> None:
        """Add the clipped sums into ``p.summed_grad``."""
        if self._examples is None:
            raise PrivacyError("bookkeeping: tell the number of examples with expect() before each step")
        sums = self._recorder.clipped_sums(self._examples, self.max_grad_norm)
        self._examples = None
        for parameter in self.params:
            before, total = parameter.summed_grad, sums[parameter]
            parameter.summed_grad = total if before is None else before.to(wide(before)).add_(total)

    def pre_step(self, closure: Any = None) -> bool:
        """Clip; unless the step is to be skipped, since the batch goes on, also add noise, average, and account.

        Returns whether the plain optimizer's step may follow.
        """
        self.clip_and_accumulate()
        self._is_last_step_skipped = self._check_skip_next_step()
        if self._is_last_step_skipped:
            return False
        self.add_noise()
        self.scale_grad()
        if self.step_hook:
            self.step_hook(self)
        return True


class PoissonSampler(Sampler[list[int]]):
    """``steps`` batches, each with every row independently with probability ``sample_rate``; may be empty."""

    def __init__(self, rows: int, *, sample_rate: float, steps: int, stream: SecureStream) -> None:
        self.rows, self.sample_rate, self.steps, self._stream = rows, sample_rate, steps, stream

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            yield np.flatnonzero(self._stream.uniform(self.rows) < self.sample_rate).tolist()


class PoissonLoader(DataLoader[tuple[Tensor, ...]]):
    """A round's batches, gathered afresh: exactly plan.steps_per_round, at exactly plan.sample_rate.

    The rows at hand may be more or fewer than the plan's public size; nothing but the rows of a batch
    depends on their number.
    """

    def __init__(self, dataset: TensorDataset, *, plan: ExamplePlan, stream: SecureStream) -> None:
        self.sample_rate = plan.sample_rate
        super().__init__(
            _Rows(*dataset.tensors),
            batch_sampler=PoissonSampler(
                len(dataset), sample_rate=plan.sample_rate, steps=plan.steps_per_round, stream=stream
            ),
            collate_fn=_gathered,
            generator=torch.Generator(),  # else each pass draws a worker seed from torch's global generator
        )


class _Rows(TensorDataset):
    """Gathers a whole batch at once, which also gives an empty batch its shape."""

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, ...]:
        index = torch.tensor(rows, dtype=torch.long)
        return tuple(tensor[index] for tensor in self.tensors)


def _gathered(batch: Any) -> Any:
    return batch
