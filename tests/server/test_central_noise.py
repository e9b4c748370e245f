"""The trusted server's noise: as much as claimed, fresh or correlated, and continued from what was kept."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.core.privacy.test_client_level import experiment

from leptonic.pipeline import ClippedPipeline, pipeline_for
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.trusted_server import TrustedServer
from leptonic.randomness import noise_stream
from leptonic_server.central_noise import CentralNoise, central_noise

SIZE = 4000


def noise_of(mechanism: str, **privacy: Any) -> tuple[CentralNoise, ClippedPipeline]:
    made = experiment(mechanism, epsilon=50.0, clip_norm=0.5, **privacy)
    pipeline = pipeline_for(made, SIZE)
    assert isinstance(pipeline, ClippedPipeline)
    noise = central_noise(made, pipeline, seeded=True)
    assert noise is not None
    return noise, pipeline


def test_noise_by_clients_is_none_of_the_servers() -> None:
    made = experiment("distributed")
    assert central_noise(made, pipeline_for(made, SIZE), seeded=False) is None


def test_a_round_gets_the_noise_that_was_accounted() -> None:
    noise, pipeline = noise_of("server")
    server = pipeline.plan.mechanism
    assert isinstance(server, TrustedServer)
    total = np.linspace(-1.0, 1.0, SIZE)
    round_noise = noise.begin(1, noise.first())
    errors = round_noise(total, 0.0) - total * 0.5 / 20
    deviation = server.noise_multiplier * 0.5 / 20
    assert 1e-9 < stats.chi2(SIZE).cdf(float((errors**2).sum() / deviation**2)) < 1 - 1e-9
    assert round_noise.after == {}


def test_two_rounds_draw_two_noises_and_a_seed_repeats_them() -> None:
    noise, _ = noise_of("server")
    total = np.zeros(SIZE)
    first, second, again = (noise.begin(number, {})(total, 0.0) for number in (1, 2, 1))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_secret_noise_does_not_repeat() -> None:
    made = experiment("server")
    noise = central_noise(made, pipeline_for(made, SIZE), seeded=False)
    assert noise is not None
    assert not np.array_equal(noise.begin(1, {})(np.zeros(SIZE), 0.0), noise.begin(1, {})(np.zeros(SIZE), 0.0))


@pytest.mark.parametrize(("bits", "moved"), [(-7.0, "up"), (7.0, "down")])
def test_the_clip_follows_the_norms_and_is_told(bits: float, moved: str) -> None:
    noise, _ = noise_of("server", adaptive_clip={"bit_deviation": 1.0, "rate": 0.5})
    first = noise.first()
    assert first["clip"].tolist() == [0.5]
    round_noise = noise.begin(1, first)
    assert round_noise.clip_norm == 0.5
    round_noise(np.zeros(SIZE), bits)
    after = noise.begin(2, round_noise.after).clip_norm
    assert (after > 0.5) == (moved == "up")


def test_correlated_noise_goes_on_from_what_was_kept() -> None:
    """Beside the mechanism itself, driven by hand with the same streams."""
    noise, pipeline = noise_of("correlated")
    banded = pipeline.plan.mechanism
    assert isinstance(banded, BandedNoise)
    totals = np.random.default_rng(0).normal(size=(5, SIZE))
    state, expected = noise.first(), banded.init(SIZE)
    assert state == {}
    streams = [noise_stream(0, "server noise", number, seeded=True) for number in range(1, 6)]
    for number, (total, stream) in enumerate(zip(totals, streams, strict=True), 1):
        round_noise = noise.begin(number, state)
        mean = round_noise(total, 0.0)
        released, expected = banded.apply(total, expected, stream)
        assert np.array_equal(mean, released * (0.5 / 20))
        state = round_noise.after
        assert np.array_equal(state["sums"], expected.sums)
        assert len(state["sums"]) == min(number, banded.band - 1)
