"""Everything that client and coordinator say in a session, and what they hash and sign, in the order of the protocol.

See docs/secagg.md for what each is for. A list of (client, digest) names everybody; the statements behind the digests
are brought for those whom the receiver shares secrets with.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import Digest, Id, Key, Name, Signature, Size
from leptonic.secagg.sealing import BOX_BYTES
from leptonic.secagg.shamir import SHARE_BYTES

__all__ = [
    "Abort",
    "AbortCertificate",
    "Advertisement",
    "Boxes",
    "CohortList",
    "Commitment",
    "Consistency",
    "Context",
    "Introduction",
    "MaskedHeader",
    "Named",
    "Open",
    "Pair",
    "Proofs",
    "Query",
    "Record",
    "Released",
    "SealedBox",
    "SeedCommitment",
    "SelfMask",
    "SessionSettings",
    "Share",
    "SharesReleased",
    "Signed",
    "SignedAdvertisement",
    "SignedCommitment",
    "SignedHeader",
    "SignedRecord",
    "SurvivorList",
    "SurvivorSet",
    "Train",
    "Unmask",
    "View",
]

ShareBytes = Annotated[bytes, Size(SHARE_BYTES)]
Optional32 = Annotated[bytes, Size(0, 32)]


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What both sides compute with.

    words, sums: lengths of the vector and of the sums beside it. bits: of a masked word. invited: clients for whom a
    sum has room. lying: 1 if the coordinator is assumed to lie, else 0. neighbours: 0 to have them derived.
    dropping: clients that may drop out, for the graph. minimum: fewest survivors.
    """

    words: int
    sums: int
    bits: int
    invited: int
    lying: int
    colluders: int
    neighbours: int
    dropping: int
    minimum: int


@dataclass(frozen=True, slots=True)
class Open:
    """1. What the coordinator wants summed. Its hash names the session before the cohort is known.

    phase: what is done in the round. serial: above that of every session of the run before. experiment, roster: their
    hashes.
    """

    TAG: ClassVar[str] = "sid0"
    federation: Name
    run: Name
    round: int
    phase: int
    serial: int
    experiment: Digest
    roster: Digest
    settings: SessionSettings


@dataclass(frozen=True, slots=True)
class Advertisement:
    """2. A client's fresh public keys. channel: for boxes. masks: for masks. nonce: its part in the graph."""

    TAG: ClassVar[str] = "advertise"
    opening: Digest
    client: Id
    channel: Key
    masks: Key
    nonce: Digest


@dataclass(frozen=True, slots=True)
class SignedAdvertisement:
    """An advertisement as it travels."""

    advertisement: Advertisement
    signature: Signature

    @property
    def client(self) -> bytes:
        """Who advertises."""
        return self.advertisement.client


@dataclass(frozen=True, slots=True)
class Named:
    """A client, and the hash of what it said."""

    client: Id
    digest: Digest


@dataclass(frozen=True, slots=True)
class CohortList:
    """3. Who advertised (U1). Its hash names the session."""

    TAG: ClassVar[str] = "sid"
    opening: Digest
    members: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Introduction:
    """3. The cohort, signed by the coordinator, and the advertisements of the receiver's neighbours and its own."""

    cohort: CohortList
    signature: Signature
    advertisements: tuple[SignedAdvertisement, ...]


@dataclass(frozen=True, slots=True)
class SeedCommitment:
    """4. What a client's seed is checked against when it is opened."""

    TAG: ClassVar[str] = "seed"
    session: Digest
    client: Id
    seed: Digest = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedBox:
    """4. Two shares for, or from, this client."""

    client: Id
    content: Annotated[bytes, Size(BOX_BYTES)]


@dataclass(frozen=True, slots=True)
class Boxes:
    """4. All boxes that a client sends; its commitment holds their hash."""

    TAG: ClassVar[str] = "boxes"
    session: Digest
    boxes: tuple[SealedBox, ...]


@dataclass(frozen=True, slots=True)
class Commitment:
    """4. What a client commits to by sharing. seed: its seed's commitment. boxes: hash of what it sent."""

    TAG: ClassVar[str] = "share"
    session: Digest
    client: Id
    seed: Digest
    boxes: Digest


@dataclass(frozen=True, slots=True)
class SignedCommitment:
    """A commitment as it travels."""

    commitment: Commitment
    signature: Signature

    @property
    def client(self) -> bytes:
        """Who has committed."""
        return self.commitment.client


