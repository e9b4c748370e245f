"""Which settings go together: refused here, before any work."""

from typing import TYPE_CHECKING

from leptonic.errors import BelowThreshold
from leptonic.experiment.aggregation import KrumRule, MeanRule, TrimmedMeanRule
from leptonic.experiment.algorithm import ServerSgd
from leptonic.experiment.data import OwnData
from leptonic.experiment.privacy import CorrelatedPrivacy, DistributedPrivacy, ExamplePrivacy

if TYPE_CHECKING:
    from leptonic.experiment.privacy import ClientPrivacy
    from leptonic.experiment.whole import Experiment

__all__ = ["check"]


def check(experiment: "Experiment") -> None:
    """Raises ValueError for the first combination that cannot work."""
    for rule in (
        _federation_fits,
        _rule_fits,
        _privacy_fits,
        _evaluation_fits,
        _data_fits,
        _liars_fit,
        _asynchronous_fits,
        _secure_aggregation_fits,
    ):
        rule(experiment)


def _federation_fits(experiment: "Experiment") -> None:
    federation = experiment.federation
    if federation.wanted > federation.clients:
        raise ValueError(
            f"federation.cohort = {federation.cohort} is more than federation.clients = {federation.clients}"
        )
    if federation.needed > federation.wanted:
        raise ValueError(f"federation.minimum = {federation.minimum} is more than the cohort of {federation.wanted}")


def _rule_fits(experiment: "Experiment") -> None:
    rule, algorithm, cohort = experiment.aggregation, experiment.algorithm.name, experiment.federation.needed
    if rule.rule != "mean" and algorithm not in ("fedavg", "fedprox"):
        raise ValueError(
            f"algorithm.name = '{algorithm}' needs exact sums: "
            f"aggregation.rule = '{rule.rule}' works with fedavg and fedprox"
        )
    if isinstance(rule, TrimmedMeanRule) and rule.trim and cohort < 3:
        raise ValueError(f"aggregation.trim = {rule.trim} needs federation.minimum >= 3, not {cohort}")
    if isinstance(rule, KrumRule):
        if cohort < 2 * rule.byzantine + 3:
            raise ValueError(
                f"aggregation.byzantine = {rule.byzantine} needs federation.minimum >= {2 * rule.byzantine + 3}, "
                f"not {cohort}"
            )
        if rule.select > cohort - rule.byzantine:
            raise ValueError(
                f"aggregation.select = {rule.select} must be at most minimum - byzantine = {cohort - rule.byzantine}"
            )
    if algorithm in ("scaffold", "feddyn") and experiment.server_optimizer != ServerSgd(name="sgd"):
        raise ValueError(
            f"algorithm.name = '{algorithm}' has its own server step: leave [server_optimizer] out (sgd with rate 1)"
        )
    if algorithm in ("scaffold", "feddyn", "fednova") and experiment.training.optimizer != "sgd":
        raise ValueError(f"algorithm.name = '{algorithm}' is defined for training.optimizer = 'sgd'")


def _privacy_fits(experiment: "Experiment") -> None:
    if experiment.privacy is None:
        return
    if "clients" in experiment.evaluation.on:
        raise ValueError(
            "privacy.unit: client-side evaluation would release unaccounted metrics; use evaluation.on = ['server']"
        )
    if isinstance(experiment.privacy, ExamplePrivacy):
        _example_privacy_fits(experiment, experiment.privacy)
    else:
        _client_privacy_fits(experiment, experiment.privacy)


def _example_privacy_fits(experiment: "Experiment", privacy: "ExamplePrivacy") -> None:
    training = experiment.training
    if training.gradient_clip_norm is not None:
        raise ValueError(
            "training.gradient_clip_norm: with privacy.unit = 'example' each example is clipped by privacy.clip_norm; "
            "leave it out"
        )
    if training.precision != "float32":
        raise ValueError("training.precision: privacy.unit = 'example' needs 'float32', in which its bound is shown")
    most = privacy.releases(training.rounds)
    if most < training.rounds:
        raise ValueError(
            f"privacy.participations = {most}: a client may be asked in each of training.rounds = {training.rounds}; "
            "allow as many at least, and more for rounds that are repeated"
        )


def _client_privacy_fits(experiment: "Experiment", privacy: "ClientPrivacy") -> None:
    federation, rule = experiment.federation, experiment.aggregation
    if not isinstance(rule, MeanRule) or rule.weighting != "uniform":
        raise ValueError(
            "aggregation: with privacy.unit = 'client' every client counts the same, or its size would show; "
            "use rule = 'mean' and weighting = 'uniform'"
        )
    if experiment.algorithm.name not in ("fedavg", "fedprox", "feddyn"):
        raise ValueError(
            f"algorithm.name = '{experiment.algorithm.name}' sends more of a client than the one vector that "
            "privacy.unit = 'client' clips: use fedavg, fedprox or feddyn"
        )
    if privacy.delta >= 1 / federation.clients:
        raise ValueError(
            f"privacy.delta = {privacy.delta:g} would allow one of {federation.clients} clients to be published "
            f"outright: set it below {1 / federation.clients:.3g}"
        )
    if isinstance(privacy, DistributedPrivacy) and experiment.secure_aggregation is None:
        raise ValueError(
            "privacy.mechanism = 'distributed': a single client's noise protects too little to be seen alone; add "
            "[secure_aggregation], or use mechanism = 'local'"
        )
    secure = experiment.secure_aggregation
    if privacy.mechanism in ("server", "correlated") and secure is not None and secure.retain != "nothing":
        raise ValueError(
            f"secure_aggregation.retain = '{secure.retain}' would keep sums without the noise that privacy.mechanism = "
            f"'{privacy.mechanism}' adds to them: use retain = 'nothing'"
        )
    if isinstance(privacy, CorrelatedPrivacy) and privacy.band > federation.clients // federation.invited:
        raise ValueError(
            f"privacy.band = {privacy.band}: with {federation.invited} of {federation.clients} clients a round, each "
            f"is asked again after {federation.clients // federation.invited} rounds; take a smaller band or cohort"
        )


