"""``[model]``: the network."""

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from leptonic.experiment.settings import Entry, PositiveInt, Settings, peek

__all__ = ["Cnn", "LeNet", "Logistic", "Mlp", "Model", "OwnModel", "ResNet", "TanhCnn"]


class Logistic(Settings):
    """Multinomial logistic regression."""

    name: Literal["logistic"]


class Mlp(Settings):
    """Fully connected layers with ReLU."""

    name: Literal["mlp"]
    hidden: list[PositiveInt] = [200]


class LeNet(Settings):
    """NIID-Bench's convolutional network: conv 6 and 16 (5x5), fully connected 120 and 84."""

    name: Literal["lenet"]


class Cnn(Settings):
    """Two 5x5 convolutions and one hidden layer, as in the FedAvg paper (1.66 M parameters at default)."""

    name: Literal["cnn"]
    channels: list[PositiveInt] = Field(default=[32, 64], min_length=2, max_length=2)
    hidden: PositiveInt = 512


class TanhCnn(Settings):
    """Small convolutional network for [privacy]: conv 16 (8x8) and 32 (4x4) with tanh, fully connected 32."""

    name: Literal["tanh_cnn"]


class ResNet(Settings):
    """Residual network with GroupNorm, for small images."""

    name: Literal["resnet"]
    width: PositiveInt = Field(default=16, multiple_of=4)
    blocks: PositiveInt = Field(default=1, description="residual blocks in each of the three stages")


class OwnModel(Settings):
    """A model factory of your own: ``package.module:factory``, called as factory(spec, **options)."""

    name: Entry
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _have_a_canonical_form(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("options are finite numbers, strings, booleans, lists and tables of these") from None
        return options


Model = Annotated[
    Annotated[Logistic, Tag("logistic")]
    | Annotated[Mlp, Tag("mlp")]
    | Annotated[LeNet, Tag("lenet")]
    | Annotated[Cnn, Tag("cnn")]
    | Annotated[TanhCnn, Tag("tanh_cnn")]
    | Annotated[ResNet, Tag("resnet")]
    | Annotated[OwnModel, Tag("own")],
    Discriminator(lambda v: "own" if ":" in str(peek(v, "name")) else peek(v, "name")),
]
