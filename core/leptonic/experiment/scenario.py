"""``[scenario]``: what happens to a simulated federation that a deployed one meets by itself.

Clients that are away, slow, or lost, and clients that lie, in virtual time. All of it is drawn from the
experiment's seed and named by client and round, so that a run repeats. A deployed server refuses it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from leptonic.experiment.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Settings

__all__ = [
    "ALittleIsEnough",
    "Asynchronous",
    "Attack",
    "Availability",
    "DropOuts",
    "GaussianUpdate",
    "InnerProduct",
    "LabelFlip",
    "Liars",
    "Scale",
    "Scenario",
    "SignFlip",
    "Stragglers",
]

Share = Annotated[float, Field(gt=0, le=1)]
ClientIndex = Annotated[int, Field(ge=0)]


class Availability(Settings):
    """Who can be invited: a wave over the day, with a time zone of each client's own.

    A client is online with probability online * (1 + swing * cos(2 pi (time / day - zone))), drawn anew every
    ``stay`` seconds.
    """

    online: Share = Field(default=0.5, description="fraction of the clients that is online on average")
    swing: Annotated[float, Field(ge=0, le=1)] = Field(default=0.5, description="depth of the daily wave; 0: none")
    zones: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.25, description="part of the globe over which the clients are spread; 1: all of it, 0: one time zone"
    )
    stay: PositiveFloat = Field(default=3600.0, description="seconds that a client stays online, or away")
    day: PositiveFloat = Field(default=86400.0, description="seconds of a day")

    @model_validator(mode="after")
    def _wave_fits(self) -> Self:
        if self.online * (1 + self.swing) > 1:
            raise ValueError(
                f"online = {self.online} with swing = {self.swing} has more than all clients online at its peak: "
                f"online * (1 + swing) must be at most 1"
            )
        return self


class Stragglers(Settings):
    """How fast each client computes and transmits: log-normal, drawn once for each client."""

    examples_per_second: PositiveFloat = Field(default=1000.0, description="median compute speed, in training examples")
    compute_spread: NonNegativeFloat = Field(default=0.5, description="standard deviation of its logarithm")
    bytes_per_second: PositiveFloat = Field(default=1e6, description="median link speed, the same up and down")
    link_spread: NonNegativeFloat = Field(default=0.5, description="standard deviation of its logarithm")
    jitter: NonNegativeFloat = Field(
        default=0.0, description="standard deviation of the logarithm of a factor on a client's time, new each round"
    )


class DropOuts(Settings):
    """Clients that were invited and fall silent: the round learns of it by its deadline only."""

    probability: Annotated[float, Field(ge=0, le=1)] = Field(default=0.1, description="per client and round")
    at: Literal["before_training", "after_training"] = Field(
        default="before_training", description="after_training: the work is done and the state kept, the update is lost"
    )


class SignFlip(Settings):
    """Sends -factor times its update."""

    name: Literal["sign_flip"]
    factor: PositiveFloat = 1.0


class Scale(Settings):
    """Sends factor times its update (model replacement; Bagdasaryan et al. 2020, arXiv 1807.00459)."""

    name: Literal["scale"]
    factor: PositiveFloat = 10.0


class LabelFlip(Settings):
    """Trains honestly on data whose class l reads classes - 1 - l (Fang et al. 2020, arXiv 1911.11815)."""

    name: Literal["label_flip"]


class GaussianUpdate(Settings):
    """Sends normal noise instead of its update (Blanchard et al. 2017, arXiv 1703.02757)."""

    name: Literal["gaussian"]
    deviation: PositiveFloat = Field(default=1.0, description="standard deviation of each entry")


class ALittleIsEnough(Settings):
    """Sends mean - z * deviation of the honest updates, entry by entry (Baruch et al. 2019, arXiv 1902.06156)."""

    name: Literal["a_little_is_enough"]
    z: PositiveFloat | None = Field(
        default=None, description="deviations; default: the most that hides among the honest clients of the cohort"
    )


class InnerProduct(Settings):
    """Sends -factor times the mean of the honest updates (Xie et al. 2019, arXiv 1903.03936)."""

    name: Literal["inner_product"]
    factor: PositiveFloat = Field(default=1.0, description="the paper's epsilon")


Attack = Annotated[
    SignFlip | Scale | LabelFlip | GaussianUpdate | ALittleIsEnough | InnerProduct, Field(discriminator="name")
]


class Liars(Settings):
    """Clients that lie in every round, together, and how."""

    fraction: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="of all clients, drawn from the seed; or name them by clients"
    )
    clients: list[ClientIndex] | None = Field(default=None, description="roster indexes, instead of fraction")
    attack: Attack = SignFlip(name="sign_flip")

    @model_validator(mode="after")
    def _one_way_to_say_who(self) -> Self:
        if (self.fraction is None) == (self.clients is None):
            raise ValueError("say who lies by fraction, or by clients: set one of them")
        if self.clients is not None and len(set(self.clients)) < len(self.clients):
            raise ValueError(f"clients = {self.clients}: a client is named twice")
        return self

    def count(self, clients: int) -> int:
        """How many of so many clients lie."""
        return len(self.clients) if self.clients is not None else round((self.fraction or 0.0) * clients)


class Asynchronous(Settings):
    """Steps of the server without rounds (FedBuff; Nguyen et al. 2022, arXiv 2106.06639).

    Clients begin one by one, each from the model of that moment; every ``buffer`` updates make one step, in which an
    update that is s steps old is multiplied by (1 + s) ** -staleness_exponent (Xie et al. 2019, arXiv 1903.03934).
    """

    concurrency: PositiveInt = Field(description="clients that train at any time")
    buffer: PositiveInt = Field(description="updates that make one step of the server")
    staleness_exponent: NonNegativeFloat = Field(default=0.5, description="0: old updates count as much as new ones")
    max_staleness: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="steps; older updates are dropped; default: none is"
    )


class Scenario(Settings):
    """What clients meet and do in a simulation; each part is optional. Any of it makes time virtual."""

    availability: Availability | None = None
    stragglers: Stragglers | None = None
    drop_outs: DropOuts | None = None
    liars: Liars | None = None
    asynchronous: Asynchronous | None = None
