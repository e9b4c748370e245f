"""``[algorithm]`` and ``[server_optimizer]``: how updates are made, and what the server does with their mean."""

from typing import Annotated, Literal

from pydantic import Field

from leptonic.experiment.settings import Fraction, NonNegativeFloat, PositiveFloat, Settings

__all__ = [
    "Algorithm",
    "FedAvg",
    "FedDyn",
    "FedNova",
    "FedProx",
    "Scaffold",
    "ServerAdaptive",
    "ServerOptimizer",
    "ServerSgd",
]


class FedAvg(Settings):
    """Federated averaging (McMahan et al. 2017, arXiv 1602.05629)."""

    name: Literal["fedavg"]


class FedProx(Settings):
    """FedAvg with a proximal term mu/2 ||w - w_global||^2 (Li et al. 2020, arXiv 1812.06127)."""

    name: Literal["fedprox"]
    mu: NonNegativeFloat = 0.01


class Scaffold(Settings):
    """Control variates against client drift (Karimireddy et al. 2020, arXiv 1910.06378)."""

    name: Literal["scaffold"]


class FedNova(Settings):
    """Normalised averaging for unequal local work (Wang et al. 2020, arXiv 2007.07481)."""

    name: Literal["fednova"]


class FedDyn(Settings):
    """Dynamic regularisation (Acar et al. 2021, arXiv 2111.04263)."""

    name: Literal["feddyn"]
    alpha: PositiveFloat = 0.01


Algorithm = Annotated[FedAvg | FedProx | Scaffold | FedNova | FedDyn, Field(discriminator="name")]


class ServerSgd(Settings):
    """new = old + learning_rate * (momentum buffer of the mean update); momentum gives FedAvgM."""

    name: Literal["sgd"]
    learning_rate: PositiveFloat = 1.0
    momentum: Fraction = 0.0


class ServerAdaptive(Settings):
    """FedAdam, FedYogi, FedAdagrad (Reddi et al. 2021, arXiv 2003.00295)."""

    name: Literal["adam", "yogi", "adagrad"]
    learning_rate: PositiveFloat = 0.01
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    tau: PositiveFloat = Field(default=1e-3, description="degree of adaptivity, added to the root")


ServerOptimizer = Annotated[ServerSgd | ServerAdaptive, Field(discriminator="name")]
