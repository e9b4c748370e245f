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
        if len(self.spec.shape) != self.dimensions:
            raise ExperimentError(
                f"task.kind = {self.kind!r} needs {self.needs}, but an example has shape {list(self.spec.shape)}"
            )

    def check(self, examples: Examples, source: str) -> None:
        """Raise DataError, naming ``source`` and the row, unless the examples keep the contract."""
        examples.check(self.spec, source)

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy in nats over the batch; NaN, with zero gradients, for an empty batch."""
        return F.cross_entropy(self._checked(output), labels)

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies in nats and correct answers, summed over the batch. Returns (2,) float64."""
        logits = self._checked(output).detach().float()
        losses = F.cross_entropy(logits, labels, reduction="none")
        correct = (logits.argmax(dim=1) == labels).float()
        each = torch.stack([losses, correct])
        if each.device.type == "mps":  # has no float64
            each = each.cpu()
        return each.sum(dim=1, dtype=torch.float64)

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
