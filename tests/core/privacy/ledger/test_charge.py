"""What a charge costs a unit: closed forms of the Gaussian, doubled sensitivity, and no bound where there is none."""

import math

import numpy as np
import pytest
from tests.core.privacy.ledger.samples import DISCRETE, GAUSSIAN, SKELLAM, STEP, UNPROTECTED

from leptonic.errors import PrivacyError
from leptonic.privacy.ledger import Cost
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.privacy.renyi import ORDERS


def test_a_gaussian_costs_its_closed_form() -> None:
    assert np.allclose(GAUSSIAN.curve.values, ORDERS / (2 * 2.0**2))


def test_a_clients_charge_bounds_its_examples_at_doubled_sensitivity() -> None:
    """R(a) = a / (2 z^2) with z halved: four times as much, since another example moves the update across the ball."""
    assert np.allclose(GAUSSIAN.curve_for("example").values, 4 * np.array(GAUSSIAN.curve_for("client").values))


@pytest.mark.parametrize("cost", [SKELLAM, DISCRETE])
def test_doubling_costs_four_times_the_gaussian_part_at_least(cost: Cost) -> None:
    single, doubled = (np.array(cost.curve_for(unit).values) for unit in ("client", "example"))  # type: ignore[arg-type]
    assert (doubled >= 3.9 * single).all()


def test_a_charge_for_examples_bounds_no_client() -> None:
    assert math.isinf(STEP.curve_for("client").epsilon(1e-5))
    assert STEP.curve_for("example") == STEP.curve


def test_what_has_no_privacy_is_bounded_for_nobody() -> None:
    assert all(math.isinf(UNPROTECTED.curve_for(unit).epsilon(1e-5)) for unit in ("example", "client"))  # type: ignore[arg-type]


def test_sampled_clients_have_no_bound_for_examples() -> None:
    """Poisson sampling is accounted for adding or removing a unit, and an example replaces a client's update."""
    sampled = Cost(SampledGaussian(2.0, 0.1), 1, unit="client", adjacency="add_remove")
    assert math.isinf(sampled.curve_for("example").epsilon(1e-5))
    assert math.isfinite(sampled.curve.epsilon(1e-5))


@pytest.mark.parametrize("times", [0, -1])
def test_fewer_than_one_output_cannot_be_charged(times: int) -> None:
    with pytest.raises(PrivacyError, match=f"^{times} outputs"):
        Cost(None, times, unit="example", adjacency="add_remove")
