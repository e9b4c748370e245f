"""One sum for many clients: the same total, and what nobody would take alone is not hidden in it. Without Ray."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulations.asking import answered, clients_of_sizes, content_for, requests_for
from tests.simulations.small import experiment

from leptonic.pipeline import Pipeline
from leptonic.wire import Reply
from leptonic_simulations.sequential import SequentialEngine
from leptonic_simulations.sums import only_sums_count, summed

SIZES = (40, 7, 33, 12)

Answers = list[tuple[Reply, bytes]]


def trained(folder: Path, asked: Sequence[int] = range(4)) -> tuple[Pipeline, Answers]:
    made = experiment(federation={"clients": len(SIZES)})
    with closing(clients_of_sizes(made, folder, SIZES)) as clients:
        content = content_for(clients)
        found = answered(SequentialEngine(clients), requests_for(made, asked, content), content)
        return clients.trainer.pipeline, list(found.values())


@pytest.mark.parametrize(
    ("sections", "enough"),
    [
        ({}, True),
        ({"federation": {"clients": 4, "cohort": 2, "over_selection": 0.5}}, False),
        ({"aggregation": {"rule": "median"}}, False),
        ({"scenario": {"availability": {}}}, False),
    ],
)
def test_a_single_contribution_counts_where_somebody_looks_at_it(sections: dict[str, Any], enough: bool) -> None:
    assert only_sums_count(experiment(**{"federation": {"clients": 4}, **sections})) is enough


def test_the_last_reply_carries_everyone(tmp_path: Path) -> None:
    pipeline, single = trained(tmp_path)
    *carried, (carrier, content) = summed(pipeline, single)
    assert [(reply.client, reply.carried_by, answer) for reply, answer in carried] == [(c, 3, b"") for c in range(3)]
    assert (carrier.client, carrier.carried_by) == (3, None)
    total = pipeline.from_bytes(content)
    words = np.sum([pipeline.from_bytes(answer).words for _, answer in single], axis=0, dtype=np.uint32)
    assert (total.words == words).all()
    pipeline.check(total, clients=4)


def test_one_client_travels_as_it_is(tmp_path: Path) -> None:
    pipeline, single = trained(tmp_path, [2])
    assert list(summed(pipeline, single)) == single
    assert list(summed(pipeline, [])) == []


def test_what_cannot_be_counted_travels_alone(tmp_path: Path) -> None:
    """A client that failed, and contributions that the coordinator would refuse: too short, or of nobody."""
    pipeline, single = trained(tmp_path)
    nobody = pipeline.zero().to_bytes()
    failed = single[0][0].model_copy(update={"status": "failed"})
    odd = [(failed, b""), (single[1][0], b"short"), (single[2][0], nobody), single[3]]
    assert list(summed(pipeline, odd)) == odd
