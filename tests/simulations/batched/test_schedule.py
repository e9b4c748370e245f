"""The table of visits holds what each client would visit alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.simulations.asking import clients_of_sizes, content_for, requests_for
from tests.simulations.small import experiment

from leptonic_client.data import batches
from leptonic_simulations.batched.schedule import schedule


@pytest.mark.parametrize("work", [{"local_epochs": 3}, {"local_steps": 7}])
@pytest.mark.parametrize("batch", [1, 8, 50])
def test_visits_are_those_of_a_client_alone(tmp_path: Path, work: dict[str, int], batch: int) -> None:
    sizes = (41, 17, 8, 3, 1)
    training: dict[str, Any] = {"rounds": 1, "batch_size": batch, "learning_rate": 0.1, **work}
    made = experiment(training=training, federation={"clients": len(sizes)})
    clients = clients_of_sizes(made, tmp_path, sizes)
    content = content_for(clients)
    works = [clients.client(r.client).prepare(r, content) for r in requests_for(made, range(5), content)]
    plan = schedule(clients.trainer, works)
    for index, each in enumerate(works):
        alone = list(batches(made.training, len(each.data), clients.trainer.shuffle(each)))
        assert plan.steps[index] == len(alone)
        for step, chosen in enumerate(alone):
            visited = plan.weights[step, index] > 0
            assert torch.equal(plan.rows[step, index][visited], each.data.rows[chosen])
            assert torch.allclose(plan.weights[step, index].sum(), torch.tensor(1.0))
            assert set(plan.rows[step, index].tolist()) == set(each.data.rows[chosen].tolist())
        assert not plan.weights[len(alone) :, index].any()
    clients.close()


def test_phases_are_the_steps_that_the_same_clients_train_in(tmp_path: Path) -> None:
    sizes = (9, 9, 4, 2, 2)
    made = experiment(training={"rounds": 1, "batch_size": 1, "learning_rate": 0.1}, federation={"clients": len(sizes)})
    clients = clients_of_sizes(made, tmp_path, sizes)
    content = content_for(clients)
    works = [clients.client(r.client).prepare(r, content) for r in requests_for(made, range(5), content)]
    plan = schedule(clients.trainer, works)
    assert list(plan.phases()) == [(range(2), 5), (range(2, 4), 3), (range(4, 9), 2)]
    some = plan.of([2, 4])
    assert list(some.phases()) == [(range(2), 2), (range(2, 4), 1)]
    assert torch.equal(some.rows, plan.rows[:4, [2, 4]])
    assert torch.equal(some.weights, plan.weights[:4, [2, 4]])
    clients.close()
