"""Which encoding an experiment asks for: the same on both sides."""

from leptonic.algorithms import algorithm_for
from leptonic.data.catalogue import spec_of
from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment, MeanRule
from leptonic.integers import Lattice
from leptonic.pipeline.base import Pipeline
from leptonic.pipeline.clipped import ClippedPipeline
from leptonic.pipeline.lattice import LatticePipeline
from leptonic.pipeline.noised import NoisedPipeline
from leptonic.privacy.client_level import client_plan
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.tasks import task_for

__all__ = ["pipeline_for", "reference_examples"]

HEADROOM = 16
"""How many mean client sizes the largest weight may be, where the file gives no cap: costs 4 of 32 bits."""


def pipeline_for(experiment: Experiment, size: int) -> Pipeline:
    """The pipeline of an experiment for models of ``size`` parameters.

    Raises PrivacyError if no noise keeps the privacy that the experiment asks for.
    """
    algorithm, rule = algorithm_for(experiment), experiment.aggregation
    bits = experiment.secure_aggregation.bits if experiment.secure_aggregation else 32
    if experiment.privacy is not None and experiment.privacy.unit == "client":
        # Neither metrics nor sums of an algorithm's leave a client: they would be releases too.
        plan = client_plan(experiment, size)
        if isinstance(plan.mechanism, DistributedMechanism):
            return NoisedPipeline(algorithm, size, (), plan, plan.mechanism, experiment.hash)
        return ClippedPipeline(algorithm, size, (), plan, Lattice(range=1.0, clients=experiment.summed, bits=bits))
    metrics = () if experiment.privacy else task_for(experiment.task, spec_of(experiment.data)).metric_names
    training = tuple(f"train_{name}" for name in (*metrics, "examples")) if metrics else ()
    return LatticePipeline(
        algorithm=algorithm,
        size=size,
        sum_names=(*algorithm.sums, *training),
        lattice=Lattice(range=rule.range, clients=experiment.summed, bits=bits),
        weight_cap=_weight_cap(experiment, rule) if isinstance(rule, MeanRule) else None,
    )


def reference_examples(experiment: Experiment) -> int:
    """Examples of a client of mean size, known to both sides: what unequal amounts of work are compared with."""
    examples = spec_of(experiment.data).train_examples
    if examples is not None:
        return max(1, examples // experiment.federation.clients)
    rule = experiment.aggregation
    return (rule.weight_cap if isinstance(rule, MeanRule) else None) or experiment.training.batch_size


def _weight_cap(experiment: Experiment, rule: MeanRule) -> float | None:
    if rule.weighting == "uniform":
        return None
    if rule.weight_cap is not None:
        return float(rule.weight_cap)
    if spec_of(experiment.data).train_examples is None:
        raise ExperimentError("aggregation.weight_cap: the data's size is not public; state the largest client's size")
    return float(HEADROOM * reference_examples(experiment))
