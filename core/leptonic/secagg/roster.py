"""The roster: who belongs to a federation, signed by an authority that is not the coordinator.

Each node's own file pins the authority's key. A roster names the coordinator's signing key and every client's;
all signatures are checked against it. A session keeps the roster it began with.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import BadSignature, DecodeError, InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import bound, hashed, signed, verified
from leptonic.secagg.encoding import Id, Key, Name, Signature, decoded, encoded

__all__ = ["Roster", "RosterContent", "RosterEntry", "SignedRoster"]


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One client and its Ed25519 key."""

    client: Id
    key: Key


@dataclass(frozen=True, slots=True)
class RosterContent:
    """What the authority signs. expires: seconds since 1970, UTC. coordinator: its Ed25519 key."""

    TAG: ClassVar[str] = "roster"
    federation: Name
    version: int
    expires: int
    coordinator: Key
    entries: tuple[RosterEntry, ...]


@dataclass(frozen=True, slots=True)
class SignedRoster:
    """A roster as it travels. authority: the key that has signed it."""

    content: RosterContent
    authority: Key
    signature: Signature


@dataclass(frozen=True)
class Roster:
    """A roster whose signature was checked, or that was just signed."""

    signed: SignedRoster

    @classmethod
    def sign(cls, content: RosterContent, authority: Ed25519PrivateKey) -> Self:
        """The roster, signed. Raises DecodeError for one that no node would take."""
        public = authority.public_key().public_bytes_raw()
        _check_keys(content, public)
        return cls(SignedRoster(content, public, signed(authority, content)))

    @classmethod
    def read(
        cls, encoding: bytes, *, authority: bytes, federation: bytes, client: bytes, key: bytes, now: int, seen: int
    ) -> Self:
        """A received roster, checked by a client from what its own file says.

        authority: the pinned key. client, key: who reads it. now: seconds since 1970. seen: the highest version that
        this client has taken before, 0 if none. Raises BadSignature for another authority or a forged roster,
        ReplayedSession for an expired or older one, InconsistentCohort for one without this client.
        """
        checked = cls.signed_by(authority, encoding)
        content = checked.content
        if content.federation != federation:
            raise InconsistentCohort("the roster belongs to another federation")
        if content.expires <= now:
            raise ReplayedSession("the roster has expired: ask the authority for a new one")
        if content.version < seen:
            raise ReplayedSession(
                f"a roster of version {content.version}, after version {seen}: an older one is no use"
            )
        if checked.keys.get(client) != key:
            raise InconsistentCohort("the roster does not name this client with its key")
        return checked

    @classmethod
    def signed_by(cls, authority: bytes, encoding: bytes) -> Self:
        """A roster of this authority, whatever it says. Raises BadSignature, DecodeError."""
        roster = decoded(SignedRoster, encoding)
        if roster.authority != authority:
            raise BadSignature("the roster is signed by another authority than the one that is trusted")
        verified(authority, roster.signature, bound(roster.content), b"the authority")
        _check_keys(roster.content, authority)
        return cls(roster)

    @property
    def content(self) -> RosterContent:
        """What was signed."""
        return self.signed.content

    @cached_property
    def hash(self) -> bytes:
        """The roster's name in a session."""
        return hashed(self.content)

    @cached_property
    def keys(self) -> dict[bytes, bytes]:
        """The clients' Ed25519 keys."""
        return {entry.client: entry.key for entry in self.content.entries}

    @cached_property
    def encoding(self) -> bytes:
        """The signed roster's bytes."""
        return encoded(self.signed)


def _check_keys(content: RosterContent, authority: bytes) -> None:
    keys = [authority, content.coordinator, *(entry.key for entry in content.entries)]
    if len(set(keys)) < len(keys):
        raise DecodeError("the roster has the same key twice: authority, coordinator and each client have their own")
