"""Messages 1 to 3 at the coordinator: it opens a session, gathers fresh keys, and fixes the cohort."""

from collections.abc import Set
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import Verifier, bound, hashed, signed, verified
from leptonic.secagg.encoding import Message, decoded, encoded
from leptonic.secagg.graph import graph_of
from leptonic.secagg.messages import CohortList, Named, Open, SignedAdvertisement
from leptonic.secagg.roster import Roster
from leptonic.secagg.sealing import check_public
from leptonic.secagg.server.sharing import Sharing

__all__ = ["Inviting", "Office"]


@dataclass(frozen=True)
class Office:
    """What a coordinator brings to every session. key: its signing key, which the roster names."""

    key: Ed25519PrivateKey = field(repr=False)
    roster: Roster
    verify: Verifier = verified

    def check_signature(self, client: bytes, signature: bytes, message: Message) -> None:
        """Raise BadSignature unless this client of the roster has signed the message."""
        key = self.roster.keys.get(client)
        if key is None:
            raise InconsistentCohort(f"{client.decode(errors='replace')} is not on the roster")
        self.verify(key, signature, bound(message), client)


class Inviting:
    """Gathers advertisements. message: what every invited client is sent."""

    def __init__(self, office: Office, opening: Open) -> None:
        self._office, self.opening = office, opening
        self.message = encoded(opening)
        self._name = hashed(opening)
        self._advertised: dict[bytes, SignedAdvertisement] = {}

    def take(self, client: bytes, content: bytes) -> None:
        """One client's advertisement. Raises BadSignature, InconsistentCohort, ReplayedSession, DecodeError."""
        signed_one = decoded(SignedAdvertisement, content)
        advertisement = signed_one.advertisement
        if (advertisement.client, advertisement.opening) != (client, self._name):
            raise InconsistentCohort("an advertisement in another name, or for another session")
        if client in self._advertised:
            raise ReplayedSession("this client has advertised its keys before")
        self._office.check_signature(client, signed_one.signature, advertisement)
        keys = (advertisement.channel, advertisement.masks)
        for key in keys:
            check_public(key, client)
        known = {key for each in self._advertised.values() for key in _keys(each)}
        if known.intersection(keys) or keys[0] == keys[1]:
            raise InconsistentCohort("a key that somebody else advertised, or twice the same")
        self._advertised[client] = signed_one

    @property
    def clients(self) -> Set[bytes]:
        """Those who have advertised."""
        return self._advertised.keys()

    def close(self) -> Sharing:
        """Fix the cohort. Raises BelowThreshold if too few have advertised."""
        advertised = {client: self._advertised[client] for client in sorted(self._advertised)}
        members = tuple(Named(client, hashed(each.advertisement)) for client, each in advertised.items())
        cohort = CohortList(self._name, members)
        return Sharing(
            check=self._office.check_signature,
            opening=self.opening,
            cohort=cohort,
            signature=signed(self._office.key, cohort),
            advertised=advertised,
            graph=graph_of(self.opening, cohort),
        )


def _keys(signed_one: SignedAdvertisement) -> tuple[bytes, bytes]:
    return signed_one.advertisement.channel, signed_one.advertisement.masks
