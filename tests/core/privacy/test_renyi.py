import json
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from leptonic.errors import PrivacyError
from leptonic.privacy.renyi import ORDERS, RenyiCurve


def gaussian(rho: float) -> RenyiCurve:
    return RenyiCurve(tuple((rho * ORDERS).tolist()))


def test_the_grid_never_changes() -> None:
    assert len(ORDERS) == 91
    assert ORDERS[:3].tolist() == [2, 3, 4]
    assert ORDERS[61:67].tolist() == [63, 64, 76, 91, 108, 128]
    assert ORDERS[-1] == 8192
    assert (np.diff(ORDERS) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        ORDERS[0] = 3


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 0.05, 0.5, 4.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_conversion_lies_between_the_exact_value_and_the_simple_formula(rho: float, delta: float) -> None:
    mu = math.sqrt(2 * rho)

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu)) - delta)

    exact = brentq(excess, 0, 100) if excess(0) > 0 else 0.0
    converted = gaussian(rho).epsilon(delta)
    assert exact <= converted
    if rho > 1e-5:
        # rho + 2 sqrt(rho ln(1/delta)), with every real order at hand
        assert converted <= (rho + 2 * math.sqrt(rho * math.log(1 / delta))) * 1.005


def test_curves_add_and_multiply() -> None:
    one, two = gaussian(0.1), gaussian(0.2)
    assert (one + two).values == pytest.approx(gaussian(0.3).values)
    assert one.times(3).values == pytest.approx(gaussian(0.3).values)
    assert one.times(0) == RenyiCurve.zero()
    assert (one + RenyiCurve.zero()) == one
    assert RenyiCurve.zero().epsilon(1e-5) == 0.0
    together = (one + two).epsilon(1e-5)
    assert together < one.epsilon(1e-5) + two.epsilon(1e-5)


def test_storage_returns_the_same_bits_also_where_infinite() -> None:
    curve = RenyiCurve((*gaussian(1 / 3).values[:-2], math.inf, math.inf))
    stored = json.dumps(curve.to_json(), allow_nan=False)
    assert RenyiCurve.from_json(json.loads(stored)) == curve
    assert math.isfinite(curve.epsilon(1e-5))
    assert RenyiCurve((math.inf,) * len(ORDERS)).epsilon(1e-5) == math.inf
    assert curve.times(0) == RenyiCurve.zero()


@pytest.mark.parametrize("values", [(0.0,), (-1.0,) * 91, (math.nan,) * 91])
def test_what_is_no_curve_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(PrivacyError, match="Renyi curve"):
        RenyiCurve(values)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_impossible_deltas_are_refused(delta: float) -> None:
    with pytest.raises(PrivacyError, match="delta"):
        gaussian(1.0).epsilon(delta)
