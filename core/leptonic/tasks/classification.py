"""Classification of images or table rows by cross-entropy, with accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import ExperimentError

__all__ = ["ImageClassification", "TabularClassification"]


@dataclass(frozen=True)
class _Classification:
    """One of ``spec.classes`` classes from logits (n, classes); labels are (n,) int64."""

    spec: DataSpec
    kind: ClassVar[str]
    needs: ClassVar[str]
    dimensions: ClassVar[int]
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "correct")

    def __post_init__(self) -> None:
        if len(self.spec.input_shape) != self.dimensions:
            raise ExperimentError(
                f"task.kind = {self.kind!r} needs {self.needs}, but an example has shape {list(self.spec.input_shape)}"
            )

    def check(self, examples: Examples, source: str) -> None:
        """Raise DataError, naming ``source`` and the row, unless the examples keep the contract."""
        examples.check(self.spec, source)

    def losses(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies in nats, (n,)."""
        return F.cross_entropy(self._checked(output), labels, reduction="none")

    def targets(self, labels: Tensor) -> Tensor:
        """Probability 1 for the label's class, (*, classes) float32."""
        nothing = torch.zeros(*labels.shape, self.spec.classes, device=labels.device)
        return nothing.scatter_(-1, labels.unsqueeze(-1), 1.0)

    def loss_gradients(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of the cross-entropies: the probabilities that the logits (*, classes) mean, less the targets."""
        return output.softmax(dim=-1).sub_(targets)

    def measures(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies in nats, and 1 for a correct answer. Returns (2, n) float32."""
        logits = self._checked(output).detach().float()
        losses = F.cross_entropy(logits, labels, reduction="none")
        return torch.stack([losses, (logits.argmax(dim=1) == labels).float()])

    def summary(self, sums: Mapping[str, float], examples: float) -> dict[str, float]:
        """Mean loss and accuracy; empty where there were no examples, since neither is then defined."""
        if examples <= 0:
            return {}
        return {"loss": sums["loss"] / examples, "accuracy": sums["correct"] / examples}

    def _checked(self, output: Tensor) -> Tensor:
        if output.ndim != 2 or output.shape[1] != self.spec.classes:
            raise ExperimentError(
                f"the model returns shape {list(output.shape)}, but the task has {self.spec.classes} "
                f"classes: return logits [n, {self.spec.classes}]"
            )
        return output


class ImageClassification(_Classification):
    """Classes of images [C, H, W]."""

    kind = "image_classification"
    needs = "images [C, H, W]"
    dimensions = 3


class TabularClassification(_Classification):
    """Classes of table rows [features]."""

    kind = "tabular_classification"
    needs = "table rows [features]"
    dimensions = 1
