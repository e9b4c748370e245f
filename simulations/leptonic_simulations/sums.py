"""The contributions of clients that were trained together as one sum, so that costs grow with groups, not clients.

Sums of integers do not depend on who is added where: the coordinator ends with the bits of single contributions.
"""

from collections.abc import Iterable, Iterator, Sequence

from leptonic.errors import DecodeError
from leptonic.experiment import Experiment, MeanRule
from leptonic.pipeline import Contribution, Pipeline
from leptonic.wire import Reply

__all__ = ["only_sums_count", "summed", "sums_securely", "with_sum"]

Answer = tuple[Reply, bytes]


def sums_securely(experiment: Experiment) -> bool:
    """Whether the experiment's simulation masks updates."""
    return experiment.secure_aggregation is not None and experiment.simulation.secure_aggregation == "real"


def only_sums_count(experiment: Experiment) -> bool:
    """Whether every reply is wanted and nobody looks at a single one."""
    federation = experiment.federation
    # Under client-level privacy each client has a stream, or a norm, of its own to be encoded with.
    if sums_securely(experiment) or (experiment.privacy is not None and experiment.privacy.unit == "client"):
        return False
    # Within a scenario a reply may be lost or late by itself.
    together = federation.invited == federation.wanted and experiment.scenario is None
    return together and isinstance(experiment.aggregation, MeanRule)


def with_sum(replies: Sequence[Reply], total: bytes) -> Iterator[Answer]:
    """These replies, of which the last brings the sum of all."""
    *others, carrier = replies
    for reply in others:
        yield reply.model_copy(update={"carried_by": carrier.client}), b""
    yield carrier, total


def summed(pipeline: Pipeline, answers: Iterable[Answer]) -> Iterator[Answer]:
    """The same replies, of which the last carries the sum of all those that trained.

    What the coordinator would not take of a single client travels alone, to be judged there.
    """
    total, trained = pipeline.zero(), list[Reply]()
    for reply, answer in answers:
        contribution = _takeable(pipeline, answer) if reply.status == "done" else None
        if contribution is None:
            yield reply, answer
        else:
            total.add(contribution)
            trained.append(reply)
    if trained:
        yield from with_sum(trained, total.to_bytes())


def _takeable(pipeline: Pipeline, answer: bytes) -> Contribution | None:
    try:
        contribution = pipeline.from_bytes(answer)
        pipeline.check(contribution)
    except DecodeError:
        return None
    return contribution
