"""The forecast of client-level privacy, for all four mechanisms."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from leptonic.errors import PrivacyError
from leptonic.experiment import CorrelatedPrivacy, Experiment, ServerPrivacy
from leptonic.privacy.client_level import ClientPlan, client_plan
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.distributed_calibration import Counts, calibrate
from leptonic.privacy.forecast.advice import advice_on_clients, assumptions_on_clients
from leptonic.privacy.forecast.points import Point, Target, in_order, with_epsilon
from leptonic.privacy.forecast.signal import Signal, signal_of
from leptonic.privacy.promise import stated

__all__ = ["ClientForecast", "Collusion", "forecast_clients", "inflation", "wrap_chance"]


@dataclass(frozen=True)
class Collusion:
    """What it means if so many ``colluders`` of the fewest clients in a sum work with the server.

    honest: clients whose noise is left. epsilon: of the noise as planned. noise: each client's deviation that would
    keep to the target, and ``signal`` what it leaves; None where nothing would.
    """

    colluders: int
    honest: int
    epsilon: float
    noise: float | None
    signal: Signal | None


@dataclass(frozen=True)
class ClientForecast:
    """An experiment's client-level privacy.

    size: parameters of the model. stated: mechanism and parameters. inflation: how much longer rounding may make a
    clipped update, D2 / (s c). wrap_chance: of one coordinate of a sum of all invited clients; both for integer noise
    only. against_fresh: with correlated noise, that of all rounds together over fresh noise's for the same target.
    """

    name: str
    size: int
    clients: int
    rounds: int
    stated: dict[str, str | int | float]
    epsilon: float
    inflation: float | None
    wrap_chance: float | None
    against_fresh: float | None
    signal: Signal
    curve: tuple[Point, ...]
    targets: tuple[Target, ...]
    collusion: tuple[Collusion, ...]
    statement: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


def forecast_clients(experiment: Experiment, size: int, *, epsilons: Sequence[float] = ()) -> ClientForecast:
    """What the experiment's noise is and costs. size: parameters of the model. epsilons: other targets to compare.

    Raises PrivacyError where no noise keeps to the experiment's own target.
    """
    privacy, federation, rounds = experiment.privacy, experiment.federation, experiment.training.rounds
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = client_plan(experiment, size)
    assert privacy is not None

    signal = partial(signal_of, size=size, rounds=rounds)
    loudness = signal(plan)
    fresh = _fresh(experiment, size)
    mechanism = plan.mechanism if isinstance(plan.mechanism, DistributedMechanism) else None
    return ClientForecast(
        name=experiment.name,
        size=size,
        clients=federation.clients,
        rounds=rounds,
        stated=stated(experiment, plan),
        epsilon=plan.epsilon(plan.participations),
        inflation=inflation(mechanism) if mechanism else None,
        wrap_chance=wrap_chance(mechanism, federation.invited) if mechanism else None,
        against_fresh=loudness.over_run / fresh.over_run if fresh else None,
        signal=loudness,
        curve=tuple(_curve(experiment, plan)),
        targets=tuple(_target(experiment, size, epsilon, signal) for epsilon in in_order(privacy.epsilon, epsilons)),
        collusion=tuple(_collusion(experiment, plan, signal)),
        statement=plan.statement(),
        assumptions=assumptions_on_clients(experiment, plan),
        warnings=(*advice_on_clients(experiment, plan, loudness, size), *(str(one.message) for one in caught)),
    )


def inflation(mechanism: DistributedMechanism) -> float:
    """How much longer rounding may make a clipped update: D2 / (s c)."""
    return mechanism.bounds.l2 / (mechanism.scale * mechanism.clip_norm)


def wrap_chance(mechanism: DistributedMechanism, invited: int) -> float:
    """The chance that one coordinate of a sum leaves its words, at most: if all invited clients send the same.

    Its variance is then (s c n)^2 / d of the updates, n / 4 of the rounding and n (s sigma)^2 of the noise, and the
    rotation makes it nearly normal.
    """
    updates = (mechanism.scale * mechanism.clip_norm * invited) ** 2 / mechanism.dimension
    deviation = math.sqrt(updates + invited / 4 + invited * mechanism.local_variance)
    return math.erfc(2 ** (mechanism.bits - 1) / deviation / math.sqrt(2))


def _curve(experiment: Experiment, plan: ClientPlan) -> list[Point]:
    """Of the client that joins as soon as it may."""
    points = []
    for number in range(1, experiment.training.rounds + 1):
        joined = min(plan.participations, experiment.federation.turns(number))
        points.append(Point(number, joined, plan.epsilon(joined)))
    return points


def _target(experiment: Experiment, size: int, epsilon: float, signal: Callable[[ClientPlan], Signal]) -> Target:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = client_plan(with_epsilon(experiment, epsilon), size)
    except PrivacyError as error:
        return Target(epsilon, impossible=str(error))
    return Target(epsilon, _noise(plan), signal(plan))


def _noise(plan: ClientPlan) -> float:
    mechanism = plan.mechanism
    return mechanism.local_deviation if isinstance(mechanism, DistributedMechanism) else mechanism.noise_multiplier


def _collusion(experiment: Experiment, plan: ClientPlan, signal: Callable[[ClientPlan], Signal]) -> list[Collusion]:
    """None, as many as are assumed, a third, a half, and all others of the fewest clients in a sum."""
    mechanism, fewest = plan.mechanism, plan.minimum
    if not isinstance(mechanism, DistributedMechanism) or experiment.secure_aggregation is None or plan.honest == 1:
        return []
    rows = []
    for colluders in sorted({0, plan.assumed, -(-fewest // 3), fewest // 2, fewest - 1}):
        honest = max(1, fewest - colluders)
        seen = replace(plan, release=mechanism.release(honest), honest=honest, assumed=colluders)
        enough: DistributedMechanism | None = None
        with suppress(PrivacyError):
            enough = _calibrated(experiment, plan, mechanism, honest)
        rows.append(
            Collusion(
                colluders,
                honest,
                epsilon=seen.epsilon(plan.participations),
                noise=enough.local_deviation if enough else None,
                signal=signal(replace(plan, mechanism=enough)) if enough else None,
            )
        )
    return rows


def _calibrated(
    experiment: Experiment, plan: ClientPlan, mechanism: DistributedMechanism, honest: int
) -> DistributedMechanism:
    return calibrate(
        size=mechanism.size,
        clip_norm=mechanism.clip_norm,
        bits=mechanism.bits,
        counts=Counts(experiment.federation.invited, honest, mechanism.denominator),
        rounds=plan.participations,
        epsilon=plan.target_epsilon,
        delta=plan.delta,
        clients=experiment.federation.clients,
        noise=mechanism.noise,
    )


def _fresh(experiment: Experiment, size: int) -> Signal | None:
    """What the same target leaves with fresh noise in every round, where the experiment's is correlated."""
    privacy = experiment.privacy
    if not isinstance(privacy, CorrelatedPrivacy):
        return None
    settings = privacy.model_dump(exclude={"mechanism", "band"})
    fresh = experiment.model_copy(update={"privacy": ServerPrivacy(mechanism="server", **settings)})
    return signal_of(client_plan(fresh, size), size=size, rounds=experiment.training.rounds)
