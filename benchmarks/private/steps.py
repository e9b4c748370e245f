"""One training step in each of the ways that are compared, ready to be repeated on one batch."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from opacus import PrivacyEngine
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from leptonic.privacy.accounting import ExamplePlan
from leptonic.privacy.bookkeeping.recorder import Recorder
from leptonic.privacy.engine import SecurePrivacyEngine
from leptonic.privacy.example_level import private_training
from leptonic.randomness import SecureStream
from private.workloads import Workload

Step = Callable[[], object]
CLIP_NORM = 0.3
BATCH = 256
RATE = 1e-3


def plain(model: nn.Module, features: Tensor, labels: Tensor, *, whole: bool) -> Step:
    """No privacy. whole: with the optimiser's step."""
    optimizer = optim.SGD(model.parameters(), lr=RATE, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(features), labels).backward()
        if whole:
            optimizer.step()

    return step


def clipped_gradients(model: nn.Module, features: Tensor, labels: Tensor) -> Step:
    """Ours, clipped sums alone."""
    recorder = Recorder(model)

    def step() -> dict[nn.Parameter, Tensor]:
        F.cross_entropy(model(features), labels, reduction="sum").backward()
        return recorder.clipped_sums(len(features), CLIP_NORM)

    return step


def ours(model: nn.Module, features: Tensor, labels: Tensor) -> Step:
    """Ours as it ships: clipped, with secure noise, the optimiser's step and the accountant."""
    engine = SecurePrivacyEngine(plan=_plan(len(features)), noise=SecureStream(), sampling=SecureStream())
    _, optimizer, _ = engine.make_private(
        module=model,
        optimizer=optim.SGD(model.parameters(), lr=RATE, fused=True),
        data_loader=DataLoader(TensorDataset(features, labels)),
        noise_multiplier=1.0,
        max_grad_norm=CLIP_NORM,
        grad_sample_mode="bookkeeping",
        loss_reduction="sum",
        wrap_model=False,
    )

    def step() -> None:
        F.cross_entropy(model(features), labels, reduction="sum").backward()
        optimizer.expect(model, len(features))
        optimizer.pre_step()
        optimizer.original_optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def large_batch(model: nn.Module, features: Tensor, labels: Tensor, *, accumulation_steps: int) -> None:
    """Ours, one step of a logical batch of all these examples, in so many micro-batches."""
    count = len(features)
    plan = replace(_plan(count), sample_rate=1.0, public_size=count)
    optimizer = optim.SGD(model.parameters(), lr=RATE, fused=True)
    with private_training(
        model,
        optimizer,
        features,
        labels,
        plan=plan,
        clip_norm=CLIP_NORM,
        noise=SecureStream(),
        sampling=SecureStream(),
        accumulation_steps=accumulation_steps,
    ) as private:
        for own, targets in private.batches():
            F.cross_entropy(model(own), targets, reduction="sum").backward()
            private.step()


def opacus(model: nn.Module, features: Tensor, labels: Tensor, *, mode: str) -> Step:
    """Opacus as it comes, its noise from torch's generator. mode: hooks, functorch or ghost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped, optimizer, *rest = PrivacyEngine().make_private(
            module=model,
            optimizer=optim.SGD(model.parameters(), lr=RATE, fused=True),
            data_loader=DataLoader(TensorDataset(features, labels), batch_size=len(features)),
            criterion=nn.CrossEntropyLoss(),
            noise_multiplier=1.0,
            max_grad_norm=CLIP_NORM,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
    criterion = rest[0] if mode == "ghost" else nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(wrapped(features), labels).backward()
        optimizer.step()

    return step


def _plan(batch_size: int) -> ExamplePlan:
    return ExamplePlan(
        noise_multiplier=1.0,
        sample_rate=0.01,
        steps_per_round=1,
        releases=1,
        batch_size=batch_size,
        public_size=100 * batch_size,
        delta=1e-6,
        target_epsilon=8.0,
    )


def batch_of(workload: Workload) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return workload.features(BATCH), torch.randint(0, 10, (BATCH,))


def distance(model: nn.Module, features: Tensor, labels: Tensor) -> float:
    """How far our clipped sum is from that of per-example gradients, by the norm of the latter."""
    twin = copy.deepcopy(model).double()
    sums = clipped_gradients(model, features, labels)()
    assert isinstance(sums, dict)
    wide = features.double() if features.is_floating_point() else features
    exact = [torch.zeros_like(p) for p in twin.parameters()]
    for x, y in zip(wide, labels, strict=True):
        own = torch.autograd.grad(F.cross_entropy(twin(x[None]), y[None]), list(twin.parameters()))
        norm = torch.stack([g.norm() for g in own]).norm()
        for total, gradient in zip(exact, own, strict=True):
            total += gradient * (CLIP_NORM * (1 - 1e-4) / norm).clamp(max=1.0)
    apart = torch.stack([(sums[p] - e).norm() for p, e in zip(model.parameters(), exact, strict=True)]).norm()
    return float(apart / torch.stack([e.norm() for e in exact]).norm())
