"""What a run costs a client: of one round, and of how many.

Called by a node when it is asked to join, before anything is trained, and by :class:`Participant`, which charges it.
"""

from dataclasses import dataclass

from leptonic.experiment import Experiment
from leptonic.privacy.accounting import ExamplePlan, plan
from leptonic.privacy.ledger import Cost
from leptonic.privacy.mechanisms import SampledGaussian

__all__ = ["UNPROTECTED", "RunCost", "example_plan", "round_cost", "run_cost"]

UNPROTECTED = Cost(mechanism=None, times=1, unit="example", adjacency="add_remove")
"""Of a run without privacy, once: no number of its rounds makes it more."""


@dataclass(frozen=True)
class RunCost:
    """cost: of one round. rounds: most of them. target: the run's own, in words."""

    cost: Cost
    rounds: int
    target: str


def example_plan(experiment: Experiment, public_size: int) -> ExamplePlan | None:
    """The plan of a client with so many examples; None without privacy.

    A repeated round gets the same bytes or never left the process, so that rounds bound the releases.
    """
    if experiment.privacy is None:
        return None
    releases = experiment.training.rounds
    return plan(experiment.privacy, experiment.training, public_size=public_size, releases=releases)


def round_cost(planned: ExamplePlan) -> Cost:
    """What a client's round of DP-SGD costs."""
    mechanism = SampledGaussian(planned.noise_multiplier, planned.sample_rate)
    return Cost(mechanism, planned.steps_per_round, unit="example", adjacency="add_remove")


def run_cost(experiment: Experiment, public_size: int) -> RunCost:
    """What a whole run costs such a client. Raises as :func:`leptonic.privacy.accounting.plan`."""
    planned = example_plan(experiment, public_size)
    if planned is None:
        return RunCost(UNPROTECTED, 1, "it has no [privacy]")
    target = f"epsilon {planned.target_epsilon:g} per example at delta {planned.delta:g}, by the PRV accountant"
    return RunCost(round_cost(planned), planned.releases, target)
