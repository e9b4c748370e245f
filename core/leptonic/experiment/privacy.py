"""``[privacy]``: the promise to those who are trained on, single examples or whole clients."""

from typing import Annotated, Literal

from pydantic import Field

from leptonic.experiment.settings import PositiveFloat, PositiveInt, Settings

__all__ = [
    "AdaptiveClipping",
    "ClientPrivacy",
    "CorrelatedPrivacy",
    "DistributedPrivacy",
    "ExamplePrivacy",
    "LocalPrivacy",
    "Privacy",
    "ServerPrivacy",
]

Delta = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class ExamplePrivacy(Settings):
    """Example-level differential privacy: DP-SGD on each client, against everyone who gets its updates."""

    unit: Literal["example"]
    epsilon: PositiveFloat = Field(description="target for the whole run, per client")
    delta: Delta
    clip_norm: PositiveFloat = Field(default=1.0, description="bound on each example's gradient norm")
    participations: PositiveInt | None = Field(
        default=None, description="most rounds that one client trains, repeated ones included; default: training.rounds"
    )

    def releases(self, rounds: int) -> int:
        """How many rounds of one client the noise is calibrated for; it refuses the next."""
        return self.participations or rounds


class _WholeClients(Settings):
    unit: Literal["client"]
    epsilon: PositiveFloat = Field(description="target for the whole run, per client")
    delta: Delta
    clip_norm: PositiveFloat = Field(default=1.0, description="bound on the norm of each client's update")
    participations: PositiveInt | None = Field(
        default=None,
        description="most updates that one client sends, repeated ones included; default: its turns in all rounds",
    )


class DistributedPrivacy(_WholeClients):
    """Integer noise in every client's update, opened only as a sum (Agarwal et al. 2021, arXiv 2110.04995)."""

    mechanism: Literal["distributed"]
    noise: Literal["skellam", "discrete_gaussian"] = Field(default="skellam", description="law of each client's noise")


class LocalPrivacy(_WholeClients):
    """Each client's noise protects it alone, whatever the others do: the last resort, since it takes the most."""

    mechanism: Literal["local"]
    noise: Literal["skellam", "discrete_gaussian"] = Field(default="skellam", description="law of each client's noise")


class AdaptiveClipping(Settings):
    """``[privacy.adaptive_clip]``: follow a quantile of the norms (Andrew et al. 2021, arXiv 1905.03871)."""

    quantile: Share = Field(default=0.5, description="share of the updates that the clip leaves as they are")
    rate: PositiveFloat = Field(default=0.2, description="how fast the clip moves, in logarithms")
    bit_deviation: PositiveFloat | None = Field(
        default=None, description="noise on the count of clients below the clip; default: a twentieth of the cohort"
    )


class ServerPrivacy(_WholeClients):
    """The server adds the noise (McMahan et al. 2018, arXiv 1710.06963): a promise to hold against all others."""

    mechanism: Literal["server"]
    adaptive_clip: AdaptiveClipping | None = Field(
        default=None, description="clip_norm is then that of the first round; choose it without looking at data"
    )


class CorrelatedPrivacy(_WholeClients):
    """The server's noise, correlated over rounds (DP-FTRL, banded: arXiv 2103.00039, 2306.08153)."""

    mechanism: Literal["correlated"]
    band: PositiveInt = Field(description="rounds from one update of a client to its next, at least")


ClientPrivacy = Annotated[
    DistributedPrivacy | LocalPrivacy | ServerPrivacy | CorrelatedPrivacy, Field(discriminator="mechanism")
]
Privacy = Annotated[ExamplePrivacy | ClientPrivacy, Field(discriminator="unit")]
