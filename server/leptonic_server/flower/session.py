"""One round of a Flower app: a session from its opening to the sum, over the grid that the app's strategy is given."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flwr.app import Message, RecordDict

from leptonic.errors import ProtocolError
from leptonic.flower.content import payload_digest
from leptonic.flower.terms import Terms
from leptonic.flower.wire import RECORD, content_of, masked_of, request_of
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import Open, SignedAdvertisement
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.sharing import Sharing
from leptonic.secagg.server.summing import Summing
from leptonic.secagg.server.unmasking import OpenedSum
from leptonic_server.flower.asking import LOGGER, Asking
from leptonic_server.secure.given_up import AtWork

__all__ = ["RoundSession"]

NO_RECORD = bytes(32)
"""The record that a Flower app's sessions go on from: there is none."""


class Gathering(Protocol):
    """A state of a session that takes answers."""

    def take(self, client: bytes, content: bytes) -> None:
        """One client's answer."""
        ...


@dataclass
class RoundSession:
    """A session. seed: of simulated keys, where these are. names: the clients' ids, by node, as they advertise."""

    office: Office
    asking: Asking
    opening: Open
    terms: Terms
    seed: Mapping[str, bytes]
    names: dict[int, bytes] = field(default_factory=dict)

    def shared(self, nodes: Iterable[int]) -> Sharing:
        """The two trips before work. Raises BelowThreshold where too few are there."""
        inviting = Inviting(self.office, self.opening)
        invitation = request_of(
            "open", inviting.message, terms=encoded(self.terms), roster=self.office.roster.encoding, **self.seed
        )

        def advertised(node: int, content: RecordDict) -> None:
            advertisement = content_of(content.config_records.get(RECORD))
            # Whoever it says it is, the roster's key has signed it.
            name = decoded(SignedAdvertisement, advertisement).client
            inviting.take(name, advertisement)
            self.names[node] = name

        self.asking.ask(
            {node: RecordDict({RECORD: invitation}) for node in nodes},
            what="advertise keys",
            take=advertised,
            enough=lambda: len(inviting.clients) >= self.opening.settings.minimum,
        )
        sharing = inviting.close()
        self._ask(
            "share",
            sharing,
            sharing.message,
            what="share secrets",
            enough=lambda: len(sharing.clients) >= sharing.graph.bounds.survivors,
        )
        return sharing

    def summing(self, sharing: Sharing, content: RecordDict) -> Summing:
        """Ready for work on these records. Raises BelowThreshold where too few have shared."""
        return sharing.close(payload_digest(content), NO_RECORD)

    def at_work(self, summing: Summing) -> AtWork:
        """What is to be given up if it comes to no sum."""
        return AtWork(summing.cohort, summing.graph.bounds.abort_quorum, dict(self.names))

    def messages(self, summing: Summing, content: RecordDict, proofs: Callable[[bytes], bytes]) -> list[Message]:
        """The third trip's messages: the app's own records, and the client's part of the session."""
        messages = []
        for node, name in self._among(summing.clients).items():
            request = request_of("train", summing.message(name, proofs(name)), **self.seed)
            records = RecordDict({**content, RECORD: request})
            messages.append(Message(records, node, self.asking.message_type))
        return messages

    def summed(self, summing: Summing, replies: Iterable[Message]) -> Agreeing:
        """The masked sum of these replies. Raises BelowThreshold if they are too few."""
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                continue
            try:
                header = content_of(reply.content.config_records.get(RECORD))
                summing.take(self.names.get(node, b""), header, masked_of(reply.content))
            except ProtocolError as error:
                LOGGER.warning("secure aggregation: node %d: %s: %s", node, type(error).__name__, error)
        return summing.close()

    def opened(self, agreeing: Agreeing) -> OpenedSum:
        """The two trips after work. Raises BelowThreshold or BadShare if the sum cannot be opened."""
        survivors = agreeing.survivors
        self._ask(
            "agree",
            agreeing,
            agreeing.message,
            what="sign the survivors",
            enough=lambda: agreeing.complete,
            clients=survivors,
        )
        unmasking = agreeing.close()
        self._ask(
            "unmask",
            unmasking,
            lambda _: unmasking.message,
            what="release shares",
            enough=lambda: unmasking.complete,
            clients=survivors,
        )
        return unmasking.open(Here(), NO_RECORD)

    def _ask(
        self,
        step: str,
        state: Gathering,
        message: Callable[[bytes], bytes],
        *,
        what: str,
        enough: Callable[[], bool],
        clients: Iterable[bytes] | None = None,
    ) -> None:
        """One trip of a step that has a message for each client."""
        names = self.names if clients is None else self._among(clients)

        def take(node: int, content: RecordDict) -> None:
            state.take(names[node], content_of(content.config_records.get(RECORD)))

        self.asking.ask(
            {node: RecordDict({RECORD: request_of(step, message(name), **self.seed)}) for node, name in names.items()},
            what=what,
            take=take,
            enough=enough,
        )

    def _among(self, clients: Iterable[bytes]) -> dict[int, bytes]:
        wanted = set(clients)
        return {node: name for node, name in self.names.items() if name in wanted}
