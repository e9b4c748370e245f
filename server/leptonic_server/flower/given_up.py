"""Sessions of a Flower app whose work was asked for and that came to no sum: a quorum of each has to give it up.

Until then its clients refuse to answer the same model again: see docs/secagg.md, *Sessions given up*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import RecordDict

from leptonic.flower.wire import RECORD, content_of, request_of
from leptonic.secagg.encoding import encoded
from leptonic.secagg.messages import AbortCertificate, Proofs
from leptonic.secagg.server.office import Office
from leptonic_server.flower.asking import Asking
from leptonic_server.secure.given_up import AtWork, Words

__all__ = ["GivenUp"]


@dataclass
class GivenUp:
    """The sessions at work since the last sum, each with its cohort's ids by node."""

    at_work: dict[bytes, AtWork] = field(default_factory=dict)
    certificates: dict[bytes, AbortCertificate] = field(default_factory=dict)

    def work(self, at_work: AtWork) -> None:
        """The work of this session is about to be asked for."""
        self.at_work[at_work.session] = at_work

    def opened(self) -> None:
        """The last session came to its sum: nothing is left to be given up."""
        self.at_work, self.certificates = {}, {}

    def proofs(self, client: bytes) -> bytes:
        """The proofs that sessions were given up in which this client was; nothing where it was in none."""
        known = sorted(name for name in self.certificates if client in self.at_work[name].clients.values())
        return encoded(Proofs(tuple(self.certificates[name] for name in known))) if known else b""

    def give_up(self, office: Office, asking: Asking, seed: Mapping[str, bytes]) -> None:
        """Have the sessions given up that are not yet; who has signed their survivors will not.

        seed: the secret of simulated keys, where these are.
        """
        for session, at_work in self.at_work.items():
            if session not in self.certificates:
                self._ask(at_work, office, asking, seed)

    def _ask(self, at_work: AtWork, office: Office, asking: Asking, seed: Mapping[str, bytes]) -> None:
        words = Words(office, at_work)

        def take(node: int, content: RecordDict) -> None:
            words.take(at_work.clients[node], content_of(content.config_records.get(RECORD)))

        request = request_of("abort", at_work.session, roster=office.roster.encoding, **seed)
        asking.ask(
            {node: RecordDict({RECORD: request}) for node in at_work.clients},
            what="give the last session up",
            take=take,
            enough=lambda: words.enough,
        )
        if (certificate := words.certificate) is not None:
            self.certificates[at_work.session] = certificate
