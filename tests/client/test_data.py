"""The split and the order of a client's examples."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.client.samples import data_of, examples, experiment

from leptonic.errors import DataError
from leptonic.experiment import Training
from leptonic_client.data import batches, split, steps_of

HALF = {"on": ["clients"], "holdout": 0.5}


@given(examples=st.integers(1, 70), batch=st.integers(1, 33), epochs=st.integers(1, 4))
def test_epochs_visit_every_example_so_often_and_no_batch_is_too_large(examples: int, batch: int, epochs: int) -> None:
    training = Training(local_epochs=epochs, batch_size=batch)
    drawn = list(batches(training, examples, np.random.default_rng(0)))
    assert len(drawn) == steps_of(training, examples)
    assert Counter(torch.cat(drawn).tolist()) == dict.fromkeys(range(examples), epochs)
    assert max(map(len, drawn)) <= batch


@given(examples=st.integers(1, 70), batch=st.integers(1, 33), steps=st.integers(1, 30))
def test_steps_are_exactly_so_many_and_no_example_comes_again_before_the_others(
    examples: int, batch: int, steps: int
) -> None:
    training = Training(local_steps=steps, batch_size=batch)
    drawn = list(batches(training, examples, np.random.default_rng(0)))
    assert len(drawn) == steps_of(training, examples) == steps
    visits = Counter(torch.cat(drawn).tolist())
    counts = [visits[example] for example in range(examples)]
    assert max(counts) - min(counts) <= 1


def test_each_pass_is_shuffled_anew() -> None:
    drawn = list(batches(Training(local_epochs=2, batch_size=50), 50, np.random.default_rng(0)))
    assert drawn[0].tolist() != drawn[1].tolist() != list(range(50))


@given(count=st.integers(2, 200), holdout=st.floats(0, 0.5), client=st.integers(0, 5))
def test_held_out_and_training_rows_divide_the_rows(count: int, holdout: float, client: int) -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": holdout} if holdout else {})
    held = round(holdout * count)
    rows = np.arange(count) * 3 + 1
    if held == count:
        return
    data = split(made, client, torch.zeros(3 * count, 1), torch.zeros(3 * count), rows)
    kept, out = data.rows.tolist(), data.held_rows.tolist()
    assert sorted(kept + out) == rows.tolist()
    assert len(out) == held
    assert len(data) == count - held


def test_the_split_depends_on_the_index_and_the_number_of_rows_not_on_where_they_lie() -> None:
    """A deployed client's rows begin at 0, a simulated one's lie anywhere: both must hold out the same."""
    made = experiment(evaluation=HALF)
    features, labels = torch.zeros(90, 1), torch.zeros(90)
    alone = split(made, 3, features, labels, np.arange(20))
    shared = split(made, 3, features, labels, np.arange(50, 70))
    assert (shared.rows - 50).tolist() == alone.rows.tolist()
    assert split(made, 4, features, labels, np.arange(20)).rows.tolist() != alone.rows.tolist()


def test_a_holdout_that_leaves_nothing_is_refused_by_name() -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.9})
    with pytest.raises(DataError, match=r"client 5.*evaluation\.holdout"):
        split(made, 5, torch.zeros(1, 1), torch.zeros(1), np.arange(1))


def test_batches_are_fresh_tensors_of_the_scaled_examples() -> None:
    made, raw = experiment(), examples()
    data = data_of(made)
    features, labels = data.batch(torch.tensor([3, 1]))
    assert labels.tolist() == raw.labels[[3, 1]].tolist()
    assert features.dtype == torch.float32
    assert features.is_contiguous()
    before = data.features.clone()
    features.zero_()
    assert torch.equal(data.features, before)
