"""What an experiment promises to those whose data it trains on, in words and as plain values.

Called wherever a run is checked, planned, recorded or reported, so that all of them say the same.
"""

from dataclasses import dataclass

from leptonic.experiment import (
    CorrelatedPrivacy,
    DistributedPrivacy,
    ExamplePrivacy,
    Experiment,
    LocalPrivacy,
    ServerPrivacy,
)
from leptonic.privacy.client_level import EVERYONE, ClientPlan, adversary_of, assumed_colluders
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import TrustedServer

__all__ = ["Promise", "promise_of", "stated"]

Values = dict[str, str | int | float]

_CLIENT = "per client (all of its data; compared with a client that sends zeros)"
_NOT_THE_SERVER = "other clients and those who get the model, but not against the server"


@dataclass(frozen=True)
class Promise:
    """mechanism: its short name. by: what protects whom. unit: and what is compared. against: the adversary.

    holder: who makes it true, in a sentence.
    """

    mechanism: str
    by: str
    unit: str
    against: str
    holder: str


def promise_of(experiment: Experiment) -> Promise | None:
    """The promise of the section ``[privacy]``; None without one."""
    match experiment.privacy:
        case None:
            return None
        case ExamplePrivacy():
            return Promise(
                mechanism="dp_sgd",
                by="Example-level differential privacy by DP-SGD on each client",
                unit="per example of one client (add/remove adjacency)",
                against="everyone who gets the client's updates: the server, other clients, and those who get the "
                "model",
                holder="Each client calibrates its own noise and keeps its own ledger.",
            )
        case DistributedPrivacy():
            return Promise(
                mechanism="distributed",
                by="Client-level differential privacy by integer noise that each client adds before secure aggregation",
                unit=_CLIENT,
                against=_colluding(experiment),
                holder="Each client adds its share of the noise, and unmasks no sum of fewer clients than it asks for.",
            )
        case LocalPrivacy():
            return Promise(
                mechanism="local",
                by="Client-level differential privacy by noise in each client's own message",
                unit=_CLIENT,
                against=EVERYONE,
                holder="Each client adds all the noise that protects it.",
            )
        case ServerPrivacy():
            by, why = "Client-level differential privacy by noise that the server adds to each sum", "sees each update"
            if experiment.secure_aggregation is not None:
                why = "sees each sum without noise"
        case CorrelatedPrivacy():
            by, why = "Client-level differential privacy by noise that the server correlates over rounds", "can undo it"
    return Promise(
        mechanism=experiment.privacy.mechanism,
        by=by,
        unit=_CLIENT,
        against=_NOT_THE_SERVER,
        holder=f"The server must be trusted to add the noise: it {why}.",
    )


def _colluding(experiment: Experiment) -> str:
    assumed, minimum = assumed_colluders(experiment), experiment.needed
    return adversary_of(max(1, minimum - assumed), assumed=assumed, minimum=minimum)


def stated(experiment: Experiment, plan: ClientPlan | None) -> Values:
    """Mechanism and parameters as plain values, for records and JSON; nothing without ``[privacy]``.

    plan: with client-level privacy. Of example-level privacy each client knows its own noise and sample rate alone:
    they follow from its declared size, the expected batch, and the participations that it calibrates for.
    """
    privacy, promise = experiment.privacy, promise_of(experiment)
    if privacy is None or promise is None:
        return {}
    values: Values = {
        "mechanism": promise.mechanism,
        "unit": privacy.unit,
        "adjacency": "add_or_remove" if plan is None else "zero_out",
        "against": promise.against,
        "target_epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "clip_norm": privacy.clip_norm,
        "accountant": "prv" if plan is None else "rdp",
    }
    if plan is not None:
        return values | _of_plan(plan, experiment)
    assert isinstance(privacy, ExamplePrivacy)
    training = experiment.training
    return values | {"batch_size": training.batch_size, "participations": privacy.releases(training.rounds)}


def _of_plan(plan: ClientPlan, experiment: Experiment) -> Values:
    values: Values = {
        "participations": plan.participations,
        "invited": experiment.federation.invited,
        "minimum": plan.minimum,
        "denominator": plan.denominator,
    }
    match plan.mechanism:
        case DistributedMechanism() as mechanism:
            return values | {
                "honest": plan.honest,
                "colluders": plan.assumed,
                "noise": mechanism.noise,
                "local_deviation": mechanism.local_deviation,
                "scale": mechanism.scale,
                "bits": mechanism.bits,
            }
        case TrustedServer() as mechanism:
            values["noise_multiplier"] = mechanism.noise_multiplier
            if (adaptive := mechanism.adaptive) is not None:
                values["update_noise_multiplier"] = adaptive.update_noise_multiplier
                values["bit_deviation"] = adaptive.deviation_of_bits
            return values
        case mechanism:
            return values | {"noise_multiplier": mechanism.noise_multiplier, "band": mechanism.band}
