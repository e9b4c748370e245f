"""What a client brings to every session: its name and key, the roster, its owner's conditions, and its memory."""

from collections.abc import Collection
from dataclasses import dataclass, field

from leptonic.errors import InconsistentCohort, PolicyRefused
from leptonic.secagg.binding import Signer, Verifier, bound, named, verified
from leptonic.secagg.bounds import Bounds, default_colluders
from leptonic.secagg.encoding import Message
from leptonic.secagg.journal import Journal
from leptonic.secagg.messages import Open, SessionSettings
from leptonic.secagg.roster import Roster
from leptonic.secagg.sealing import Agreement, agreed_with
from leptonic.secagg.transcript import RecordCheck, check_record

__all__ = ["Policy", "Standing"]

MOST_WORDS = 2**36
"""Words that one mask has."""
PHASES = (0, 1)
"""What is done in a round: training, evaluation."""


@dataclass(frozen=True)
class Policy:
    """The owner's conditions, from the node's own file.

    survivors: fewest in a sum. threshold: fewest that can open a secret. colluders: fewest that must be assumed, None
    for a third of those invited, or a tenth of more than 128. curious: whether a coordinator may be assumed not to lie.
    peers: who must be in every sum.
    """

    survivors: int = 3
    threshold: int = 2
    colluders: int | None = None
    curious: bool = False
    peers: frozenset[bytes] = frozenset()

    def check_settings(self, settings: SessionSettings) -> None:
        """Raise PolicyRefused for settings that the owner does not take."""
        if settings.lying not in (0, 1) or not (settings.lying or self.curious):
            raise PolicyRefused("the session assumes that the coordinator does not lie, which this node's file forbids")

    def check_bounds(self, bounds: Bounds, settings: SessionSettings) -> None:
        """Raise PolicyRefused for a cohort that is too small for the owner, or too trusting."""
        least = default_colluders(settings.invited) if self.colluders is None else self.colluders
        if settings.colluders < least:
            raise PolicyRefused(
                f"the session assumes {settings.colluders} colluders, this node's file {least} at least"
            )
        if bounds.clients < self.survivors:
            raise PolicyRefused(f"a cohort of {bounds.clients}, this node's file asks for {self.survivors} at least")
        if bounds.threshold < self.threshold:
            raise PolicyRefused(
                f"{bounds.threshold} shares open a secret, this node's file asks for {self.threshold} at least"
            )

    def check_survivors(self, survivors: Collection[bytes]) -> None:
        """Raise PolicyRefused for a sum that is too small for the owner, or without somebody it insists on."""
        if len(survivors) < self.survivors:
            raise PolicyRefused(f"a sum over {len(survivors)}, this node's file asks for {self.survivors} at least")
        if absent := sorted(self.peers.difference(survivors)):
            names = ", ".join(name.decode(errors="replace") for name in absent)
            raise PolicyRefused(f"this node's file asks for these peers in every sum, and they are not: {names}")


@dataclass(frozen=True)
class Standing:
    """One client's standing in a federation.

    key: its Ed25519 key. verify, agree, check_record: who does so for it; a simulation does once for all.
    """

    client: bytes
    key: Signer = field(repr=False)
    roster: Roster
    journal: Journal
    policy: Policy = Policy()
    verify: Verifier = verified
    agree: Agreement = agreed_with
    check_record: RecordCheck = check_record

    def check_signature(self, client: bytes, signature: bytes, message: Message) -> None:
        """Raise BadSignature unless this client of the roster has signed the message."""
        self.check_statement(client, signature, bound(message))

    def check_named(self, client: bytes, digest: bytes, signature: bytes, message: Message) -> bool:
        """Whether the message has this hash. Raises BadSignature if it has, and the client has not signed it."""
        statement, its_digest = named(message)
        if its_digest != digest:
            return False
        self.check_statement(client, signature, statement)
        return True

    def check_statement(self, client: bytes, signature: bytes, statement: bytes) -> None:
        """The same for a message that was bound before."""
        key = self.roster.keys.get(client)
        if key is None:
            raise InconsistentCohort(f"{client.decode(errors='replace')} is not on the roster")
        self.verify(key, signature, statement, client)

    def check_coordinator(self, signature: bytes, message: Message) -> None:
        """Raise BadSignature unless the roster's coordinator has signed the message."""
        self.verify(self.roster.content.coordinator, signature, bound(message), b"the coordinator")

    def accept(self, opening: Open) -> None:
        """Raise what is wrong with a session before anything is said in it; note its number."""
        content = self.roster.content
        if opening.federation != content.federation or opening.roster != self.roster.hash:
            raise InconsistentCohort("the session names another federation or roster than this client's")
        self.policy.check_settings(opening.settings)
        if opening.phase not in PHASES:
            raise InconsistentCohort(f"a session of phase {opening.phase}, which nobody knows")
        if opening.serial >= 2**63 or opening.settings.words > MOST_WORDS:
            raise InconsistentCohort("a session's number, or its vector, is longer than there can be")
        if not 8 <= opening.settings.bits <= 32:
            raise InconsistentCohort(f"masked words of {opening.settings.bits} bits: they have 8 to 32")
        self.journal.open(opening.run, opening.serial)