def _secure_aggregation_fits(experiment: "Experiment") -> None:
    secure, federation, rule = experiment.secure_aggregation, experiment.federation, experiment.aggregation
    if secure is None:
        return
    if rule.rule != "mean":
        raise ValueError(
            f"aggregation.rule = '{rule.rule}' looks at single updates, which [secure_aggregation] hides: use 'mean'"
        )
    if "clients" in experiment.evaluation.on:
        raise ValueError(
            "evaluation.on: the clients' evaluation would show each one's metrics, which [secure_aggregation] hides; "
            "use evaluation.on = ['server']"
        )
    if experiment.scenario is not None and experiment.scenario.asynchronous is not None:
        raise ValueError(
            "scenario.asynchronous: its updates begin at different models and are discounted one by one, which "
            "[secure_aggregation] hides; leave one of them out"
        )
    if rule.weighting == "examples" and secure.bits < 24:
        raise ValueError(
            f"secure_aggregation.bits = {secure.bits}: weighted means need 24 or more; "
            "take more bits, or aggregation.weighting = 'uniform'"
        )
    try:
        needed = experiment.needed
    except BelowThreshold as error:
        raise ValueError(f"secure_aggregation: {error}") from None
    if needed > federation.wanted:
        raise ValueError(
            f"secure_aggregation: a sum of {federation.invited} invited clients needs {needed} of them, and "
            f"federation.cohort = {federation.wanted} waits for fewer: over-select less, or assume fewer colluders"
        )


def _evaluation_fits(experiment: "Experiment") -> None:
    if ("clients" in experiment.evaluation.on) != (experiment.evaluation.holdout > 0):
        raise ValueError("evaluation: on = [..., 'clients'] and holdout > 0 go together")


def _data_fits(experiment: "Experiment") -> None:
    data, rule = experiment.data, experiment.aggregation
    if (
        isinstance(data, OwnData)
        and isinstance(rule, MeanRule)
        and rule.weighting == "examples"
        and rule.weight_cap is None
    ):
        raise ValueError(
            "aggregation.weight_cap: with data.name = 'own' state the largest client's size, or weighting = 'uniform'"
        )


def _liars_fit(experiment: "Experiment") -> None:
    liars = experiment.scenario.liars if experiment.scenario else None
    clients = experiment.federation.clients
    if liars is None:
        return
    beyond = [client for client in liars.clients or [] if client >= clients]
    if beyond:
        raise ValueError(f"scenario.liars.clients: there is no client {beyond[0]}, of federation.clients = {clients}")
    if liars.count(clients) >= clients:
        raise ValueError(f"scenario.liars: all {clients} clients lie, so that nothing is left to learn; name fewer")
    knowing = liars.attack.name in ("a_little_is_enough", "inner_product")
    if knowing and experiment.privacy is not None and experiment.privacy.unit == "client":
        raise ValueError(
            f"scenario.liars.attack.name = '{liars.attack.name}' reads the others' updates, which "
            "privacy.unit = 'client' hides from everyone: use another attack"
        )
    if knowing and experiment.algorithm.name not in (
        "fedavg",
        "fedprox",
    ):
        raise ValueError(
            f"scenario.liars.attack.name = '{liars.attack.name}' is defined for updates of the model alone: "
            "use algorithm.name = 'fedavg' or 'fedprox'"
        )


def _asynchronous_fits(experiment: "Experiment") -> None:
    scenario, federation = experiment.scenario, experiment.federation
    settings = scenario.asynchronous if scenario else None
    if scenario is None or settings is None:
        return
    for name, count in (("concurrency", settings.concurrency), ("buffer", settings.buffer)):
        if count > federation.clients:
            raise ValueError(
                f"scenario.asynchronous.{name} = {count} is more than federation.clients = {federation.clients}: "
                "a client trains once at a time, and gives one update to a step"
            )
    if federation.cohort is not None or federation.minimum is not None or federation.over_selection:
        raise ValueError(
            "scenario.asynchronous: there are no rounds to invite for; leave federation.cohort, minimum and "
            "over_selection out, and set concurrency and buffer"
        )
    _sum_takes_stale_updates(experiment)
    if scenario.liars and scenario.liars.attack.name in ("a_little_is_enough", "inner_product"):
        raise ValueError(
            f"scenario.liars.attack.name = '{scenario.liars.attack.name}' knows the honest updates of a round, and "
            "scenario.asynchronous has no rounds: choose another attack"
        )


def _sum_takes_stale_updates(experiment: "Experiment") -> None:
    """Updates of one step start from different models and count by their age."""
    algorithm, rule = experiment.algorithm.name, experiment.aggregation.rule
    if algorithm in ("scaffold", "feddyn", "fednova"):
        why = {
            "scaffold": "control variates are those of one round's common model",
            "feddyn": "a client's dual variable is that of one round's common model",
            "fednova": "local steps are normalised over the cohort of one round",
        }[algorithm]
        raise ValueError(
            f"algorithm.name = '{algorithm}': {why}, and scenario.asynchronous has no rounds: use fedavg or fedprox"
        )
    if rule != "mean":
        raise ValueError(
            f"aggregation.rule = '{rule}' compares updates that start from the same model and count the same, which "
            "those of scenario.asynchronous do not: use rule = 'mean'"
        )
    if experiment.privacy is not None:
        raise ValueError(
            "privacy: its guarantee is accounted by rounds, and scenario.asynchronous has none; leave one of them out"
        )
