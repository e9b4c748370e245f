"""The contributions of one worker's clients as one sum, so that traffic grows with workers and not with clients.

Sums of integers do not depend on who is added where: the coordinator ends with the bits of single contributions.
"""

from collections.abc import Iterable, Iterator

from leptonic.errors import DecodeError
from leptonic.pipeline import Contribution, Pipeline
from leptonic.wire import Reply

__all__ = ["summed"]

Answer = tuple[Reply, bytes]


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
        *others, carrier = trained
        for reply in others:
            yield reply.model_copy(update={"carried_by": carrier.client}), b""
        yield carrier, total.to_bytes()


def _takeable(pipeline: Pipeline, answer: bytes) -> Contribution | None:
    try:
        contribution = pipeline.from_bytes(answer)
        pipeline.check(contribution)
    except DecodeError:
        return None
    return contribution
