"""What a run costs a client: of one round, and of how many.

Called by a node when it is asked to join, before anything is trained, and by :class:`Participant`, which charges it.
"""

from dataclasses import dataclass

from leptonic import models, parameters
from leptonic.data.catalogue import spec_of
from leptonic.experiment import ExamplePrivacy, Experiment
from leptonic.pipeline import ClientLevelPipeline
from leptonic.privacy.accounting import ExamplePlan, plan
from leptonic.privacy.client_level import ClientPlan, client_plan
from leptonic.privacy.ledger import Cost
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic_client.training import LocalTrainer

__all__ = ["UNPROTECTED", "RunCost", "plan_of", "round_cost", "run_cost"]

UNPROTECTED = Cost(mechanism=None, times=1, unit="example", adjacency="add_remove")
"""Of what leaves without privacy: once is as bad as often."""


@dataclass(frozen=True)
class RunCost:
    """cost: of one round. rounds: most of them. target: the run's own, in words."""

    cost: Cost
    rounds: int
    target: str


def plan_of(trainer: LocalTrainer, public_size: int) -> ExamplePlan | ClientPlan | None:
    """The plan of a client with so many examples; None without privacy."""
    pipeline = trainer.pipeline
    return (
        pipeline.plan if isinstance(pipeline, ClientLevelPipeline) else _example_plan(trainer.experiment, public_size)
    )


def _example_plan(experiment: Experiment, public_size: int) -> ExamplePlan | None:
    if not isinstance(experiment.privacy, ExamplePrivacy):
        return None
    releases = experiment.privacy.releases(experiment.training.rounds)
    return plan(experiment.privacy, experiment.training, public_size=public_size, releases=releases)


def round_cost(planned: ExamplePlan | ClientPlan, *, trusting: bool) -> Cost:
    """What a client's round costs. trusting: whether noise counts that the coordinator promises to add."""
    if isinstance(planned, ExamplePlan):
        mechanism = SampledGaussian(planned.noise_multiplier, planned.sample_rate)
        return Cost(mechanism, planned.steps_per_round, unit="example", adjacency="add_remove")
    if not (planned.by_clients or trusting):
        return UNPROTECTED
    return Cost(planned.release, 1, unit="client", adjacency="zero_out")


def run_cost(experiment: Experiment, public_size: int, *, trusting: bool) -> RunCost:
    """What a whole run costs such a client. Raises as the plans."""
    privacy = experiment.privacy
    if privacy is None:
        return RunCost(UNPROTECTED, 1, "it has no [privacy]")
    example = _example_plan(experiment, public_size)
    target = f"epsilon {privacy.epsilon:g} per {privacy.unit} at delta {privacy.delta:g}"
    if example is not None:
        return RunCost(round_cost(example, trusting=trusting), example.releases, f"{target}, by the PRV accountant")
    model = models.build(experiment.model, spec_of(experiment.data), experiment.seed)
    planned = client_plan(experiment, parameters.layout_of(model).size)
    if not (planned.by_clients or trusting):
        target += ", but by noise that the coordinator promises to add"
    return RunCost(round_cost(planned, trusting=trusting), planned.participations, target)
