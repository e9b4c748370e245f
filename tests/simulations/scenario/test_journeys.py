"""How long an answer takes: closed forms from the stated speeds, and draws that repeat."""

import math
from typing import Any

import numpy as np
import pytest
from tests.simulations.small import TRAINING, experiment

from leptonic.wire import Payload, Request
from leptonic_client.data import batches
from leptonic_client.training import LocalTrainer
from leptonic_simulations.scenario.journeys import Journeys, visited

EXACT = {"examples_per_second": 50.0, "compute_spread": 0.0, "bytes_per_second": 2000.0, "link_spread": 0.0}


def journeys(held: int = 100, **sections: Any) -> Journeys:
    return Journeys(LocalTrainer(experiment(**sections)), lambda client: held)


def request(client: int = 0, *, step: str = "train", round_number: int = 1, attempt: int = 1) -> Request:
    numbers = {"run": "ab", "experiment": "ab" * 32, "round": round_number, "step": step, "attempt": attempt}
    return Request.model_validate({**numbers, "client": client, "payload": Payload(kind="memory", length=2600)})


def test_download_work_and_upload_add_up() -> None:
    """650 parameters down; 3 steps of 32 examples; 650 words and 4 + 3 scalars up."""
    one = journeys(scenario={"stragglers": EXACT}).of(request())
    assert one.seconds == pytest.approx((2600 + 650 * 4 + 7 * 8) / 2000.0 + 96 / 50.0)
    assert one.fate == "arrives"


def test_an_evaluation_looks_at_the_held_out_examples() -> None:
    evaluation = {"on": ["clients"], "holdout": 0.2}
    one = journeys(scenario={"stragglers": EXACT}, evaluation=evaluation).of(request(step="evaluate"))
    assert one.seconds == pytest.approx((2600 + 3 * 8) / 2000.0 + 20 / 50.0)


@pytest.mark.parametrize("work", [{"local_epochs": 3}, {"local_steps": 1}, {"local_steps": 7}, {"local_steps": 8}])
@pytest.mark.parametrize("examples", [1, 31, 32, 33, 100])
def test_visited_is_what_training_visits(work: dict[str, int], examples: int) -> None:
    made = experiment(training={**{k: v for k, v in TRAINING.items() if k != "local_steps"}, **work})
    order = batches(made.training, examples, np.random.default_rng(0))
    assert visited(made, examples) == sum(len(batch) for batch in order)


def test_a_client_without_examples_answers_at_once() -> None:
    assert visited(experiment(), 0) == 0


def test_without_stragglers_no_time_passes() -> None:
    assert journeys(scenario={}).of(request()).seconds == 0.0


def test_speeds_are_log_normal_and_a_clients_own() -> None:
    drawn = journeys(scenario={"stragglers": {**EXACT, "compute_spread": 0.5, "link_spread": 0.25}})
    logs = np.log([drawn.speeds(client) for client in range(2000)])
    for column, (median, spread) in enumerate([(50.0, 0.5), (2000.0, 0.25)]):
        assert logs[:, column].mean() == pytest.approx(math.log(median), abs=5 * spread / math.sqrt(2000))
        assert logs[:, column].std() == pytest.approx(spread, rel=5 / math.sqrt(4000))
    assert abs(np.corrcoef(logs.T)[0, 1]) < 5 / math.sqrt(2000)
    again = journeys(scenario={"stragglers": {**EXACT, "compute_spread": 0.5, "link_spread": 0.25}})
    assert [again.speeds(client) for client in range(9)] == [drawn.speeds(client) for client in range(9)]
    assert drawn.of(request(3, round_number=1)) == drawn.of(request(3, round_number=2))


def test_jitter_is_new_each_round_and_attempt() -> None:
    drawn = journeys(scenario={"stragglers": {**EXACT, "jitter": 0.3}})
    ways = [(1, 1), (2, 1), (2, 2)]
    seconds = {drawn.of(request(round_number=n, attempt=a)).seconds for n, a in ways}
    assert len(seconds) == 3
    usual = journeys(scenario={"stragglers": EXACT}).of(request()).seconds
    logs = [math.log(drawn.of(request(round_number=n)).seconds / usual) for n in range(1, 1001)]
    assert np.mean(logs) == pytest.approx(0, abs=5 * 0.3 / math.sqrt(1000))
    assert np.std(logs) == pytest.approx(0.3, rel=5 / math.sqrt(2000))


@pytest.mark.parametrize(("at", "fate"), [("before_training", "never_trains"), ("after_training", "is_lost")])
def test_so_many_drop_out_at_the_named_step(at: str, fate: str) -> None:
    drawn = journeys(scenario={"drop_outs": {"probability": 0.2, "at": at}})
    fates = [drawn.of(request(client, round_number=n)).fate for client in range(50) for n in range(1, 41)]
    assert set(fates) == {"arrives", fate}
    assert fates.count(fate) / 2000 == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / 2000))
    assert drawn.of(request(step="evaluate")).fate == "arrives"
