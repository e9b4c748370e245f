"""Tiny simulations: digits, logistic regression, three clients, two rounds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_server.outputs import Result
from leptonic_server.progress import RunListener

torch.set_num_threads(1)

Run = Callable[..., Result]

TRAINING = {"rounds": 2, "local_steps": 3, "batch_size": 32, "learning_rate": 0.1}
PRIVACY = {"unit": "example", "epsilon": 20.0, "delta": 1e-4}


def experiment(**sections: Any) -> Experiment:
    """Sections replace those of the same name."""
    content = {
        "name": "small",
        "seed": 4,
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 3},
        "training": TRAINING,
        "outputs": {"report": False, "tensorboard": False},
        "simulation": {"engine": "sequential"},
    }
    return from_mapping({**content, **sections})


@contextmanager
def stopped_at(monkeypatch: pytest.MonkeyPatch, where: str, count: int) -> Iterator[None]:
    """Ctrl-C at the so-manieth call of this method of the run's listener."""
    seen, original = 0, getattr(RunListener, where)

    def event(listener: RunListener, *arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            raise KeyboardInterrupt
        original(listener, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(RunListener, where, event)
        yield
