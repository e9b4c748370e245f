"""What a coordinator can try with what a session has brought it: any set of survivors, opened with any signatures.

It keeps every masked input, which an honest one would not, and one of the clients tells it everything.
"""

from collections.abc import Collection, Mapping

import numpy as np
from tests.core.secagg.lies import headers, sayings
from tests.core.secagg.members import COORDINATOR, key_of
from tests.core.secagg.parties import FIRST_RECORD, Answer, Play, Step

from leptonic.errors import LeptonicError
from leptonic.secagg.binding import signed
from leptonic.secagg.client.ready import Ready
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import Released, Share, SharesReleased, Signed, SignedAdvertisement
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.unmasking import OpenedSum


class Colluder:
    """A client that takes part as the others do, and whose key and shares the coordinator holds."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self._shares: dict[bytes, Mapping[bytes, tuple[bytes, bytes]]] = {}
        self._seeds: dict[bytes, bytes] = {}

    def tell(self, play: Play) -> None:
        """What it knows once it was sent its shares."""
        session = play.sessions.get(self.name)
        if session is not None and isinstance(session.state, Ready):
            self._shares[play.session] = dict(session.state.shares)
            self._seeds[play.session] = bytes(session.state._seed)

    def released(self, session: bytes, survivors: Collection[bytes]) -> bytes:
        """Its shares for whatever set of survivors is to be opened."""
        shares = self._shares.get(session, {})
        return encoded(
            SharesReleased(
                session,
                self.name,
                tuple(Released(name, shares[name][name in survivors]) for name in sorted(shares)),
                self._seeds.get(session, b"") if self.name in survivors else b"",
            )
        )


class Branch:
    """One set of survivors of a session, and what was said of it."""

    def __init__(self, play: Play, survivors: Collection[bytes], colluder: Colluder) -> None:
        self.play, self.colluder = play, colluder
        shares = sayings(play, Step.SHARE, Share)
        self.closed = ClosedSum(
            opening=play.opening,
            cohort=play.sharing.cohort,
            advertisements=tuple(
                decoded(SignedAdvertisement, play.answers[Step.ADVERTISE][name].content)
                for name in play.sharing.graph.clients
            ),
            commitments=tuple(shares[name].commitment for name in play.summing.clients),
            headers=tuple(headers(play)[name] for name in sorted(survivors)),
            context=play.summing.context,
        )
        words = play.opening.settings.words
        self.words, self.sums = np.zeros(words, np.uint32), np.zeros(play.opening.settings.sums, np.uint64)
        for name in survivors:
            masked = play.answers[Step.MASK][name].masked
            self.words += np.frombuffer(masked[: 4 * words], "<u4")
            self.sums += np.frombuffer(masked[4 * words :], "<u8")
        self.signatures: dict[bytes, bytes] = {}
        self.released: dict[bytes, bytes] = {}

    @property
    def survivors(self) -> tuple[bytes, ...]:
        return tuple(each.client for each in self.closed.headers)

    def crash(self) -> None:
        """All is lost but what was on disk: the closed sum, and the masked one."""
        self.closed = decoded(ClosedSum, encoded(self.closed))
        self.signatures, self.released = {}, {}

    def agreeing(self) -> Agreeing:
        """The real coordinator's state, with all signatures that came and the colluder's."""
        office = Office(COORDINATOR, self.play.cast.roster)
        agreeing = Agreeing(self.closed, self.words.copy(), self.sums.copy(), office=office)
        signatures, colluder = dict(self.signatures), self.colluder.name
        if colluder in self.closed.graph.clients:
            signatures[colluder] = encoded(Signed(colluder, signed(key_of(colluder), self.closed.agreement)))
        for name, content in signatures.items():
            agreeing.take(name, content)
        return agreeing

    def sign(self, name: bytes) -> Answer:
        """Ask a client to sign this set. Raises what it finds wrong."""
        answer = self.play.ask(Step.AGREE, name, self.agreeing().message(name))
        self.signatures[name] = answer.content
        return answer

    def unmask(self, name: bytes) -> None:
        """Ask a client for shares. Raises what it finds wrong, or BelowThreshold."""
        message = self.agreeing().close().message
        self.released[name] = self.play.ask(Step.UNMASK, name, message).content

    def open(self) -> OpenedSum:
        """Open the sum with all that was released, and the colluder's part. Raises BelowThreshold, BadShare."""
        unmasking = self.agreeing().close()
        mine = self.colluder.released(self.closed.graph.session, self.survivors)
        for name, content in {**self.released, self.colluder.name: mine}.items():
            try:
                unmasking.take(name, content)
            except LeptonicError:
                # What was released for another set, or a colluder that has nothing to release.
                assert name == self.colluder.name
        return unmasking.open(Here(), FIRST_RECORD)
