"""SGD as a combination of what moved the weights, against SGD itself."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from leptonic_simulations.batched.course import Course, Descent, coefficients, course


def test_plain_sgd_is_minus_the_rate_times_every_past_gradient() -> None:
    table = coefficients(Descent(rate=0.25), 3)
    expected = [[1, 0, 0, 0, 0], [1, -0.25, -0.25, 0, 0], [1, -0.5, -0.25, -0.25, 0], [1, -0.75, -0.25, -0.25, -0.25]]
    np.testing.assert_allclose(table, expected)


@given(
    rate=st.floats(0.01, 1.0),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    proximal=st.sampled_from([0.0, 0.5]),
    steps=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
def test_the_combination_is_where_sgd_arrives(
    rate: float, momentum: float, decay: float, proximal: float, steps: int, seed: int
) -> None:
    """torch's own, in float64, given gradients that were drawn beforehand."""
    random = np.random.default_rng(seed)
    start, offset, gradients = random.normal(size=4), random.normal(size=4), random.normal(size=(steps, 4))
    weights = torch.from_numpy(start.copy()).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=rate, momentum=momentum, weight_decay=decay)
    for gradient in gradients:
        drift = weights.detach().numpy() - start
        weights.grad = torch.from_numpy(gradient + proximal * drift + offset)
        optimizer.step()
    table = coefficients(Descent(rate, momentum, decay, proximal), steps)
    arrived = table[-1] @ np.stack([start, offset, *gradients])
    np.testing.assert_allclose(arrived, weights.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_only_plain_sgd_leaves_a_gradient_with_the_weight_it_had() -> None:
    def made(**scalars: float) -> Course:
        return course(Descent(0.1, **scalars), steps=3, batch=2, device=torch.device("cpu"))

    plain = made()
    assert (plain.constant, plain.shrinks) == (-0.1, False)
    assert plain.gammas.shape == (4, 6)
    assert plain.gammas[2].tolist() == [np.float32(-0.1)] * 4 + [0.0] * 2
    for other in ({"momentum": 0.9}, {"decay": 0.1}, {"proximal": 0.5}):
        assert made(**other).constant is None
    assert made(decay=0.1).shrinks
