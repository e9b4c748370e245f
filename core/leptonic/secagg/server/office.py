"""What a coordinator brings to every session: its key, the roster, and how it checks what it is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field

from leptonic.errors import InconsistentCohort
from leptonic.secagg.binding import Signer, Verifier, bound, verified
from leptonic.secagg.encoding import Message
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.roster import Roster

__all__ = ["Office"]


@dataclass(frozen=True)
class Office:
    """What a coordinator brings to every session.

    key: its signing key, which the roster names. digest: a :func:`long_digest`.
    """

    key: Signer = field(repr=False)
    roster: Roster
    verify: Verifier = verified
    digest: Callable[..., bytes] = long_digest

    def check_signature(self, client: bytes, signature: bytes, message: Message) -> None:
        """Raise BadSignature unless this client of the roster has signed the message."""
        key = self.roster.keys.get(client)
        if key is None:
            raise InconsistentCohort(f"{client.decode(errors='replace')} is not on the roster")
        self.verify(key, signature, bound(message), client)
