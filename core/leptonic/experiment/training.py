"""``[training]``: the local work of a client in one round."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from leptonic.experiment.settings import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Settings

__all__ = ["Schedule", "Training"]


class Schedule(Settings):
    """Learning rate over rounds: linear warm-up, then the chosen decay."""

    kind: Literal["constant", "cosine", "step", "exponential"] = "constant"
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    every: PositiveInt = Field(default=10, description="rounds between steps (step only)")
    factor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="multiplier per step, or per round (exponential)"
    )
    floor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="smallest fraction of the rate (cosine)"
    )


class Training(Settings):
    """Local work of a client in one round."""

    rounds: PositiveInt = 10
    local_epochs: PositiveInt | None = Field(default=None, description="passes over the data; default 1")
    local_steps: PositiveInt | None = Field(default=None, description="optimiser steps, instead of local_epochs")
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.01
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0
    schedule: Schedule = Schedule()
    accumulation_steps: PositiveInt = Field(
        default=1, description="micro-batches per optimiser step, each with a share of its memory"
    )
    gradient_clip_norm: PositiveFloat | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    threads: PositiveInt = Field(default=1, description="intra-op threads; part of what makes runs repeat")

    @model_validator(mode="after")
    def _one_measure_of_work(self) -> Self:
        if self.local_epochs is not None and self.local_steps is not None:
            raise ValueError("local_epochs and local_steps exclude each other: set one")
        if self.optimizer != "sgd" and self.momentum:
            raise ValueError(f"momentum belongs to sgd, not {self.optimizer}: leave it out")
        if self.schedule.warmup_rounds >= self.rounds:
            raise ValueError(
                f"schedule.warmup_rounds = {self.schedule.warmup_rounds} leaves none of {self.rounds} rounds"
            )
        return self
