import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from leptonic.errors import PrivacyError
from leptonic.privacy.accounting import ExamplePlan, epsilon_spent
from leptonic.privacy.engine import PoissonLoader, SecureOptimizer, SecurePrivacyEngine
from leptonic.randomness import SecureStream

torch.set_num_threads(1)


def planned(*, size: int, batch: int, steps: int = 1, noise: float = 1.0, releases: int = 4) -> ExamplePlan:
    return ExamplePlan(
        noise_multiplier=noise,
        sample_rate=batch / size,
        steps_per_round=steps,
        releases=releases,
        batch_size=batch,
        public_size=size,
        delta=1e-4,
        target_epsilon=8.0,
    )


class Mixed(nn.Module):
    """Convolution, both kinds of normalisation, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.group_norm = nn.GroupNorm(2, 4)
        self.hidden = nn.Linear(4 * 16, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.output = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.group_norm(self.convolution(x)))
        return self.output(torch.relu(self.layer_norm(self.hidden(torch.flatten(x, 1)))))


def examples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, 1, 4, 4), generator=generator), torch.randint(0, 3, (count,), generator=generator)


def private(
    model: nn.Module,
    features: Tensor,
    labels: Tensor,
    plan: ExamplePlan,
    *,
    clip_norm: float = 1.0,
    key: int = 0,
    gradients: str = "hooks",
) -> tuple[Any, SecureOptimizer, PoissonLoader]:
    engine = SecurePrivacyEngine(plan=plan, noise=SecureStream(bytes([key] * 32)), sampling=SecureStream())
    return engine.make_private(  # type: ignore[no-any-return]
        module=model,
        optimizer=optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(features, labels)),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=clip_norm,
        grad_sample_mode=gradients,
        loss_reduction="sum",
        wrap_model=False,
    )


def clipped_sum(
    model: nn.Module, features: Tensor, labels: Tensor, clip_norm: float, gradients: str, *, size: int = 1000
) -> Tensor:
    """What the noise is added to, with every example in the batch (rate 1), in micro-batches of this size."""
    hooks, optimizer, loader = private(
        model, features, labels, planned(size=8, batch=8), clip_norm=clip_norm, gradients=gradients
    )
    try:
        (batch,) = loader
        assert len(batch[0]) == len(features)
        for own, targets in zip(batch[0].split(size), batch[1].split(size), strict=True):
            F.cross_entropy(model(own), targets, reduction="sum").backward()
            optimizer.expect(model, len(own))
            optimizer.signal_skip_step()
            assert not optimizer.pre_step()
            optimizer.zero_grad(set_to_none=True)
        return torch.cat([p.summed_grad.flatten() for p in model.parameters()])  # type: ignore[attr-defined]
    finally:
        hooks.cleanup()
        for parameter in model.parameters():
            parameter.summed_grad = None  # type: ignore[attr-defined]


@pytest.mark.parametrize("gradients", ["hooks", "bookkeeping"])
@pytest.mark.parametrize("clip_norm", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("aim", ["plain", "huge", "tiny", "infinite", "nan", "dead"])
@pytest.mark.parametrize(("count", "size"), [(1, 1000), (16, 1000), (200, 1000), (200, 33)])
def test_one_example_moves_the_clipped_sum_by_at_most_the_clipping_norm(
    clip_norm: float, aim: str, count: int, size: int, gradients: str
) -> None:
    torch.manual_seed(1)
    model = Mixed()
    features, labels = examples(count)
    newcomer, label = examples(1, seed=9)
    match aim:
        case "huge":
            newcomer *= 1e18
        case "tiny":
            newcomer *= 1e-18
        case "infinite":
            newcomer[0, 0, 1, 1] = math.inf
        case "nan":
            newcomer[:] = math.nan
        case "dead":
            newcomer[:] = 0.0
    without = clipped_sum(model, features, labels, clip_norm, gradients, size=size)
    features, labels = torch.cat([newcomer, features]), torch.cat([label, labels])
    joined = clipped_sum(model, features, labels, clip_norm, gradients, size=size)
    assert torch.isfinite(joined).all()
    assert float((joined - without).norm()) <= clip_norm


@pytest.mark.parametrize("gradients", ["hooks", "bookkeeping"])
@pytest.mark.parametrize("size", [10_000, 300])
def test_thousands_of_equal_examples_do_not_move_as_one_when_another_joins(size: int, gradients: str) -> None:
    # Of a mean's gradients each would be rounded to 2^-24 otherwise than before, and all alike: 7e-4 clips for 4096.
    for seed in range(3):
        torch.manual_seed(seed)
        model = Mixed()
        features, labels = examples(1, seed=seed)
        features, labels = features.repeat(4096, 1, 1, 1), labels.repeat(4096)
        without = clipped_sum(model, features, labels, 0.05, gradients, size=size)
        features, labels = torch.cat([features[:1], features]), torch.cat([labels[:1], labels])
        joined = clipped_sum(model, features, labels, 0.05, gradients, size=size)
        assert float((joined - without).norm()) <= 0.05


@pytest.mark.parametrize("gradients", ["hooks", "bookkeeping"])
@pytest.mark.parametrize("layer", ["convolution", "group_norm", "hidden", "layer_norm", "output"])
def test_an_outlier_aimed_at_one_layer_keeps_the_bound(layer: str, gradients: str) -> None:
    torch.manual_seed(2)
    model = Mixed()
    # A layer whose output is scaled a million times dominates the gradients of what lies before it.
    with torch.no_grad():
        for parameter in model.get_submodule(layer).parameters():
            parameter.mul_(1e6)
    features, labels = examples(30)
    newcomer, label = examples(1, seed=5)
    without = clipped_sum(model, features, labels, 1.0, gradients)
    joined = clipped_sum(model, torch.cat([features, 100 * newcomer]), torch.cat([labels, label]), 1.0, gradients)
    assert float((joined - without).norm()) <= 1.0


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("gradients", ["hooks", "functorch", "bookkeeping"])
def test_the_clipped_sum_against_one_example_at_a_time(gradients: str, size: int) -> None:
    torch.manual_seed(3)
    model = Mixed()
    features, labels = examples(12)
    expected = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for x, y in zip(features, labels, strict=True):
        own = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
        flat = torch.cat([g.flatten() for g in own]).double()
        expected += flat * min(1.0, 0.5 * (1 - 1e-4) / float(flat.norm()))
    assert torch.allclose(clipped_sum(model, features, labels, 0.5, gradients, size=size), expected, atol=1e-6)


def noised(model: nn.Module, plan: ExamplePlan, *, clip_norm: float, key: int = 0) -> np.ndarray[Any, Any]:
    """The noised sum of no examples at all."""
    hooks, optimizer, _ = private(model, *examples(4), plan, clip_norm=clip_norm, key=key)
    for parameter in model.parameters():
        parameter.summed_grad = torch.zeros_like(parameter)  # type: ignore[attr-defined]
    optimizer.add_noise()
    hooks.cleanup()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy()


@pytest.mark.parametrize(("multiplier", "clip_norm"), [(1.0, 1.0), (2.5, 0.1), (0.4, 7.0)])
def test_noise_has_the_declared_deviation(multiplier: float, clip_norm: float) -> None:
    model = nn.Linear(300, 200)
    noise = noised(model, planned(size=8, batch=4, noise=multiplier), clip_norm=clip_norm)
    scaled = noise / (multiplier * clip_norm)
    low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], df=scaled.size)
    assert low < float((scaled.astype(float) ** 2).sum()) < high
    assert stats.kstest(scaled, "norm").pvalue > 1e-4


def test_noised_sums_lie_on_a_lattice_that_ignores_the_data() -> None:
    noise = noised(nn.Linear(50, 50), planned(size=8, batch=4, noise=1.0), clip_norm=1.0).astype(float)
    assert np.array_equal(noise * 2.0**20, np.rint(noise * 2.0**20))
    assert not np.array_equal(noise * 2.0**12, np.rint(noise * 2.0**12))


def test_noise_comes_from_the_stream_alone() -> None:
    model, plan = nn.Linear(5, 5), planned(size=8, batch=4)
    draws = []
    for key in (1, 1, 2):
        torch.manual_seed(0)  # two clients with the experiment's one seed
        draws.append(noised(model, plan, clip_norm=1.0, key=key))
    assert np.array_equal(draws[0], draws[1])
    assert not np.any(draws[0] == draws[2])


@pytest.mark.parametrize(("size", "batch", "steps"), [(997, 64, 16), (1000, 3, 333), (10, 10, 1), (7, 2, 4)])
def test_the_loader_keeps_the_plan(size: int, batch: int, steps: int) -> None:
    features = torch.arange(size * 1.0)
    plan = planned(size=size, batch=batch, steps=steps)
    model = nn.Linear(1, 1)
    hooks, optimizer, loader = private(model, features, features, plan)
    hooks.cleanup()
    drawn = [x for x, _ in loader]
    assert len(drawn) == len(loader) == steps
    assert loader.sample_rate == batch / size
    assert optimizer.expected_batch_size == batch
    assert all(bool((x[1:] > x[:-1]).all()) for x in drawn)  # each row at most once


def test_inclusion_is_binomial_and_independent_of_the_declared_size() -> None:
    rows, steps = 400, 500
    plan = planned(size=1000, batch=70, steps=steps)  # rate 0.07, and fewer rows at hand than declared
    dataset = TensorDataset(torch.arange(rows))
    counts = np.zeros(rows)
    sizes = []
    for (chosen,) in PoissonLoader(dataset, plan=plan, stream=SecureStream(b"s" * 32)):
        counts[chosen.numpy()] += 1
        sizes.append(len(chosen))
    low, high = stats.binom.ppf([1e-4 / rows, 1 - 1e-4 / rows], steps, 0.07)
    assert counts.min() >= low
    assert counts.max() <= high
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], rows * steps, 0.07)
    assert low <= sum(sizes) <= high
    assert np.var(sizes) == pytest.approx(rows * 0.07 * 0.93, rel=0.35)  # Poisson batches vary in size


def test_no_rows_give_empty_batches_of_the_right_shape() -> None:
    dataset = TensorDataset(torch.empty((0, 1, 4, 4)), torch.empty(0, dtype=torch.long))
    batches = list(PoissonLoader(dataset, plan=planned(size=10, batch=2, steps=3), stream=SecureStream()))
    assert [tuple(x.shape) for x, _ in batches] == [(0, 1, 4, 4)] * 3


@pytest.mark.parametrize("gradients", ["hooks", "bookkeeping"])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_the_accountant_over_rounds_equals_the_plan(micro_batches: int, gradients: str) -> None:
    plan = planned(size=40, batch=8, steps=7)  # Opacus would take 1/7 for the rate
    engine = SecurePrivacyEngine(plan=plan, noise=SecureStream(), sampling=SecureStream())
    model = Mixed()
    loader = DataLoader(TensorDataset(*examples(40)))
    for _ in range(3):
        hooks, optimizer, batches = engine.make_private(
            module=model,
            optimizer=optim.SGD(model.parameters(), lr=0.1),
            data_loader=loader,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=1.0,
            grad_sample_mode=gradients,
            loss_reduction="sum",
            wrap_model=False,
        )
        for x, y in batches:
            for number in reversed(range(micro_batches)):
                F.cross_entropy(model(x), y, reduction="sum").backward()
                optimizer.expect(model, len(x))
                optimizer.signal_skip_step(number > 0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        hooks.cleanup()
    assert engine.accountant.history == [(1.0, 0.2, 21)]
    assert engine.get_epsilon(plan.delta) == pytest.approx(epsilon_spent(plan, 3), abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.5},
        {"poisson_sampling": False},
        {"clipping": "per_layer"},
        {"clipping": "adaptive"},
        {"grad_sample_mode": "ghost"},
        {"grad_sample_mode": "ew"},
        {"loss_reduction": "mean"},
    ],
)
def test_what_is_not_secured_is_refused(change: dict[str, Any]) -> None:
    plan, model = planned(size=8, batch=4), nn.Linear(2, 2)
    arguments = {
        "module": model,
        "optimizer": optim.SGD(model.parameters(), lr=0.1),
        "data_loader": DataLoader(TensorDataset(torch.ones(4, 2))),
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "loss_reduction": "sum",
        "wrap_model": False,
        **change,
    }
    engine = SecurePrivacyEngine(plan=plan, noise=SecureStream(), sampling=SecureStream())
    with pytest.raises(PrivacyError, match="make_private"):
        engine.make_private(**arguments)
