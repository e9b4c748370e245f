"""Sessions in any order, with drop-outs, repeats, restarts and lies: no sum is opened that should not be.

The coordinator lies: it keeps all masked inputs, tries any set of survivors, runs sessions side by side, crashes,
and has one client's key and shares. Four of the five clients are honest.
"""

import contextlib
from collections.abc import Collection

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.core.secagg.branches import Branch, Colluder
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step, assert_exact

from leptonic.errors import BadShare, BelowThreshold, LeptonicError, ReplayedSession
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import encoded
from leptonic.secagg.messages import Abort, AbortCertificate, Proofs, Signed

NAMES = [name_of(number) for number in range(5)]
COLLUDER, HONEST = NAMES[4], NAMES[:4]
few = st.one_of(st.just(set[bytes]()), st.sets(st.sampled_from(NAMES), min_size=1, max_size=2))
anybody, honest = st.sampled_from(NAMES), st.sampled_from(HONEST)
late = st.sampled_from([-1, -1, -1, -2, -3])
"""Which session, or which set: most often the last."""


class Schedules(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cast, self.colluder, self.model = Cast(5, words=2, sums=1), Colluder(COLLUDER), 0
        self.plays: list[tuple[Play, int]] = []
        self.branches: list[Branch] = []
        self.proofs: list[bytes] = [b""]
        self.words: dict[bytes, dict[bytes, bytes]] = {}
        self.sets: dict[tuple[bytes, bytes], set[bytes]] = {}
        self.opened: dict[bytes, dict[bytes, frozenset[bytes]]] = {}

    @initialize()
    def first(self) -> None:
        self.plays.append((self.cast.play(b"model 0"), Step.ADVERTISE))

    @precondition(lambda self: self.plays[-1][1] > Step.ADVERTISE)
    @rule(proof=st.sampled_from([-1, -1, 0, -2]))
    def begin(self, proof: int) -> None:
        """A session for the model at hand, while others go on."""
        known = self.proofs[max(proof, -len(self.proofs))]
        self.plays.append((self.cast.play(b"model %d" % self.model, known), Step.ADVERTISE))

    @precondition(lambda self: self.branches)
    @rule()
    def next_model(self) -> None:
        self.model += 1
        self.begin(-1)

    @rule(which=late, absent=few)
    def advance(self, which: int, absent: Collection[bytes]) -> None:
        """Whoever is there answers, and the coordinator goes on if it can."""
        play, step = self.play(which)
        for name in set(NAMES) - set(absent):
            self.answer(play, step, name)
        self.close(which)

    @rule(which=late, absent=few, later=few)
    def finish(self, which: int, absent: Collection[bytes], later: Collection[bytes]) -> None:
        """All that is left of a session, with some away until the sum is closed, and others afterwards."""
        for _ in range(self.play(which)[1], Step.AGREE):
            self.advance(which, absent)
        self.sign(-1, later)
        self.unmask(-1, later)
        self.open(-1)

    @rule(absent=few)
    def side_by_side(self, absent: Collection[bytes]) -> None:
        """Work for the same model is taken up in two sessions before it is done in either."""
        for _ in range(2):
            self.begin(-1)
            for _ in range(2):
                self.advance(-1, absent)
            for name in NAMES:
                self.work(-1, name, False)
        self.finish(-2, [], [])
        self.finish(-1, [], [])

    @rule(which=late, name=anybody, misled=st.booleans())
    def work(self, which: int, name: bytes, misled: bool) -> None:
        """A client takes work up, which it may finish much later; or other work than the others."""
        play, step = self.play(which)
        if step == Step.MASK and name in play.sessions:
            with contextlib.suppress(LeptonicError):
                play.train(name, payload=bytes(32) if misled else None)
                self.colluder.tell(play)
                if misled:
                    play.mask(name)

    @rule(which=late)
    def close(self, which: int) -> None:
        play, step = self.play(which)
        if step > Step.MASK:
            return
        with contextlib.suppress(BelowThreshold, ReplayedSession):
            play.close(Step(step))
            self.plays[self.plays.index((play, step))] = (play, step + 1)
            if step == Step.MASK:
                self.branch(play, play.agreeing.survivors)

    @precondition(lambda self: self.plays[-1][1] >= Step.MASK)
    @rule(which=late, without=few, absent=few)
    def cut(self, which: int, without: Collection[bytes], absent: Collection[bytes]) -> None:
        """Another set of those whose masked inputs came."""
        play, step = self.play(which)
        if step >= Step.MASK:
            self.branch(play, set(play.answers[Step.MASK]) - set(without))
            self.sign(-1, absent)
            self.unmask(-1, absent)
            self.open(-1)

    @precondition(lambda self: self.branches)
    @rule(which=late, absent=few)
    def sign(self, which: int, absent: Collection[bytes]) -> None:
        if not self.branches:
            return
        branch = self.of_branches(which)
        for name in set(NAMES) - set(absent):
            if name in branch.play.sessions:
                with contextlib.suppress(LeptonicError):
                    branch.sign(name)
                    statement = hashed(branch.closed.agreement)
                    self.sets.setdefault((name, branch.play.session), set()).add(statement)

    @precondition(lambda self: self.branches)
    @rule(which=late, absent=few)
    def unmask(self, which: int, absent: Collection[bytes]) -> None:
        if not self.branches:
            return
        branch = self.of_branches(which)
        for name in set(NAMES) - set(absent):
            if name in branch.play.sessions:
                with contextlib.suppress(LeptonicError):
                    branch.unmask(name)

    @precondition(lambda self: self.branches)
    @rule(which=late)
    def open(self, which: int) -> None:
        if not self.branches:
            return
        branch = self.of_branches(which)
        try:
            opened = branch.open()
        except (BelowThreshold, BadShare):
            return
        assert_exact(self.cast, opened, branch.survivors)
        sums, survivors = self.opened.setdefault(branch.play.model, {}), frozenset(opened.survivors)
        assert sums.setdefault(branch.play.session, survivors) == survivors, "two sums of one session"
        for session, others in sums.items():
            same = session == branch.play.session
            assert same or not survivors & others & set(HONEST), "two sums of one model hold the same client"

    @precondition(lambda self: self.branches)
    @rule(which=late)
    def crash(self, which: int) -> None:
        self.of_branches(which).crash()

    @rule(name=anybody)
    def restart(self, name: bytes) -> None:
        """A client keeps its journal, and nothing else."""
        for play, _ in self.plays:
            play.sessions.pop(name, None)

    @precondition(lambda self: self.plays[-1][1] > Step.SHARE)
    @rule(which=late, absent=few, again=st.booleans())
    def give_up(self, which: int, absent: Collection[bytes], again: bool) -> None:
        """Clients give a session up, and the colluder whatever it has signed; a proof of as many as there are."""
        play, step = self.play(which)
        if step == Step.ADVERTISE:
            return
        words = self.words.setdefault(play.session, {})
        words[COLLUDER] = signed(key_of(COLLUDER), Abort(play.session))
        for name in set(HONEST) - set(absent):
            with contextlib.suppress(ReplayedSession):
                words[name] = self.cast.clients[name].abort(play.session)[-64:]
        signatures = tuple(Signed(name, words[name]) for name in sorted(words))
        self.proofs.append(encoded(Proofs((AbortCertificate(play.sharing.cohort, signatures),))))
        if again:
            self.begin(-1)

    @rule(absent=few, silent=few)
    def fall_apart(self, absent: Collection[bytes], silent: Collection[bytes]) -> None:
        """A session whose masked inputs come is given up, and another one is begun."""
        for _ in range(self.plays[-1][1], Step.AGREE):
            self.advance(-1, absent)
        self.give_up(-1, silent, True)

    @rule(later=few)
    def open_and_repeat(self, later: Collection[bytes]) -> None:
        """A sum is opened with the signatures of some, and the others give its session up."""
        self.finish(-1, [], later)
        self.give_up(-1, [], True)
        self.finish(-1, [], [])

    @rule(which=late, name=anybody, step=st.sampled_from(Step))
    def ask_again(self, which: int, name: bytes, step: Step) -> None:
        """The same bytes bring the same bytes, or nothing."""
        play, at = self.play(which)
        before = play.answers[step].get(name)
        if before is None or step >= at or step >= Step.MASK or name not in play.sessions:
            return
        assert play.ask(step, name) == before

    @rule(which=late, name=honest, at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def alter(self, which: int, name: bytes, at: int, bit: int) -> None:
        """One bit of what is said to a client is another."""
        play, step = self.play(which)
        if step > Step.MASK or name not in play.sessions:
            return
        lie = bytearray(play.message(Step(step), name))
        lie[at % len(lie)] ^= 1 << bit
        answered = name in play.answers[Step(step)]
        with contextlib.suppress(LeptonicError):
            answer = play.ask(Step(step), name, bytes(lie))
            # A broken box is tolerated, and another record is another view; nothing else is answered.
            assert step == Step.MASK
            assert not answered
            with contextlib.suppress(LeptonicError):
                play.take(Step.MASK, name, answer)

    def teardown(self) -> None:
        """What must hold of all that was said."""
        for (name, session), statements in self.sets.items():
            assert name == COLLUDER or len(statements) == 1, "two sets were signed in one session"
            assert name == COLLUDER or name not in self.words.get(session, {}), "a session was signed and given up"
        for name in HONEST:
            notes = self.cast.clients[name].journal.notes
            closed = [note[1] for note in notes if note[0] == "agree"]
            assert len(set(closed)) == len(closed)
            assert not set(closed) & {note[1] for note in notes if note[0] == "abort"}

    def play(self, which: int) -> tuple[Play, int]:
        return self.plays[max(which, -len(self.plays))]

    def of_branches(self, which: int) -> Branch:
        return self.branches[max(which, -len(self.branches))]

    def branch(self, play: Play, survivors: Collection[bytes]) -> None:
        self.branches.append(Branch(play, survivors, self.colluder))

    def answer(self, play: Play, step: int, name: bytes) -> None:
        """A client answers, and the coordinator takes what is of use to it."""
        if step > Step.MASK or (step > Step.ADVERTISE and name not in play.sessions):
            return
        with contextlib.suppress(LeptonicError):
            if step == Step.MASK:
                with contextlib.suppress(ReplayedSession):  # it may be at work already
                    play.train(name)
                self.colluder.tell(play)
                answer = play.mask(name)
            else:
                answer = play.ask(Step(step), name)
            play.take(Step(step), name, answer)
