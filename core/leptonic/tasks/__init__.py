"""What is learned: a loss, and metrics that add up over examples. A task knows nothing of federation.

Local training and evaluation call a task; the coordinator turns summed metrics into a summary with it.
A task of one's own is named by its entry and called as factory(spec).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from leptonic import entry, experiment
from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import ExperimentError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DerivedTask", "Task", "task_for"]


@runtime_checkable
class Task(Protocol):
    """The seam between what is learned and how it is trained."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics that are summed, in a fixed order; the same on both sides."""
        ...

    def check(self, examples: Examples, source: str) -> None:
        """Raise DataError, naming ``source`` and the row, unless the examples suit the task."""
        ...

    def losses(self, output: "Tensor", labels: "Tensor") -> "Tensor":
        """The loss of each example, (n,), of which training takes the mean; n may be 0.

        Under example-level privacy it takes their sum, over the declared size of a batch.

        Each must be of its example alone: what couples the examples of a batch breaks the bound that
        example-level privacy puts on each of them, and the simulation's engines, which batch over clients.
        """
        ...

    def measures(self, output: "Tensor", labels: "Tensor") -> "Tensor":
        """Each metric of each example, without gradient. Returns (len(metric_names), n) float32."""
        ...

    def summary(self, sums: Mapping[str, float], examples: float) -> dict[str, float]:
        """What is shown of metrics that were summed over so many examples."""
        ...


@runtime_checkable
class DerivedTask(Task, Protocol):
    """A task that knows the derivative of its losses, for those who train without automatic differentiation."""

    def targets(self, labels: "Tensor") -> "Tensor":
        """Labels (*) as :meth:`loss_gradients` takes them, (*, ...)."""
        ...

    def loss_gradients(self, output: "Tensor", targets: "Tensor") -> "Tensor":
        """The gradient of each example's loss with respect to its own output: a fresh tensor of its shape."""
        ...


def task_for(settings: experiment.Task, spec: DataSpec) -> Task:
    """The task that an experiment names, for data of this kind.

    Raises ExperimentError when the task does not suit the data, or an own factory gives no task.
    """
    from leptonic.tasks.classification import ImageClassification, TabularClassification

    if settings.kind == "image_classification":
        return ImageClassification(spec)
    if settings.kind == "tabular_classification":
        return TabularClassification(spec)
    return _own(settings.kind, spec)


def _own(kind: str, spec: DataSpec) -> Task:
    task = entry.call(kind, spec, what="task.kind")
    if not isinstance(task, Task):
        needed = "metric_names, check, losses, measures, summary"
        raise ExperimentError(f"task.kind = {kind!r}: the factory returned no task; a task has {needed}")
    names = task.metric_names
    if not isinstance(names, tuple) or len(set(names)) != len(names) or "examples" in names:
        raise ExperimentError(
            f"task.kind = {kind!r}: metric_names = {names!r} must be a tuple of different names, "
            "none of them 'examples'"
        )
    return task
