"""One client's answers: strict about what it is asked, budget reserved first, nothing told of the data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.client.samples import charge, data_of, experiment, private_experiment, request, start_of

from leptonic.algorithms import algorithm_for
from leptonic.errors import BudgetExhausted, DecodeError, PrivacyError, VersionMismatch
from leptonic.experiment import Experiment
from leptonic.integers import from_fixed
from leptonic.pipeline import decode_scalars
from leptonic.privacy.accounting import epsilon_spent
from leptonic_client.data import LocalData
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant, respond
from leptonic_client.training import LocalTrainer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[ClientHome]:
    made = ClientHome(tmp_path / "home")
    yield made
    made.close()


def participant(made: Experiment, home: ClientHome, **options: Any) -> Participant:
    return Participant(LocalTrainer(made), data_of(made), 0, home, **options)


def vectors(taking: Participant, count: int = 1) -> bytes:
    return b"".join(start_of(taking.trainer, seed).tobytes() for seed in range(1, count + 1))


def test_a_model_comes_back_as_a_contribution(home: ClientHome) -> None:
    made = experiment()
    taking = participant(made, home)
    answer = taking.answer(request(made, vectors(taking)), vectors(taking))
    contribution = taking.trainer.pipeline.from_bytes(answer.content)
    assert from_fixed(contribution.scalars)[0] == 1.0
    assert answer.epsilon is None


def test_evaluation_answers_the_sums_over_the_held_out_examples(home: ClientHome) -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.25})
    taking = participant(made, home)
    content = vectors(taking)
    answer = taking.answer(request(made, content, step="evaluate"), content)
    expected = taking.trainer.evaluate(start_of(taking.trainer), taking.data)
    names = (*taking.trainer.task.metric_names, "examples")
    found = dict(zip(names, from_fixed(decode_scalars(answer.content, 3)), strict=True))
    assert found == pytest.approx(expected, abs=2**-20)


@pytest.mark.parametrize("change", [-4, -1, 1, 4, "twice", "empty"])
def test_a_model_of_another_length_is_refused(home: ClientHome, change: int | str) -> None:
    made = experiment()
    taking = participant(made, home)
    content = vectors(taking)
    wrong = {"twice": content * 2, "empty": b""}.get(str(change), content + b"\0" * 8)
    if isinstance(change, int):
        wrong = (content + bytes(8))[: len(content) + change]
    with pytest.raises(DecodeError, match="expected 2600"):
        taking.answer(request(made, wrong), wrong)


def test_a_request_of_another_experiment_or_to_another_client_is_refused(home: ClientHome) -> None:
    made = experiment()
    taking = participant(made, home)
    content = vectors(taking)
    with pytest.raises(VersionMismatch):
        taking.answer(request(made, content, experiment="0" * 64), content)
    with pytest.raises(DecodeError, match="client 1, this is client 0"):
        taking.answer(request(made, content, client=1), content)


def test_a_request_that_was_refused_spends_nothing(home: ClientHome) -> None:
    made = private_experiment()
    taking = participant(made, home)
    for number in range(1, 6):
        with pytest.raises(DecodeError):
            taking.answer(request(made, b"short", round=number), b"short")
    assert taking.answer(request(made, vectors(taking)), vectors(taking)).epsilon is not None


def test_a_round_that_the_experiment_does_not_have_is_refused_before_it_is_counted(home: ClientHome) -> None:
    """Else a server could burn the budget with rounds that cannot be trained."""
    made = private_experiment()
    taking = participant(made, home)
    content = vectors(taking)
    for number in (0, 3, 2**62):
        reply, answer = respond(taking, request(made, content, round=number), content)
        assert reply.status != "done"
        assert answer == b""
    for number in (1, 2):
        assert respond(taking, request(made, content, round=number), content)[0].status == "done"


def test_budget_is_on_disk_before_training_begins(home: ClientHome, monkeypatch: pytest.MonkeyPatch) -> None:
    made = private_experiment()
    taking = participant(made, home)
    content = vectors(taking)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(taking.trainer, "train", crash)
        with pytest.raises(KeyboardInterrupt):
            taking.answer(request(made, content, round=1), content)
    again = ClientHomeView(home)
    assert again.reserve_next(2) == 2


class ClientHomeView:
    """Counts what was reserved, as a later round finds it."""

    def __init__(self, home: ClientHome) -> None:
        self._home = home

    def reserve_next(self, number: int) -> int:
        return self._home.reserve(charge(number), 100)


def test_epsilon_grows_with_the_rounds_and_the_target_is_never_passed(home: ClientHome) -> None:
    made = private_experiment()
    taking = participant(made, home)
    assert taking.plan is not None
    content = vectors(taking)
    spent = [taking.answer(request(made, content, round=number), content).epsilon for number in (1, 2)]
    assert spent == [epsilon_spent(taking.plan, 1), epsilon_spent(taking.plan, 2)]
    assert spent[0] < spent[1] <= made.privacy.epsilon  # type: ignore[operator, union-attr]
    with pytest.raises((BudgetExhausted, DecodeError)):
        taking.answer(request(made, content, round=3), content)


def test_protective_noise_is_never_the_seeds(home: ClientHome, tmp_path: Path) -> None:
    made = private_experiment()
    other = ClientHome(tmp_path / "other")
    content = vectors(participant(made, home))
    first, second = (participant(made, where).answer(request(made, content), content) for where in (home, other))
    assert first.content != second.content
    other.close()


def test_seeded_noise_repeats_and_differs_by_client_and_round(home: ClientHome) -> None:
    made = private_experiment()
    taking = participant(made, home, seeded_noise=True)
    content = vectors(taking)
    first = taking.answer(request(made, content), content).content
    assert taking.answer(request(made, content, attempt=2), content).content == first
    assert taking.answer(request(made, content, round=2), content).content != first
    other = Participant(taking.trainer, taking.data, 1, home, seeded_noise=True)
    assert other.answer(request(made, content, client=1), content).content != first


def test_a_declared_size_takes_the_place_of_the_number_held(home: ClientHome) -> None:
    made = private_experiment()
    taking = participant(made, home, public_size=64)
    assert taking.plan is not None
    assert taking.plan.sample_rate == 8 / 64
    content = vectors(taking)
    scalars = taking.trainer.pipeline.from_bytes(taking.answer(request(made, content), content).content).scalars
    assert from_fixed(scalars)[1] == 64


def test_no_evaluation_is_answered_where_the_experiment_has_none(home: ClientHome) -> None:
    made = private_experiment()
    taking = participant(made, home)
    content = vectors(taking)
    with pytest.raises(PrivacyError, match="no client-side evaluation"):
        taking.answer(request(made, content, step="evaluate"), content)


def stateful(home: ClientHome) -> tuple[Experiment, Participant, bytes]:
    made = experiment(algorithm={"name": "scaffold"}, training={"rounds": 9, "batch_size": 16})
    taking = participant(made, home)
    return made, taking, vectors(taking, 1 + len(algorithm_for(made).broadcast))


def test_a_stateful_round_asked_again_gives_the_same_bytes(home: ClientHome) -> None:
    """Also after later rounds that were not counted: the client goes back to where it was counted."""
    made, taking, content = stateful(home)
    first = taking.answer(request(made, content, round=1), content).content
    second = taking.answer(request(made, content, round=2, counted=1), content).content
    third = taking.answer(request(made, content, round=3, counted=1), content).content
    assert taking.answer(request(made, content, round=2, counted=1), content).content == second
    assert len({first, second, third}) == 3


def test_the_state_of_an_uncounted_round_is_not_used(home: ClientHome, tmp_path: Path) -> None:
    made, taking, content = stateful(home)
    other = ClientHome(tmp_path / "other")
    fresh = Participant(taking.trainer, taking.data, 0, other)
    taking.answer(request(made, content, round=1), content)  # was late
    assert (
        taking.answer(request(made, content, round=2, counted=0), content).content
        == fresh.answer(request(made, content, round=2, counted=0), content).content
    )
    other.close()


def poisoned(made: Experiment) -> LocalData:
    """Data on which training diverges."""
    data = data_of(made)
    features = data.features.clone()
    features[:] = float("nan")
    return LocalData(features, data.labels, rows=data.rows, held_rows=data.held_rows)


def test_an_error_becomes_a_reply_that_names_it(home: ClientHome) -> None:
    made = experiment()
    taking = Participant(LocalTrainer(made), poisoned(made), 0, home)
    content = vectors(taking)
    reply, answer = respond(taking, request(made, content), content)
    assert (reply.status, answer) == ("failed", b"")
    assert "diverged" in reply.detail
    assert reply.answers(request(made, content))


def test_what_is_told_of_an_error_is_the_callers_choice(home: ClientHome, monkeypatch: pytest.MonkeyPatch) -> None:
    from leptonic.errors import DataError

    made = private_experiment()
    taking = participant(made, home)
    content = vectors(taking)

    def fail(*_: Any, **__: Any) -> None:
        raise DataError("row 17: 'Jane Doe' is not a number")

    monkeypatch.setattr(taking.trainer, "train", fail)
    reply, _ = respond(taking, request(made, content), content, told=lambda error: type(error).__name__)
    assert reply.status == "failed"
    assert reply.detail == "DataError"


def test_a_model_of_no_numbers_harms_nobody(home: ClientHome) -> None:
    """A lying server sends NaN; the client says so, and trains the next model as if nothing had been."""
    made = experiment()
    taking = participant(made, home)
    content, bad = vectors(taking), np.full(650, np.nan, np.float32).tobytes()
    first = taking.answer(request(made, content), content).content
    reply, _ = respond(taking, request(made, bad), bad)
    assert reply.status == "failed"
    assert taking.answer(request(made, content), content).content == first
    assert torch.get_num_threads() == 1
