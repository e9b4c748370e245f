import math
from typing import Any

import pytest
from opacus.accountants import RDPAccountant

from leptonic.errors import ExperimentError, PrivacyError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.privacy import accounting
from leptonic.privacy.composition import has_pld
from leptonic.privacy.forecast import ExampleForecast, forecast_examples


def made(
    *, epsilon: float = 4.8, delta: float = 1e-3, training: dict[str, Any] | None = None, **sections: Any
) -> Experiment:
    content: dict[str, Any] = {
        "name": "x",
        "federation": {"clients": 4},
        "training": {"rounds": 10, "local_steps": 10, "batch_size": 64, **(training or {})},
        "privacy": {"unit": "example", "epsilon": epsilon, "delta": delta, "clip_norm": 0.5},
    }
    return from_mapping({**content, **sections})


@pytest.fixture(scope="module")
def known() -> ExampleForecast:
    """A tenth of the examples in each of 100 steps: at z = 1 and delta = 1e-3, PRV says 4.80, Renyi 5.67, PLD 4.78."""
    return forecast_examples(made(), 625, [640] * 4, epsilons=[4.8])


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration takes seconds, and some tests ask for everything else."""
    monkeypatch.setattr(accounting, "_calibrate", lambda *_: 2.0)
    monkeypatch.setattr(accounting, "prv_epsilon", lambda history, *_: float(history[0][2]))


def test_known_values(known: ExampleForecast) -> None:
    (outlook,) = known.outlooks
    assert (outlook.which, outlook.examples, outlook.steps, outlook.sample_rate) == ("every", 640, 100, 0.1)
    assert outlook.noise_multiplier == pytest.approx(1.0, abs=0.01)
    assert outlook.epsilon == pytest.approx(4.80, abs=0.05)
    assert outlook.epsilon_rdp == pytest.approx(5.67, abs=0.06)
    if has_pld():
        assert outlook.epsilon_pld == pytest.approx(4.78, abs=0.05)
    else:
        assert outlook.epsilon_pld is None


def test_noise_beside_the_clip(known: ExampleForecast) -> None:
    """z c / B in a coordinate, z sqrt(d) / B in norm; 100 steps of each of 4 clients."""
    signal, multiplier = known.median.signal, known.median.noise_multiplier
    assert signal.deviation == pytest.approx(multiplier * 0.5 / 64)
    assert signal.per_round == pytest.approx(multiplier * 25 / 64)
    assert signal.over_run == pytest.approx(signal.per_round / math.sqrt(400))


def test_epsilon_rises_to_the_target(known: ExampleForecast) -> None:
    curve = known.median.curve
    assert (curve[0].round, curve[-1].round) == (1, 10)
    assert [point.epsilon for point in curve] == sorted(point.epsilon for point in curve)
    assert 0 < curve[0].epsilon < curve[-1].epsilon == known.median.epsilon <= 4.8


def test_own_target_stands_once(known: ExampleForecast) -> None:
    (target,) = known.targets
    assert (target.epsilon, target.noise) == (4.8, known.median.noise_multiplier)


@pytest.mark.usefixtures("uncalibrated")
def test_smallest_median_and_largest() -> None:
    forecast = forecast_examples(made(delta=1e-5), 100, [500, 90, 3000, 64, 700])
    assert [(one.which, one.examples) for one in forecast.outlooks] == [
        ("smallest", 64),
        ("median", 500),
        ("largest", 3000),
    ]
    assert forecast.median.examples == 500
    assert [one.sample_rate for one in forecast.outlooks] == [1.0, 64 / 500, 64 / 3000]


def test_a_batch_larger_than_a_client_is_refused_by_its_size() -> None:
    with pytest.raises(ExperimentError, match=r"the smallest client, of 50 examples: .* set it to at most 50"):
        forecast_examples(made(), 100, [50, 500, 900])


@pytest.mark.usefixtures("uncalibrated")
def test_a_delta_that_could_publish_an_example_is_refused() -> None:
    with pytest.raises(PrivacyError, match=r"the largest client, of 5,000 examples: .* below 0\.0002"):
        forecast_examples(made(), 100, [100, 500, 5000])


@pytest.mark.usefixtures("uncalibrated")
def test_a_person_with_two_examples_has_twice_the_epsilon() -> None:
    """Group privacy: (2 epsilon, (1 + e^epsilon) delta)."""
    forecast = forecast_examples(made(epsilon=1.0, delta=1e-5), 100, [640])
    assert "Of a person with two, epsilon is 2 at delta = 3.7e-05." in forecast.assumptions[0]
    assert any("Tuning is not counted" in words for words in forecast.assumptions)


@pytest.mark.usefixtures("uncalibrated")
def test_natural_clients_are_not_what_is_hidden() -> None:
    natural = made(delta=1e-5, federation={"clients": 4, "partition": {"scheme": "natural"}})
    assert "not the client" in forecast_examples(natural, 100, [640]).assumptions[0]


def renyi_epsilon(noise: float, batch: int, examples: int, steps: int) -> float:
    accountant = RDPAccountant()
    accountant.history = [(noise, batch / examples, steps)]
    return float(accountant.get_epsilon(1e-3, alphas=range(2, 64)))


@pytest.mark.usefixtures("uncalibrated")
def test_small_batches_say_what_would_do() -> None:
    """The batch whose noise, for which there is budget, is as long as the clip: z = B / sqrt(d)."""
    forecast = forecast_examples(made(epsilon=8.0), 10_000, [900] * 4)
    (words,) = [words for words in forecast.warnings if "batches of 64" in words]
    batch = int(words.split("training.batch_size = ")[1].split()[0])
    assert batch in (128, 256, 512, 900)
    assert renyi_epsilon(batch / 100, batch, 900, 100) <= 8 < renyi_epsilon(batch / 200, batch // 2, 900, 100)


@pytest.mark.usefixtures("uncalibrated")
def test_where_no_batch_would_do_that_is_said() -> None:
    forecast = forecast_examples(made(epsilon=1.0), 10_000, [900] * 4)
    (words,) = [words for words in forecast.warnings if "batches of 64" in words]
    assert "no batch of its 900 examples brings it to 1" in words
    assert renyi_epsilon(9.0, 900, 900, 100) > 1
