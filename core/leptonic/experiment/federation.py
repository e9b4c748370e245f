"""``[federation]``: who takes part, how the data is divided, and how long a round waits."""

from typing import Annotated, Literal

from pydantic import Field

from leptonic.experiment.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Settings

__all__ = [
    "ClassesPerClient",
    "Dirichlet",
    "Federation",
    "Iid",
    "NaturalPartition",
    "Partition",
    "QuantitySkew",
    "Sampled",
]


class Iid(Settings):
    """Every client draws from the same distribution; sizes differ by at most one."""

    scheme: Literal["iid"]


class Dirichlet(Settings):
    """Label skew: each class is divided by a draw from Dirichlet(alpha)."""

    scheme: Literal["dirichlet"]
    alpha: PositiveFloat = 0.5
    minimum_examples: PositiveInt = Field(default=10, description="draw again until each client has so many")


class ClassesPerClient(Settings):
    """Label skew: each client holds exactly so many classes."""

    scheme: Literal["classes"]
    classes: PositiveInt = 2


class QuantitySkew(Settings):
    """Size skew: client sizes by a draw from Dirichlet(alpha), labels IID."""

    scheme: Literal["quantity"]
    alpha: PositiveFloat = 0.5
    minimum_examples: PositiveInt = 10


class NaturalPartition(Settings):
    """One client per value of the data's own key (person, device, hospital, ...), largest first."""

    scheme: Literal["natural"]


class Sampled(Settings):
    """Every client draws so many examples for itself, so that a population may outnumber the data.

    Clients share examples, and nothing is stored for those who are not asked.
    """

    scheme: Literal["sampled"]
    examples: PositiveInt = Field(default=60, description="examples of each client")
    alpha: PositiveFloat | None = Field(
        default=None, description="label skew: each client's classes by a draw from Dirichlet(alpha); default: none"
    )


Partition = Annotated[
    Iid | Dirichlet | ClassesPerClient | QuantitySkew | NaturalPartition | Sampled, Field(discriminator="scheme")
]


class Federation(Settings):
    """Who takes part, and how long a round waits."""

    clients: PositiveInt = Field(default=10, description="clients in all")
    cohort: PositiveInt | None = Field(default=None, description="updates wanted per round; default: all clients")
    over_selection: NonNegativeFloat = Field(default=0.0, description="fraction invited beyond the cohort")
    minimum: PositiveInt | None = Field(
        default=None, description="fewest updates that make a round; default: half of the cohort, rounded up"
    )
    deadline: PositiveFloat = Field(default=600.0, description="seconds a round waits for its cohort")
    attempts: PositiveInt = Field(default=3, description="tries of one round before the run stops")
    partition: Partition = Iid(scheme="iid")

    @property
    def wanted(self) -> int:
        """Updates wanted per round."""
        return self.cohort or self.clients

    @property
    def invited(self) -> int:
        """Clients asked per round."""
        return min(self.clients, self.wanted + int(self.wanted * self.over_selection))

    def turns(self, rounds: int) -> int:
        """The most of so many rounds that one client is asked in, where all take turns."""
        return -(-rounds * self.invited // self.clients)

    @property
    def needed(self) -> int:
        """Fewest updates that make a round."""
        return self.minimum or (self.wanted + 1) // 2
