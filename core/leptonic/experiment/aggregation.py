"""``[aggregation]``: the rule that makes one update of many."""

from typing import Annotated, Literal

from pydantic import Field

from leptonic.experiment.settings import PositiveFloat, PositiveInt, Settings

__all__ = ["Aggregation", "GeometricMedianRule", "KrumRule", "MeanRule", "MedianRule", "TrimmedMeanRule"]


class MeanRule(Settings):
    """The (weighted) mean: the only rule whose sum can be hidden from the server."""

    rule: Literal["mean"]
    weighting: Literal["examples", "uniform"] = "examples"
    weight_cap: PositiveInt | None = Field(
        default=None,
        description="largest weight of a client; default: 16 times the mean size of a catalogue partition",
    )
    range: PositiveFloat = Field(default=8.0, description="updates are clamped to +-range before quantisation")


class MedianRule(Settings):
    """Coordinate-wise median (Yin et al. 2018, arXiv 1803.01498)."""

    rule: Literal["median"]
    range: PositiveFloat = 8.0


class TrimmedMeanRule(Settings):
    """Coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498)."""

    rule: Literal["trimmed_mean"]
    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(default=0.1, description="fraction cut at each end")
    range: PositiveFloat = 8.0


class KrumRule(Settings):
    """Krum; with select > 1 Multi-Krum (Blanchard et al. 2017, arXiv 1703.02757)."""

    rule: Literal["krum"]
    byzantine: Annotated[int, Field(ge=0)] = Field(default=1, description="lying clients to survive")
    select: PositiveInt = Field(default=1, description="updates averaged; more than 1 is Multi-Krum")
    range: PositiveFloat = 8.0


class GeometricMedianRule(Settings):
    """Geometric median by smoothed Weiszfeld steps (Pillutla et al. 2022, arXiv 1912.13445)."""

    rule: Literal["geometric_median"]
    iterations: PositiveInt = 32
    smoothing: PositiveFloat = 1e-6
    range: PositiveFloat = 8.0


Aggregation = Annotated[
    MeanRule | MedianRule | TrimmedMeanRule | KrumRule | GeometricMedianRule, Field(discriminator="rule")
]
