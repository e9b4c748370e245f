"""What a simulation works out once for all of its clients, who live in one process and are shown the same.

A deployed client does each of these by itself: see :class:`leptonic.secagg.standing.Standing`.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.secagg.binding import Verifier, verified
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import SignedRecord
from leptonic.secagg.roster import Roster
from leptonic.secagg.sealing import agreed_with
from leptonic.secagg.transcript import check_record

__all__ = ["AgreedOnce", "CheckedOnce", "Remembered", "SimulatedSigner"]


class Remembered:
    """Verifies each signature once, whoever asks, and none that was made here: all clients live in this process."""

    def __init__(self) -> None:
        self._true: set[tuple[bytes, bytes, bytes]] = set()

    def __call__(self, key: bytes, signature: bytes, statement: bytes, who: bytes) -> None:
        """Raise BadSignature unless it is one."""
        seen = (key, signature, statement)
        if seen not in self._true:
            verified(key, signature, statement, who)
            self._true.add(seen)

    def made(self, key: bytes, signature: bytes, statement: bytes) -> None:
        """Remember a signature that was just made with the private part of this key."""
        self._true.add((key, signature, statement))

    def forget(self) -> None:
        """None of the signatures that were made until now is asked for again."""
        self._true.clear()


class SimulatedSigner:
    """Somebody's key, whose signatures are remembered. verify: who is asked for them."""

    def __init__(self, key: Ed25519PrivateKey, verify: Remembered) -> None:
        self._key, self._public, self._verify = key, key.public_key().public_bytes_raw(), verify

    def sign(self, statement: bytes) -> bytes:
        """See :class:`leptonic.secagg.binding.Signer`."""
        signature = self._key.sign(statement)
        self._verify.made(self._public, signature, statement)
        return signature


class AgreedOnce:
    """Agrees once for both ends of a pair. The secret is kept until the other end asks for it, and no longer."""

    def __init__(self) -> None:
        self._waiting: dict[frozenset[bytes], bytes] = {}

    def __call__(self, secret: bytearray, public: bytes, others: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """See :class:`leptonic.secagg.sealing.Agreement`."""
        pairs = {who: frozenset((public, theirs)) for who, theirs in others.items()}
        found = {who: self._waiting.pop(pair) for who, pair in pairs.items() if pair in self._waiting}
        made = agreed_with(secret, public, {who: key for who, key in others.items() if who not in found})
        self._waiting |= {pairs[who]: shared for who, shared in made.items()}
        return found | made

    def forget(self) -> None:
        """None of the secrets is asked for again."""
        self._waiting.clear()


class CheckedOnce:
    """Checks a record once for all who are shown it."""

    def __init__(self) -> None:
        self._last: tuple[SignedRecord, Roster, bytes, Graph] | None = None

    def __call__(self, shown: SignedRecord, roster: Roster, previous: bytes, verify: Verifier) -> Graph:
        """See :func:`leptonic.secagg.transcript.check_record`."""
        if self._last is not None:
            record, its_roster, before, graph = self._last
            if record is shown and its_roster is roster and before == previous:
                return graph
        graph = check_record(shown, roster, previous, verify)
        self._last = shown, roster, previous, graph
        return graph