@dataclass(frozen=True, slots=True)
class Share:
    """4. A client's answer to the introduction."""

    commitment: SignedCommitment
    boxes: tuple[SealedBox, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """One client's signature of what everybody signs alike."""

    client: Id
    signature: Signature


@dataclass(frozen=True, slots=True)
class Abort:
    """A client never agreed on this session's survivors, and never will."""

    TAG: ClassVar[str] = "abort"
    session: Digest


@dataclass(frozen=True, slots=True)
class AbortCertificate:
    """A quorum's word that a session was never opened. cohort: hashes to the session's name."""

    cohort: CohortList
    signatures: tuple[Signed, ...]

    @property
    def client(self) -> bytes:
        """Where it stands among others: by its session."""
        return hashed(self.cohort)


@dataclass(frozen=True, slots=True)
class Proofs:
    """Sessions that were given up. In which of them it has answered, only the client knows."""

    certificates: tuple[AbortCertificate, ...]


@dataclass(frozen=True, slots=True)
class Train:
    """5. Who has shared (U2), and the boxes for the receiver; what is trained on travels beside it, the same for all.

    commitments: of the receiver's neighbours and its own. record: the hash of the last round's record, zeros in the
    first. proofs: the :class:`Proofs` of sessions that asked for the same before, nothing where none did.
    """

    session: Digest
    sharers: tuple[Named, ...]
    commitments: tuple[SignedCommitment, ...]
    boxes: tuple[SealedBox, ...]
    record: Digest
    proofs: Annotated[bytes, Size(0, 2**24)]


@dataclass(frozen=True, slots=True)
class Context:
    """5. Everything that every client of a session was sent to work on. payload: long digest of all."""

    TAG: ClassVar[str] = "context"
    opening: Digest
    payload: Digest
    record: Digest


@dataclass(frozen=True, slots=True)
class View:
    """5. What a client saw: binds its masks to the same sharers and the same context for all."""

    TAG: ClassVar[str] = "view"
    session: Digest
    sharers: tuple[Named, ...]
    context: Digest


@dataclass(frozen=True, slots=True)
class Query:
    """5. What was asked for in a run, whatever the session: it is answered once. model: its long digest."""

    TAG: ClassVar[str] = "query"
    run: Name
    phase: int
    model: Digest


@dataclass(frozen=True, slots=True)
class SelfMask:
    """6. Purpose of the key of a client's own mask."""

    TAG: ClassVar[str] = "self"
    client: Id


@dataclass(frozen=True, slots=True)
class Pair:
    """6. Purpose of the key of a pair's mask."""

    TAG: ClassVar[str] = "pair"
    view: Digest
    smaller: Id
    larger: Id


@dataclass(frozen=True, slots=True)
class MaskedHeader:
    """6. What a client commits to by its masked input. length, digest: of the bytes that travel beside it."""

    TAG: ClassVar[str] = "masked"
    session: Digest
    client: Id
    view: Digest
    length: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header as it travels."""

    header: MaskedHeader
    signature: Signature

    @property
    def client(self) -> bytes:
        """Whose input it is."""
        return self.header.client


@dataclass(frozen=True, slots=True)
class SurvivorList:
    """7. Whose masked inputs are in the sum (U3)."""

    TAG: ClassVar[str] = "headers"
    session: Digest
    survivors: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Consistency:
    """7. The survivors, and the headers of the receiver's neighbours and its own."""

    survivors: SurvivorList
    headers: tuple[SignedHeader, ...]


@dataclass(frozen=True, slots=True)
class SurvivorSet:
    """7. What every client signs at most once in a session. survivors: the hash of the list."""

    TAG: ClassVar[str] = "set"
    session: Digest
    view: Digest
    survivors: Digest


@dataclass(frozen=True, slots=True)
class Unmask:
    """8. A quorum has signed the same set of survivors."""

    session: Digest
    signatures: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """8. One share of a neighbour's secret: of its seed if it survived, else of its key."""

    client: Id
    share: ShareBytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SharesReleased:
    """8. A client's answer. seed: its own, if it survived, else nothing."""

    session: Digest
    client: Id
    shares: tuple[Released, ...]
    seed: Optional32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """9. What became of a session. survivors: hash of the list. sum: long digest of the opened sum."""

    TAG: ClassVar[str] = "record"
    opening: Open
    cohort: CohortList
    sharers: tuple[Named, ...]
    survivors: SurvivorList
    view: Digest
    context: Context
    signatures: tuple[Signed, ...]
    sum: Digest
    previous: Digest


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record as it is kept."""

    record: Record
    signature: Signature
