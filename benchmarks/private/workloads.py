"""The four models of the benchmark, with a batch of made-up examples each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.data.examples import DataSpec
from leptonic.models.cnn import Cnn
from leptonic.models.lenet import LeNet

CLASSES = 10
IMAGES = DataSpec(shape=(1, 28, 28), classes=CLASSES)
STEPS, INPUTS, HIDDEN = 32, 64, 128
TOKENS, VOCABULARY, WIDTH, HEADS, LAYERS = 32, 2000, 128, 4, 2


@dataclass(frozen=True)
class Workload:
    """make: the model. features: of n examples. substitute: what Opacus needs in the place of nn.LSTM."""

    name: str
    make: Callable[[], nn.Module]
    features: Callable[[int], Tensor]
    substitute: Callable[[], nn.Module] | None = None


class Sequences(nn.Module):
    """Two LSTM layers over (n, steps, inputs); the classes from the last step."""

    def __init__(self, lstm: type[nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm(INPUTS, HIDDEN, 2, batch_first=True)
        self.output = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """Two pre-norm encoder layers over token numbers (n, tokens); the classes from the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.Sequential(*(_Encoder() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1])[:, None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
        hidden = self.embedding(x) + torch.cat([place.sin(), place.cos()], dim=1)
        return self.output(self.norm(self.layers(hidden)).mean(dim=1))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.projections, self.mixed = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape
        heads = self.projections(self.norm1(x)).view(count, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(count, tokens, WIDTH)
        x = x + self.mixed(attended)
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


def workloads() -> list[Workload]:
    return [
        Workload("cnn", lambda: Cnn(IMAGES, channels=(32, 64), hidden=512), lambda n: torch.rand(n, 1, 28, 28)),
        Workload("lenet", lambda: LeNet(IMAGES), lambda n: torch.rand(n, 1, 28, 28)),
        Workload("lstm", Sequences, lambda n: torch.randn(n, STEPS, INPUTS), _for_opacus),
        Workload("transformer", Transformer, lambda n: torch.randint(0, VOCABULARY, (n, TOKENS))),
    ]


def _for_opacus() -> nn.Module:
    from opacus.layers import DPLSTM

    return Sequences(DPLSTM)
