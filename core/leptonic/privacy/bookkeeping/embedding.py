"""nn.Embedding: per-example gradients of the rows that an example looks up, which are few of the table's."""

import torch
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Samples
from leptonic.privacy.clipping import squared_norms, wide, without

__all__ = ["embedding"]


def embedding(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Samples:
    """nn.Embedding. inputs: (n, ...) indices. gradients: (n, ..., width)."""
    assert isinstance(module, nn.Embedding)
    indices = inputs.reshape(len(inputs), -1).long()
    return _Rows(module, indices, gradients.reshape(*indices.shape, -1))


class _Rows:
    """Sums each example's gradients by index, so that repeated indices add up before the norm is taken."""

    def __init__(self, module: nn.Embedding, indices: Tensor, gradients: Tensor) -> None:
        self._module, self._examples = module, len(indices)
        own = torch.arange(len(indices), device=indices.device)[:, None] * module.num_embeddings + indices
        looked_up, position = torch.unique(own, return_inverse=True)
        self._example, self._index = looked_up // module.num_embeddings, looked_up % module.num_embeddings
        self._rows = _by_index(gradients.flatten(0, 1), position.flatten(), len(looked_up))
        if module.padding_idx is not None:
            self._rows[self._index == module.padding_idx] = 0.0

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        squares = squared_norms(self._rows)
        return squares.new_zeros(self._examples).index_add_(0, self._example, squares)

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        own = weights[self._example]
        scaled = without(self._rows, own) * own.to(wide(self._rows))[:, None]
        return {"weight": _by_index(scaled, self._index, self._module.num_embeddings)}


def _by_index(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """The sums of the rows (r, w) of equal index. Returns (count, w)."""
    # The backward pass of a look-up; index_add_ takes ten times as long on the CPU.
    return torch.ops.aten.embedding_dense_backward(rows, index, count, -1, False)  # type: ignore[no-any-return]
