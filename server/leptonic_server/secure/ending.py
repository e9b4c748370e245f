"""A session whose inputs are summed: what its survivors are still asked for, and what is said of them."""

from dataclasses import dataclass, replace

from leptonic.errors import ProtocolError, RunError
from leptonic.pipeline import Contribution, Pipeline
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.unmasking import OpenedSum, Unmasking
from leptonic.update import Mean
from leptonic_server.cohort import Members
from leptonic_server.judge import Asked
from leptonic_server.secure.trips import Part, ids

__all__ = ["Ending", "mean_of", "note_suspects"]


@dataclass(frozen=True)
class Ending:
    """A session whose inputs are summed. clients: roster indices of its survivors."""

    state: Agreeing | Unmasking
    clients: list[int]

    def agreement(self) -> Part | None:
        """Its survivors, to be signed, unless a quorum has signed them."""
        if isinstance(self.state, Unmasking):
            return None
        return Part.of(self.state, self.clients, message=self.state.message)

    def release(self, unmasking: Unmasking) -> Part:
        """Its quorum, for shares: the same for all."""
        return Part.of(unmasking, self.clients, message=lambda _: unmasking.message)


def mean_of(opened: OpenedSum, pipeline: Pipeline, number: int) -> Mean:
    """The mean of a round's opened sum. Raises RunError if it cannot be one: nobody can tell who has lied."""
    total, clients = Contribution(opened.words, opened.sums), len(opened.survivors)
    try:
        pipeline.check(total, clients=clients)
        return pipeline.decode(total)
    except ProtocolError as error:
        raise RunError(
            f"round {number}: the sum of {clients} clients was opened and cannot be right ({error}): one of them has "
            "lied about its weight or its update, and secure aggregation hides which"
        ) from None


def note_suspects(opened: OpenedSum, asked: Asked, members: Members) -> None:
    """Say between whom shares went wrong, in what is kept of both."""
    for client, name in ids(members, list(asked.records)).items():
        pairs = sorted(pair for pair in opened.suspects if name in pair)
        if pairs:
            words = "; ".join(_suspicion(*pair) for pair in pairs)
            asked.records[client] = replace(asked.records[client], detail=words)


def _suspicion(made: bytes, gave: bytes) -> str:
    if made == gave:
        return f"{made.decode()} has released another seed than its own"
    return f"a false share that {made.decode()} made and {gave.decode()} released: one of the two has lied"
