import math
import warnings

import numpy as np
import pytest

from leptonic.errors import PrivacyError
from leptonic.privacy.clipped_update import clip
from leptonic.privacy.composition import Composition
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.privacy.trusted_server import AdaptiveClip, centred_bit, noised_mean
from leptonic.randomness import SecureStream


def rule(*, z: float = 1.0, m: float = 1000.0, **others: float) -> AdaptiveClip:
    return AdaptiveClip(**{"initial": 1.0, "noise_multiplier": z, "denominator": m, **others})


def test_the_mean_has_a_public_denominator_and_the_stated_noise() -> None:
    updates = [clip(np.full(20_000, 0.01), 0.5)] * 7
    mean = noised_mean(
        np.sum(updates, axis=0), sensitivity=0.5, noise_multiplier=1.5, denominator=20.0, stream=SecureStream(bytes(32))
    )
    error = mean - 7 / 20 * updates[0]
    assert error.std() == pytest.approx(1.5 * 0.5 / 20, rel=0.03)
    assert error.mean() == pytest.approx(0, abs=5 * 0.0375 / math.sqrt(20_000))
    with pytest.raises(PrivacyError, match="divided by 0"):
        noised_mean(np.zeros(2), sensitivity=1, noise_multiplier=1, denominator=0.0, stream=SecureStream())


@pytest.mark.parametrize(("z", "m"), [(0.5, 100.0), (1.0, 20.0), (3.0, 1000.0)])
def test_both_releases_together_cost_what_z_does(z: float, m: float) -> None:
    clipping = rule(z=z, m=m)
    bits = SampledGaussian(2 * clipping.deviation_of_bits)
    update = SampledGaussian(clipping.update_noise_multiplier)
    both = Composition.of([(bits, 1), (update, 1)]).renyi()
    assert both.values == pytest.approx(Composition.of([(SampledGaussian(z), 1)]).renyi().values)
    assert clipping.update_noise_multiplier > z


def test_few_clients_are_warned_of_and_fewer_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rule(z=1.0, m=20).update_noise_multiplier == pytest.approx(1.1547, abs=1e-4)
    with pytest.warns(UserWarning, match="below 20 a fixed clip"):
        rule(z=1.0, m=19)
    for m, deviation in ((10.0, None), (100.0, 0.5)):
        with pytest.raises(PrivacyError, match="use up all of z = 1"):
            rule(m=m, **({} if deviation is None else {"bit_deviation": deviation}))
    assert rule(bit_deviation=0.51).deviation_of_bits == 0.51


def test_the_clip_moves_by_the_formula() -> None:
    clipping = rule(m=200)
    moved, share = clipping.apply(30.0, 2.0, SecureStream(b"q" * 32))
    assert share == pytest.approx(0.5 + 30 / 200, abs=5 * 10 / 200)
    assert moved == pytest.approx(2.0 * math.exp(-0.2 * (share - 0.5)))


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_clip_finds_the_quantile(quantile: float) -> None:
    norms = np.random.default_rng(0).lognormal(3.0, 0.5, size=1000)
    clipping, source = rule(quantile=quantile), SecureStream(b"a" * 32)
    clip_norm = clipping.init()
    for _ in range(150):
        clip_norm, _ = clipping.apply(sum(centred_bit(norm, clip_norm) for norm in norms), clip_norm, source)
    assert np.mean(norms <= clip_norm) == pytest.approx(quantile, abs=0.04)


def test_an_absent_client_moves_nothing() -> None:
    """Centred bits: half of a cohort that is all absent says nothing of norms, and the share stays 1/2."""
    shares = [rule(m=40).apply(0.0, 1.0, SecureStream())[1] for _ in range(200)]
    assert np.mean(shares) == pytest.approx(0.5, abs=5 * 2 / 40 / math.sqrt(200))
    assert (centred_bit(1.0, 1.0), centred_bit(1.0001, 1.0), centred_bit(math.nan, 1.0)) == (0.5, -0.5, -0.5)


@pytest.mark.parametrize(
    "changes", [{"initial": 0.0}, {"z": math.nan}, {"rate": -1.0}, {"quantile": 1.0}, {"m": math.inf}]
)
def test_impossible_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(PrivacyError, match="adaptive clip"):
        rule(**changes)
