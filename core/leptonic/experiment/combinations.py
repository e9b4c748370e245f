"""Which settings go together: refused here, before any work."""

from typing import TYPE_CHECKING

from leptonic.experiment.aggregation import KrumRule, MeanRule, TrimmedMeanRule
from leptonic.experiment.algorithm import ServerSgd
from leptonic.experiment.data import OwnData

if TYPE_CHECKING:
    from leptonic.experiment.whole import Experiment

__all__ = ["check"]


def check(experiment: "Experiment") -> None:
    """Raises ValueError for the first combination that cannot work."""
    for rule in (_federation_fits, _rule_fits, _privacy_fits, _evaluation_fits, _data_fits, _scenario_fits):
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
    training = experiment.training
    if "clients" in experiment.evaluation.on:
        raise ValueError(
            "privacy.unit: client-side evaluation would release unaccounted metrics; use evaluation.on = ['server']"
        )
    if training.gradient_clip_norm is not None:
        raise ValueError(
            "training.gradient_clip_norm: with [privacy] each example is clipped by privacy.clip_norm; leave it out"
        )
    if training.accumulation_steps != 1 or training.precision != "float32":
        raise ValueError("training: [privacy] needs accumulation_steps = 1 and precision = 'float32'")


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


def _scenario_fits(experiment: "Experiment") -> None:
    liars = experiment.scenario.liars if experiment.scenario else None
    clients = experiment.federation.clients
    if liars is None:
        return
    beyond = [client for client in liars.clients or [] if client >= clients]
    if beyond:
        raise ValueError(f"scenario.liars.clients: there is no client {beyond[0]}, of federation.clients = {clients}")
    if liars.count(clients) >= clients:
        raise ValueError(f"scenario.liars: all {clients} clients lie, so that nothing is left to learn; name fewer")
    if liars.attack.name in ("a_little_is_enough", "inner_product") and experiment.algorithm.name not in (
        "fedavg",
        "fedprox",
    ):
        raise ValueError(
            f"scenario.liars.attack.name = '{liars.attack.name}' is defined for updates of the model alone: "
            "use algorithm.name = 'fedavg' or 'fedprox'"
        )
