"""Noise in what clients send: single words say nothing, sums decode to the mean, and no round repeats another's."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.core.privacy.test_client_level import experiment

from leptonic.errors import DecodeError, PrivacyError
from leptonic.pipeline import NoisedPipeline, Occasion, pipeline_for
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate

SIZE = 3000
ROUND = Occasion(1)


def pipeline(mechanism: str = "distributed", **changes: Any) -> NoisedPipeline:
    made = pipeline_for(experiment(mechanism, **changes), SIZE)
    assert isinstance(made, NoisedPipeline)
    return made


def update(vector: Any) -> LocalUpdate:
    return LocalUpdate({"model": np.asarray(vector, dtype=np.float32)}, weight=123.0, sums={"train_loss": 4.0})


def updates(count: int, norm: float) -> list[LocalUpdate]:
    draws = np.random.default_rng(0).normal(size=(count, SIZE))
    return [update(draw * (norm / np.linalg.norm(draw))) for draw in draws]


@pytest.mark.parametrize("mechanism", ["distributed", "local"])
def test_the_decoded_sum_is_the_mean_with_the_claimed_noise(mechanism: str) -> None:
    pipe = pipeline(mechanism, clip_norm=1.0).at(ROUND)
    sent = updates(20, norm=0.5)
    total = pipe.zero()
    for each in sent:
        total.add(pipe.encode(each, SecureStream()))
    pipe.check(total, clients=20)
    mean = pipe.decode(total)
    assert mean.count == 20
    errors = mean.vectors["model"] - sum(each.vectors["model"] for each in sent) / 20
    deviation = np.sqrt(20) * pipe.mechanism.local_deviation / 20
    # Rounding adds up to a quarter of a step squared for each client.
    rounding = 20 * 0.25 / (pipe.mechanism.scale * 20) ** 2
    assert stats.chi2(SIZE).cdf(float((errors**2).sum() / (deviation**2 + rounding))) < 1 - 1e-9
    assert stats.chi2(SIZE).cdf(float((errors**2).sum() / deviation**2)) > 1e-9


def test_a_client_shows_that_it_took_part_and_no_more() -> None:
    pipe = pipeline().at(ROUND)
    assert pipe.names == ("count",)
    assert pipe.words == 4096
    assert pipe.encoded_length == 4 * 4096 + 8
    (one,) = pipe.encode(updates(1, norm=9.0)[0], SecureStream()).scalars
    (other,) = pipe.encode(update(np.full(SIZE, np.nan)), SecureStream()).scalars
    assert one == other


def test_the_public_denominator_divides_whoever_answers() -> None:
    """Twenty are invited; with fifteen the mean is three quarters as long, or absence would show."""
    pipe = pipeline(epsilon=1e5, clip_norm=1.0).at(ROUND)
    vector = np.full(SIZE, 0.9 / np.sqrt(SIZE))
    total = pipe.zero()
    for _ in range(15):
        total.add(pipe.encode(update(vector), SecureStream()))
    decoded = pipe.decode(total).vectors["model"]
    assert float(decoded @ vector / (vector @ vector)) == pytest.approx(0.75, abs=0.02)


def test_every_round_and_every_experiment_rotates_otherwise() -> None:
    made = (pipeline(), pipeline(clip_norm=2.0))
    seeds = {each.at(Occasion(number)).rotation_seed for each in made for number in (1, 2, 11)}
    assert len(seeds) == 6
    assert pipeline().at(ROUND) == pipeline().at(ROUND)


def test_nothing_is_encoded_without_secrets_or_a_round() -> None:
    (one,) = updates(1, norm=1.0)
    with pytest.raises(PrivacyError, match="secure stream"):
        pipeline().at(ROUND).encode(one)
    with pytest.raises(PrivacyError, match="a round"):
        pipeline().encode(one, SecureStream())
    with pytest.raises(PrivacyError, match="for a round"):
        pipeline().decode(pipeline().zero())


def test_a_false_count_is_refused() -> None:
    pipe = pipeline().at(ROUND)
    total = pipe.encode(updates(1, norm=1.0)[0], SecureStream())
    pipe.check(total)
    with pytest.raises(DecodeError, match="of 2 clients counts 1"):
        pipe.check(total, clients=2)
