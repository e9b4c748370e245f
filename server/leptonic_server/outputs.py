"""What a run leaves for people: metrics.jsonl, TensorBoard events, the model, the report, the last line.

Everything is derived from the run store, so that a resumed run leaves the same as an unbroken one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leptonic.data.catalogue import spec_of
from leptonic.experiment import Experiment
from leptonic.files import write_atomic
from leptonic.privacy.promise import promise_of
from leptonic_server.evaluation import Evaluator
from leptonic_server.report import write_report
from leptonic_server.store import RoundRecord, RunStore

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Outputs", "Result", "result_of"]


@dataclass(frozen=True)
class Result:
    """What a finished run amounts to; printed as one JSON object by ``--json``.

    accuracy: of the last round, on the server's test data, None where it has none. best_accuracy: over rounds.
    seconds: over all rounds. epsilon: the most that any client spent, and what it says: at which delta, of which unit,
    against whom. seeded_noise: it protected nobody.
    bytes_up, bytes_down: encoded messages between coordinator and clients.
    """

    accuracy: float | None
    best_accuracy: float | None
    model_sha256: str
    rounds: int
    seconds: float
    bytes_up: int
    bytes_down: int
    epsilon: float | None
    delta: float | None
    unit: str | None
    against: str | None
    seeded_noise: bool
    run_dir: str

    def to_json(self) -> str:
        """One line."""
        return json_line(asdict(self))


class Outputs:
    """Follows a run's commits."""

    def __init__(self, experiment: Experiment, store: RunStore) -> None:
        self._experiment, self._store = experiment, store
        self._metrics = store.folder / "metrics.jsonl"
        lines = [_line(record) for record in store.rounds()]
        write_atomic(self._metrics, "".join(lines).encode())
        resolved = json.dumps(experiment.model_dump(mode="json"), indent=2) + "\n"
        write_atomic(store.folder / "experiment.json", resolved.encode())
        self._events = _events(store.folder, len(lines)) if experiment.outputs.tensorboard else None

    def round_committed(self, record: RoundRecord) -> None:
        """Append one round to the metrics and the events."""
        with self._metrics.open("a", encoding="utf-8") as stream:
            stream.write(_line(record))
        if self._events is None:
            return
        groups = {"server": record.metrics, "clients": record.client_metrics, "train": record.train}
        groups["seconds"] = record.seconds
        groups["round"] = {
            "survivors": record.survivors,
            "bytes_up": record.bytes_up,
            "bytes_down": record.bytes_down,
            "learning_rate": record.learning_rate,
        }
        if record.virtual_seconds is not None:
            groups["scenario"] = {"virtual_seconds": record.virtual_seconds}
        if record.spent is not None:
            groups["privacy"] = {"epsilon": record.spent}
        for group, values in groups.items():
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, record.round)
        self._events.flush()

    def finish(self, evaluator: Evaluator, *, label_counts: NDArray[np.int64] | None = None) -> Result:
        """Write the model of the last round and the report, and say what the run amounts to.

        label_counts: (clients, classes), which only a simulation may know.
        """
        write_atomic(self._store.folder / "model.safetensors", evaluator.model_file(self._store.vectors()["model"]))
        if self._experiment.outputs.report:
            write_report(self._store, label_counts=label_counts, class_names=spec_of(self._experiment.data).class_names)
        return result_of(self._store)

    def close(self) -> None:
        """Close the events."""
        if self._events is not None:
            self._events.close()


def result_of(store: RunStore) -> Result:
    """The result of a run as far as it has been committed."""
    rounds, promise, privacy = store.rounds(), promise_of(store.experiment), store.experiment.privacy
    accuracies = [record.metrics["accuracy"] for record in rounds if "accuracy" in record.metrics]
    return Result(
        accuracy=rounds[-1].metrics.get("accuracy"),
        best_accuracy=max(accuracies, default=None),
        model_sha256=rounds[-1].model_sha256,
        rounds=rounds[-1].round,
        seconds=round(sum(sum(record.seconds.values()) for record in rounds), 3),
        bytes_up=sum(record.bytes_up for record in rounds),
        bytes_down=sum(record.bytes_down for record in rounds),
        epsilon=max((record.spent for record in rounds if record.spent is not None), default=None),
        delta=None if privacy is None else privacy.delta,
        unit=None if promise is None else promise.unit,
        against=None if promise is None else promise.against,
        seeded_noise=privacy is not None and store.experiment.simulation.seeded_noise,
        run_dir=str(Path(store.folder).resolve()),
    )


def _events(folder: Path, purge_step: int) -> "SummaryWriter":
    """TensorBoard's writer; what a killed run wrote beyond its last commit is purged."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "events"), purge_step=purge_step or None)


def _line(record: RoundRecord) -> str:
    return json_line(vars(record)) + "\n"


def json_line(content: Mapping[str, object]) -> str:
    """One line of JSON, which knows no NaN and no infinity: null stands for them."""

    def finite(value: object) -> object:
        if isinstance(value, dict):
            return {key: finite(inner) for key, inner in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(dict(content)), allow_nan=False)
