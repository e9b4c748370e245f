"""Server optimisers: how the mean update of a round moves the global model.

State in, state out: an optimiser is a frozen value, its state a dict of named float32 arrays that the run
store saves beside the model. No input is ever modified. The mean update points where the clients went
(new minus old model), so a step adds it; it is minus the pseudo-gradient of the papers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic import experiment
from leptonic.errors import ExperimentError, RunError

__all__ = ["ServerOptimizer", "State", "optimizer_for"]

Vector = NDArray[np.float32]
State = dict[str, Vector]


class ServerOptimizer(Protocol):
    """What the coordinator needs of a server optimiser."""

    def init(self, size: int) -> State:
        """The state before the first round; each array is (size,) float32. size: parameters of the model."""
        ...

    def apply(self, state: State, vector: Vector, update: Vector) -> tuple[State, Vector]:
        """One step: the new state and the new model.

        vector: (d,) float32, the global model. update: (d,) float32, the mean model delta of the round.
        Raises RunError if the state, the model and the update do not fit each other.
        """
        ...


def optimizer_for(settings: experiment.ServerOptimizer) -> ServerOptimizer:
    """The optimiser that ``[server_optimizer]`` asks for.

    Raises ExperimentError if float32 cannot hold tau squared.
    """
    if isinstance(settings, experiment.ServerSgd):
        return Sgd(settings.learning_rate, settings.momentum)
    if settings.tau**2 < np.finfo(np.float32).tiny:
        raise ExperimentError(
            f"server_optimizer.tau = {settings.tau}: its square is no normal float32; set 1e-18 or more"
        )
    return Adaptive(
        kind=settings.name,
        learning_rate=settings.learning_rate,
        beta1=settings.beta1,
        beta2=settings.beta2,
        tau=settings.tau,
    )


@dataclass(frozen=True)
class Sgd:
    """Gradient descent with momentum on the server: v = beta v + update; new = old + rate v.

    Rate 1 without momentum is FedAvg, exactly old + update; without momentum there is no state.
    Source: FedAvgM, Hsu, Qi, Brown 2019, arXiv 1909.06335.
    """

    learning_rate: float
    momentum: float

    def init(self, size: int) -> State:
        """{"momentum": zeros}, or {} without momentum."""
        return {"momentum": np.zeros(size, dtype=np.float32)} if self.momentum else {}

    def apply(self, state: State, vector: Vector, update: Vector) -> tuple[State, Vector]:
        """See :class:`ServerOptimizer`."""
        _check(state, self.init(0), vector=vector, update=update)
        if not self.momentum:
            return {}, vector + np.float32(self.learning_rate) * update
        velocity = np.float32(self.momentum) * state["momentum"] + update
        return {"momentum": velocity}, vector + np.float32(self.learning_rate) * velocity


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """FedAdam, FedYogi, FedAdagrad: m = beta1 m + (1 - beta1) update; new = old + rate m / (sqrt(v) + tau).

    ``v`` starts at tau^2 and takes in the squared update: each kind in its way. No bias correction, as in the
    paper. Its FedAdagrad experiments set beta1 = 0; here beta1 applies to all three, as in the algorithm.
    Source: Reddi et al. 2021, arXiv 2003.00295, Algorithm 2.
    """

    kind: Literal["adam", "yogi", "adagrad"]
    learning_rate: float
    beta1: float
    beta2: float
    tau: float

    def init(self, size: int) -> State:
        """{"first": zeros, "second": tau^2 everywhere}."""
        return {
            "first": np.zeros(size, dtype=np.float32),
            "second": np.full(size, self.tau**2, dtype=np.float32),
        }

    def apply(self, state: State, vector: Vector, update: Vector) -> tuple[State, Vector]:
        """See :class:`ServerOptimizer`."""
        _check(state, self.init(0), vector=vector, update=update)
        first = np.float32(self.beta1) * state["first"] + np.float32(1.0 - self.beta1) * update
        second = _SECOND_MOMENTS[self.kind](state["second"], np.square(update), self.beta2)
        root: Vector = np.sqrt(second)
        step = np.float32(self.learning_rate) * first / (root + np.float32(self.tau))
        return {"first": first, "second": second}, vector + step


def _adam(second: Vector, square: Vector, beta2: float) -> Vector:
    return np.float32(beta2) * second + np.float32(1.0 - beta2) * square


def _yogi(second: Vector, square: Vector, beta2: float) -> Vector:
    sign: Vector = np.sign(second - square)
    return second - np.float32(1.0 - beta2) * square * sign


def _adagrad(second: Vector, square: Vector, _beta2: float) -> Vector:
    return second + square


_SECOND_MOMENTS: dict[str, Callable[[Vector, Vector, float], Vector]] = {
    "adam": _adam,
    "yogi": _yogi,
    "adagrad": _adagrad,
}


def _check(state: State, expected: State, *, vector: Vector, update: Vector) -> None:
    if state.keys() != expected.keys():
        raise RunError(
            f"the server optimiser's state holds {sorted(state)}, but it needs {sorted(expected)}: "
            "the run was stored with other [server_optimizer] settings"
        )
    for name, array in {"update": update, **state}.items():
        if array.shape != vector.shape or array.dtype != np.float32:
            raise RunError(
                f"server optimiser: '{name}' is {array.shape} {array.dtype}, but the model is {vector.shape} float32"
            )
