"""``[privacy]``: the promise to those whose examples are trained on."""

from typing import Annotated, Literal

from pydantic import Field

from leptonic.experiment.settings import PositiveFloat, Settings

__all__ = ["Privacy"]


class Privacy(Settings):
    """Example-level differential privacy: DP-SGD on each client, against everyone who gets its updates."""

    unit: Literal["example"]
    epsilon: PositiveFloat = Field(description="target for the whole run, per client")
    delta: Annotated[float, Field(gt=0, lt=1)]
    clip_norm: PositiveFloat = Field(default=1.0, description="bound on each example's gradient norm")
