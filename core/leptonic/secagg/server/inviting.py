"""Messages 1 to 3 at the coordinator: it opens a session, gathers fresh keys, and fixes the cohort."""

import os
from collections.abc import Set

from leptonic.errors import InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import graph_of
from leptonic.secagg.messages import CohortList, Named, Open, SignedAdvertisement
from leptonic.secagg.once import Once
from leptonic.secagg.sealing import agreed, check_public, secret_key
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.sharing import Sharing

__all__ = ["Inviting"]


class Inviting:
    """Gathers advertisements. message: what every invited client is sent."""

    def __init__(self, office: Office, opening: Open) -> None:
        self._office, self.opening = office, opening
        self.message = encoded(opening)
        self._name = hashed(opening)
        self._advertised: dict[bytes, SignedAdvertisement] = {}
        self._keys: set[bytes] = set()
        self._once, self._probe = Once(), secret_key(os.urandom(32))

    def take(self, client: bytes, content: bytes) -> None:
        """One client's advertisement. Raises BadSignature, InconsistentCohort, ReplayedSession, DecodeError."""
        self._once.check()
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
            # Here only its sender is turned away; later it would end everybody's session.
            agreed(self._probe, key, client)
        if self._keys.intersection(keys) or keys[0] == keys[1]:
            raise InconsistentCohort("a key that somebody else advertised, or twice the same")
        self._keys.update(keys)
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
        graph = graph_of(self.opening, cohort)
        self._once.use()
        return Sharing(
            office=self._office,
            opening=self.opening,
            cohort=cohort,
            signature=signed(self._office.key, cohort),
            advertised=advertised,
            graph=graph,
        )
