"""The schedule against its closed forms and against torch's schedulers."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch

from leptonic.errors import RunError
from leptonic.experiment import Schedule, Training
from leptonic.schedule import learning_rate

RATE = 0.2


def rates(rounds: int = 30, **schedule: Any) -> list[float]:
    training = Training(rounds=rounds, learning_rate=RATE, schedule=Schedule(**schedule))
    return [learning_rate(training, number) for number in range(rounds)]


def torch_rates(make: Callable[[torch.optim.SGD], Any], rounds: int = 30) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make(optimizer)
    collected = []
    for _ in range(rounds):
        collected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return collected


def test_constant_is_constant() -> None:
    assert rates(kind="constant") == [RATE] * 30


def test_cosine_matches_torch() -> None:
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=29, eta_min=0.1 * RATE))
    assert rates(kind="cosine", floor=0.1) == pytest.approx(expected, rel=1e-9)


def test_cosine_begins_at_the_rate_and_ends_at_the_floor() -> None:
    got = rates(rounds=5, kind="cosine", floor=0.25)
    assert got[0] == RATE
    assert got[2] == pytest.approx(RATE * 0.625)
    assert got[4] == pytest.approx(RATE * 0.25)
    assert rates(rounds=11, kind="cosine")[-1] == pytest.approx(0.0, abs=1e-15)


def test_a_cosine_of_one_round_trains_at_the_rate() -> None:
    assert rates(rounds=1, kind="cosine") == [RATE]


def test_step_matches_torch() -> None:
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=7, gamma=0.3))
    assert rates(kind="step", every=7, factor=0.3) == pytest.approx(expected, rel=1e-12)


def test_exponential_matches_torch() -> None:
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.9))
    assert rates(kind="exponential", factor=0.9) == pytest.approx(expected, rel=1e-12)


def test_warm_up_matches_torch() -> None:
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1 / 5, end_factor=1.0, total_iters=4)
    )
    assert rates(warmup_rounds=4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["constant", "cosine", "step", "exponential"])
def test_the_decay_begins_after_the_warm_up(
    kind: Literal["constant", "cosine", "step", "exponential"],
) -> None:
    decay: dict[str, Any] = {"kind": kind, "every": 3, "factor": 0.5, "floor": 0.1}
    warm = rates(rounds=24, warmup_rounds=4, **decay)
    assert warm[:4] == pytest.approx([RATE * part / 5 for part in (1, 2, 3, 4)])
    assert warm[4:] == rates(rounds=20, **decay)


def test_closed_forms() -> None:
    assert rates(kind="step", every=10, factor=0.5)[29] == RATE * 0.25
    assert rates(kind="exponential", factor=0.5)[3] == RATE * 0.125
    assert rates(kind="cosine", rounds=4)[1] == pytest.approx(RATE * (1 + math.cos(math.pi / 3)) / 2)


@pytest.mark.parametrize("number", [-1, 10])
def test_other_rounds_have_no_rate(number: int) -> None:
    with pytest.raises(RunError, match=r"training\.rounds = 10"):
        learning_rate(Training(rounds=10), number)
