"""Where a sweep's experiments come from: one file, its overrides, and a cell's own settings on top."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.experiment_file import load
from leptonic.files import write_atomic

__all__ = ["Source", "check_start", "setting_of"]


@dataclass(frozen=True)
class Source:
    """An experiment file and what is set on top of it. seeds: of each cell; empty: the file's own seed."""

    file: Path
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def experiment(self, settings: Mapping[str, str], seed: int | None = None) -> Experiment:
        """The experiment of one run. Raises ExperimentError as :func:`leptonic.experiment_file.load` does."""
        texts = [f"{key}={value}" for key, value in settings.items()]
        if seed is not None:
            texts.append(f"seed={seed}")
        return load(self.file, [*self.overrides, *texts])

    def kept_in(self, folder: Path) -> "Source":
        """The same source with its file copied there, so that editing it cannot change a sweep that runs."""
        copy = folder / self.file.name
        write_atomic(copy, self.file.read_bytes())
        return replace(self, file=copy)


def setting_of(experiment: Experiment, key: str) -> Any:
    """The value of ``section.key`` as the experiment understood it; None where it has no such key."""
    value: Any = experiment
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def check_start(experiments: Iterable[Experiment]) -> None:
    """Raise what would stop every run of a kind at its start: data not fetched, no such model, no such device."""
    from leptonic.device import torch_device
    from leptonic_server.evaluation import Evaluator

    seen = set()
    for experiment in experiments:
        if "server" not in experiment.evaluation.on:
            raise ExperimentError("evaluation.on: a sweep compares the server's evaluation; add 'server'")
        torch_device(experiment.training.device)
        kind = json.dumps(experiment.model_dump(mode="json", include={"data", "task", "model"}), sort_keys=True)
        if kind not in seen:
            seen.add(kind)
            Evaluator(experiment)
