"""``[evaluation]``, ``[outputs]`` and ``[simulation]``: what is measured, what is left behind, how it executes."""

from typing import Literal

from pydantic import Field

from leptonic.experiment.settings import Fraction, PositiveInt, Settings

__all__ = ["Evaluation", "Outputs", "Simulation"]


class Evaluation(Settings):
    """Where and how often the global model is evaluated."""

    on: list[Literal["server", "clients"]] = ["server"]
    every: PositiveInt = Field(default=1, description="rounds between evaluations; the last round always is")
    holdout: Fraction = Field(default=0.0, description="fraction of each client's data kept for evaluation")
    batch_size: PositiveInt = 512


class Outputs(Settings):
    """What a run leaves behind. Not part of the experiment's hash."""

    directory: str = "runs"
    report: bool = True
    tensorboard: bool = True


class Simulation(Settings):
    """How a simulation executes. Not part of the experiment's hash."""

    engine: Literal["exact", "auto", "sequential", "batched", "processes", "ray"] = Field(
        default="exact",
        description="auto: the fastest on the first clients; exact: the fastest of those that give a deployment's bits",
    )
    workers: PositiveInt | None = Field(
        default=None,
        description="processes of the machine or of the cluster, or threads of the batched engine; default: its cores",
    )
    secure_aggregation: Literal["real", "ideal"] = Field(
        default="real", description="ideal: the same integers are summed without masks; faster, protects nobody"
    )
    seeded_noise: bool = Field(
        default=False,
        description="draw privacy noise from the seed: repeatable, protects nobody, marked in the output",
    )
