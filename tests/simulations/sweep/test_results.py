"""Order, mean and spread, and the files that say so; against numbers worked out by hand."""

import pytest

from leptonic_simulations.sweep.cells import Cell, CellResult, Outcome
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.wording import setting_text, settings_text, short_keys, shown_with_spread


def result(number: int, *accuracies: float | None, error: str | None = None) -> CellResult:
    outcomes = tuple(
        Outcome(
            seed=seed,
            folder="",
            accuracy=accuracy,
            loss=None if accuracy is None else 1 - accuracy,
            error=error if accuracy is None else None,
        )
        for seed, accuracy in enumerate(accuracies, start=1)
    )
    return CellResult(Cell(number, {"a.b": str(number)}), outcomes)


def test_mean_and_sample_standard_deviation() -> None:
    made = result(1, 0.2, 0.4, 0.9)
    assert made.value(Metric.ACCURACY) == pytest.approx(0.5)
    # Squared distances 0.09, 0.01, 0.16: their sum 0.26 over n - 1 = 2.
    assert made.spread(Metric.ACCURACY) == pytest.approx(0.13**0.5)
    assert result(1, 0.2).spread(Metric.ACCURACY) is None


def test_a_cell_with_a_failed_seed_has_no_mean() -> None:
    made = result(1, 0.9, None, 0.7, error="RunError: diverged")
    assert made.value(Metric.ACCURACY) is None
    assert made.spread(Metric.ACCURACY) is None
    assert made.problem(Metric.ACCURACY) == "seed 2: RunError: diverged"


def test_a_metric_that_was_not_measured_is_a_problem() -> None:
    assert result(1, 0.5).problem(Metric.BEST_ACCURACY) == "seed 1: no finite best_accuracy was measured"


def test_best_first_equal_ones_by_number_failed_ones_last() -> None:
    results = [result(1, 0.3), result(2, None, error="x"), result(3, 0.8), result(4, 0.3), result(5, None, error="y")]
    ranking = Ranking.of(results, Metric.ACCURACY)
    assert [each.cell.number for each in ranking.all] == [3, 1, 4, 2, 5]
    assert ranking.best is results[2]
    assert [each.cell.number for each in Ranking.of(results, Metric.LOSS).ranked] == [3, 1, 4]
    assert Ranking.of(results[1:2], Metric.ACCURACY).best is None


def test_keys_are_short_but_different() -> None:
    keys = ["training.learning_rate", "server_optimizer.learning_rate", "algorithm.name", "model.hidden", "seed"]
    assert short_keys(keys) == {
        "training.learning_rate": "training.learning_rate",
        "server_optimizer.learning_rate": "server_optimizer.learning_rate",
        "algorithm.name": "algorithm.name",
        "model.hidden": "hidden",
        "seed": "seed",
    }


def test_values_are_written_for_people() -> None:
    assert [setting_text(text) for text in ("0.012345678", "5", "[32,32]", '"sgd"', "sgd")] == [
        "0.01235",
        "5",
        "[32,32]",
        "sgd",
        "sgd",
    ]
    assert settings_text({"training.rounds": "5", "algorithm.name": "fedavg"}) == "rounds=5  algorithm.name=fedavg"
    assert shown_with_spread(0.8403, 0.0098, Metric.ACCURACY) == "84.03% ± 0.98"
    assert shown_with_spread(0.69526, 0.014, Metric.LOSS) == "0.6953 ± 0.014"
    assert shown_with_spread(None, None, Metric.LOSS) == "-"
