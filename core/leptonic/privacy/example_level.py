"""DP-SGD for the client's training loop: Poisson batches in, noised gradients out, plain models around it.

    with private_training(model, optimizer, features, labels, plan=..., ...) as private:
        for x, y in private.batches():        # in micro-batches, where a batch would not fit into memory
            losses(model(x), y).sum().backward()
            private.step(correct)             # noise, mean, and the optimizer's step, after a batch's last one

Source: Abadi et al. 2016, arXiv 1607.00133, through Opacus.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from leptonic.errors import PrivacyError
from leptonic.privacy.accounting import ExamplePlan
from leptonic.privacy.compatibility import check_model, made_up
from leptonic.privacy.engine import PoissonLoader, SecureOptimizer, SecurePrivacyEngine
from leptonic.randomness import SecureStream

__all__ = ["PrivateTraining", "check_model", "private_training"]


class PrivateTraining:
    """One round's steps: one per batch, as many as planned. Made by :func:`private_training`."""

    def __init__(
        self, model: nn.Module, optimizer: SecureOptimizer, loader: PoissonLoader, *, most: int | None = None
    ) -> None:
        """most: examples of a micro-batch; None for whole batches."""
        self._model, self._optimizer, self._loader, self._most = model, optimizer, loader, most
        self._started = False
        self._pending: Tensor | None = None
        self._last = True

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The plan's steps_per_round batches, once, in micro-batches, each of which must be followed by :meth:`step`.

        Yields (n, *shape) features and (n,) labels. A batch's size varies around the plan's; an empty batch comes as
        one empty micro-batch.
        """
        if self._started:
            raise PrivacyError("a round's batches can be drawn only once: begin the next round")
        self._started = True
        for features, labels in self._loader:
            size = self._most or max(1, len(features))
            parts = list(zip(features.split(size), labels.split(size), strict=True))
            for number, (own, targets) in enumerate(parts, start=1):
                if self._pending is not None:
                    raise PrivacyError("a batch was left without step(): the accounting expects one step per batch")
                self._pending, self._last = own, number == len(parts)
                yield own, targets

    def step(self, correct: Callable[[], None] | None = None) -> None:
        """Clip the gradients of the last micro-batch; at the end of a batch noise, average, correct, and step.

        The mean's denominator is the plan's batch size, whatever the batch held. correct: may change
        ``p.grad`` in place *after* the noise; it must derive from noised models only. Momentum and weight
        decay act in the optimizer, on noised gradients, and cost no privacy. For an empty batch the gradient
        is noise alone, and the loss need not be computed. No gradient is left behind.
        """
        if self._pending is None:
            raise PrivacyError("step() without a new batch: draw batches from batches(), one step each")
        self._optimizer.expect(self._model, len(self._pending))
        self._optimizer.signal_skip_step(not self._last)
        if self._optimizer.pre_step():
            if correct is not None:
                correct()
            self._optimizer.original_optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._pending = None  # not before: a step that failed must not be followed by others


@contextmanager
def private_training(
    model: nn.Module,
    optimizer: optim.Optimizer,
    features: Tensor,
    labels: Tensor,
    *,
    plan: ExamplePlan,
    clip_norm: float,
    noise: SecureStream,
    sampling: SecureStream,
    accumulation_steps: int = 1,
    gradients: Literal["bookkeeping", "hooks"] = "bookkeeping",
) -> Iterator[PrivateTraining]:
    """Run one round of DP-SGD on ``model``, which is in training mode and is plain again afterwards.

    optimizer: a plain optimizer over all trainable parameters of the model. features: (n, *shape).
    labels: (n,). n may differ from plan.public_size; the guarantee does not depend on it. clip_norm: bound on
    each example's gradient norm. noise, sampling: secure streams of this round alone, with operating-system
    keys wherever the guarantee is to hold. accumulation_steps: micro-batches of the plan's batch size, each of which
    takes a share of the memory; their size is fixed, so that an example that joins moves no other, and a batch that
    is drawn larger has more of them. Noise and accounting are the batch's. gradients: how they are clipped;
    "hooks" makes every example's gradient with Opacus, which is slower, and keeps the same bound.
    Raises PrivacyError before any work if the model or the arguments cannot keep the guarantee.
    """
    _check_arguments(model, optimizer, features, labels, clip_norm)
    if accumulation_steps < 1:
        raise PrivacyError(f"accumulation_steps = {accumulation_steps}: a batch has at least one micro-batch")
    probe = made_up(features.shape[1:], features.dtype).to(next(model.parameters()).device)
    check_model(model, probe, lstm=gradients == "bookkeeping")
    if gradients == "hooks" and not all(t.is_contiguous() for t in (features, *model.parameters())):
        raise PrivacyError("Opacus' hooks give wrong gradients of what lies with channels last: take 'bookkeeping'")
    engine = SecurePrivacyEngine(plan=plan, noise=noise, sampling=sampling)
    try:
        hooks, private_optimizer, loader = engine.make_private(
            module=model,
            optimizer=optimizer,
            data_loader=DataLoader(TensorDataset(features, labels)),
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=clip_norm,
            grad_sample_mode=gradients,
            loss_reduction="sum",
            wrap_model=False,
        )
        try:
            yield PrivateTraining(model, private_optimizer, loader, most=plan.micro_batch(accumulation_steps))
        finally:
            hooks.cleanup()
    finally:
        _make_plain(model)


def _check_arguments(
    model: nn.Module, optimizer: optim.Optimizer, features: Tensor, labels: Tensor, clip_norm: float
) -> None:
    if not 1e-6 <= clip_norm <= 1e6:
        raise PrivacyError(f"privacy.clip_norm = {clip_norm:g} is outside 1e-6 .. 1e6, where float32 keeps the bound")
    if len(features) != len(labels):
        raise PrivacyError(f"{len(features)} rows of features but {len(labels)} labels")
    if not model.training:
        raise PrivacyError("the model is not in training mode: call model.train() first")
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in stepped:
            raise PrivacyError(f"{name} is trainable, but the optimizer does not have it: freeze it or add it")


def _make_plain(model: nn.Module) -> None:
    """Remove what Opacus' own clean-up leaves: sums and raw gradients, and inputs captured on modules."""
    for parameter in model.parameters():
        parameter.grad = None
        for name in ("grad_sample", "summed_grad"):
            if hasattr(parameter, name):
                delattr(parameter, name)
    for module in model.modules():
        for name in ("activations", "max_batch_len"):
            if hasattr(module, name):
                delattr(module, name)
