"""Labelled examples in memory, and the contract that both sides know without seeing them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DataError

if TYPE_CHECKING:
    import torch

__all__ = ["DataSpec", "Examples"]


@dataclass(frozen=True)
class DataSpec:
    """What is known of the data in advance: enough to build a model and to scale the features.

    shape: of one example, [C, H, W] for images or [features] for tables.
    mean, std: one value, or one per channel or feature; uint8 features are first divided by 255.
    train_examples: size of the whole training set where it is public, else None.
    scattering: whether a model takes the images' scattering features rather than their pixels.
    """

    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    class_names: tuple[str, ...] = ()
    train_examples: int | None = None
    scattering: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example as a model takes it; ``shape`` but for computed features."""
        if not self.scattering:
            return self.shape
        from leptonic.data.scattering import COEFFICIENTS, STRIDE

        channels, height, width = self.shape
        return channels * COEFFICIENTS, height // STRIDE, width // STRIDE


@dataclass(frozen=True)
class Examples:
    """Raw examples, as they were read.

    features: (n, *shape) uint8 or float32. labels: (n,) int64.
    clients: (n,) str, the natural client of each row, or None where the data has no such key.
    """

    features: NDArray[np.generic]
    labels: NDArray[np.int64]
    clients: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> "Examples":
        """The examples of these rows, in this order."""
        clients = None if self.clients is None else self.clients[rows]
        return Examples(self.features[rows], self.labels[rows], clients)

    def check(self, spec: DataSpec, source: str) -> None:
        """Raise DataError, naming ``source`` and the first bad row, unless the examples keep the contract."""
        if len(self.features) != len(self.labels):
            raise DataError(f"{source}: {len(self.features)} rows of features but {len(self.labels)} labels")
        if self.features.shape[1:] != spec.shape:
            raise DataError(
                f"{source}: an example has shape {self.features.shape[1:]}, the experiment says {spec.shape}"
            )
        bad = np.flatnonzero((self.labels < 0) | (self.labels >= spec.classes))
        if len(bad):
            raise DataError(f"{source}: row {bad[0]}: label {self.labels[bad[0]]} is outside 0..{spec.classes - 1}")
        if self.features.dtype != np.uint8:
            finite = np.isfinite(self.features.reshape(len(self), -1)).all(axis=1)
            if not finite.all():
                raise DataError(f"{source}: row {np.flatnonzero(~finite)[0]}: a feature is not a finite number")

    def tensors(self, spec: DataSpec) -> "tuple[torch.Tensor, torch.Tensor]":
        """Features (n, *spec.input_shape) float32, scaled or computed, and labels (n,) int64, on the CPU."""
        import torch

        from leptonic.data.scattering import features_of

        # Into a fresh tensor: one that keeps an odd stride of its source in a dimension of size 1 passes for another
        # memory format, takes another kernel, and sums in another order.
        scaled = torch.empty(self.features.shape, dtype=torch.float32)
        scaled.copy_(torch.from_numpy(np.ascontiguousarray(self.features)))
        if self.features.dtype == np.uint8:
            scaled.div_(255.0)
        per_channel = (-1,) + (1,) * (len(spec.shape) - 1)
        scaled.sub_(torch.tensor(spec.mean).view(per_channel)).div_(torch.tensor(spec.std).view(per_channel))
        features = features_of(scaled) if spec.scattering else scaled
        return features, torch.from_numpy(np.ascontiguousarray(self.labels))
