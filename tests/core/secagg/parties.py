"""Sessions in memory: real clients, a real coordinator, and a way to put lies between them.

A :class:`Cast` is who takes part, and outlives its sessions. A :class:`Play` is one session of it, taken step by step;
``lie`` may replace what the coordinator says to a client before the client sees it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from tests.core.secagg.members import (
    COORDINATOR,
    FEDERATION,
    Client,
    Update,
    digest,
    name_of,
    remembering,
    roster_of,
)

from leptonic.secagg.binding import Verifier
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import AbortCertificate, Open, SessionSettings, Signed
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.sharing import Sharing
from leptonic.secagg.server.summing import Summing
from leptonic.secagg.server.unmasking import OpenedSum, Unmasking
from leptonic.secagg.standing import Policy

RUN = b"run"
FIRST_RECORD = bytes(32)


class Step(IntEnum):
    """What a client is asked for. It is sent an Open, an Introduction, a Train, a Consistency, an Unmask."""

    ADVERTISE = 1
    SHARE = 2
    MASK = 3
    AGREE = 4
    UNMASK = 5


@dataclass(frozen=True)
class Answer:
    """What a client sends back. masked: the masked input beside its header."""

    content: bytes
    masked: bytes = b""


class Cast:
    """Everybody. settings: of every session, unless it says otherwise."""

    def __init__(
        self,
        size: int,
        *,
        policy: Policy | None = None,
        words: int = 21,
        sums: int = 2,
        bits: int = 32,
        lying: int = 1,
        colluders: int = 1,
        neighbours: int = 0,
        dropping: int = 0,
        verify: Verifier | None = None,
        seed: int = 1,
    ) -> None:
        self.settings = SessionSettings(words, sums, bits, size, lying, colluders, neighbours, dropping, minimum=0)
        self.roster, self.serial, verify = roster_of(size), 0, verify or remembering()
        policy = policy or Policy(colluders=colluders, curious=not lying)
        draws, bound = np.random.default_rng(seed), (2 ** (bits - 1) - 1) // size
        self.clients = {
            name: Client(name, self.roster, policy, update, verify)
            for name in map(name_of, range(size))
            for update in [
                Update(draws.integers(-bound, bound, words, endpoint=True), draws.integers(-(2**40), 2**40, sums))
            ]
        }

    @property
    def names(self) -> tuple[bytes, ...]:
        return tuple(self.clients)

    def opening(self, *, settings: SessionSettings | None = None, **changes: Any) -> Open:
        """The next session's."""
        self.serial += 1
        opening = Open(
            federation=FEDERATION,
            run=RUN,
            round=1,
            phase=0,
            serial=self.serial,
            experiment=digest(b"experiment"),
            roster=self.roster.hash,
            settings=settings or self.settings,
        )
        return replace(opening, **changes)

    def play(self, model: bytes = b"model", proofs: bytes = b"", **changes: Any) -> "Play":
        """The next session, on this model."""
        return Play(self, self.opening(**changes), digest(model), proofs)

    def clear_sum(self, survivors: Collection[bytes]) -> tuple[list[int], list[int]]:
        """What the survivors' updates add up to, in the clear."""
        updates = [self.clients[name].update for name in survivors]
        words, sums = sum(update.words for update in updates), sum(update.sums for update in updates)
        return np.asarray(words).tolist(), np.asarray(sums).tolist()


_STATES = {Step.ADVERTISE: "inviting", Step.SHARE: "sharing", Step.AGREE: "agreeing", Step.UNMASK: "unmasking"}
Lie = Callable[[Step, bytes, bytes], bytes]


class Play:
    """One session. present: who has not vanished. answers: what each client has answered."""

    def __init__(self, cast: Cast, opening: Open, model: bytes, proofs: bytes) -> None:
        self.cast, self.opening, self.model, self.proofs = cast, opening, model, proofs
        self.payload = digest(model + b"and the rest")
        self.inviting = Inviting(Office(COORDINATOR, cast.roster, verify=remembering()), opening)
        self.sharing: Sharing
        self.summing: Summing
        self.agreeing: Agreeing
        self.unmasking: Unmasking
        self.result: OpenedSum
        self.present = list(cast.names)
        self.sessions: dict[bytes, ClientSession] = {}
        self.answers: dict[Step, dict[bytes, Answer]] = {step: {} for step in Step}
        self.lie: Lie = lambda step, name, honest: honest

    @property
    def session(self) -> bytes:
        return self.sharing.graph.session

    def message(self, step: Step, name: bytes) -> bytes:
        """What an honest coordinator sends."""
        match step:
            case Step.ADVERTISE:
                return self.inviting.message
            case Step.SHARE:
                return self.sharing.message(name)
            case Step.MASK:
                return self.summing.message(name, self.proofs)
            case Step.AGREE:
                return self.agreeing.message(name)
            case Step.UNMASK:
                return self.unmasking.message

    def ask(self, step: Step, name: bytes, content: bytes | None = None) -> Answer:
        """A real client's answer; content: a lie instead of the honest message."""
        content = self.lie(step, name, self.message(step, name)) if content is None else content
        client = self.cast.clients[name]
        if step is Step.ADVERTISE:
            if name not in self.sessions:
                self.sessions[name] = ClientSession(client.standing, content)
            return self._kept(step, name, Answer(self.sessions[name].opened(content)))
        session = self.sessions[name]
        if step is Step.MASK:
            self.train(name, content)
            return self.mask(name)
        answer = {Step.SHARE: session.introduced, Step.AGREE: session.agree, Step.UNMASK: session.unmask}[step]
        return self._kept(step, name, Answer(answer(content)))

    def train(self, name: bytes, content: bytes | None = None, *, payload: bytes | None = None) -> None:
        """The first half of the step MASK: from here on the client works. payload: another one than the others'."""
        content = self.lie(Step.MASK, name, self.message(Step.MASK, name)) if content is None else content
        self.sessions[name].train(content, model=self.model, payload=payload or self.payload)

    def mask(self, name: bytes) -> Answer:
        """The other half: its answer leaves the client."""
        masked = self.sessions[name].mask(*self.cast.clients[name].update.encoded(), Here())
        return self._kept(Step.MASK, name, Answer(masked.reply, b"".join(masked.parts)))

    def take(self, step: Step, name: bytes, answer: Answer) -> None:
        """The real coordinator takes an answer, or raises what is wrong with it."""
        if step is Step.MASK:
            self.summing.take(name, answer.content, answer.masked)
        else:
            getattr(self, _STATES[step]).take(name, answer.content)

    def close(self, step: Step) -> None:
        """The real coordinator goes on, or raises BelowThreshold."""
        match step:
            case Step.ADVERTISE:
                self.sharing = self.inviting.close()
            case Step.SHARE:
                self.summing = self.sharing.close(self.payload, FIRST_RECORD)
            case Step.MASK:
                self.agreeing = self.summing.close()
            case Step.AGREE:
                self.unmasking = self.agreeing.close()
            case Step.UNMASK:
                self.result = self.unmasking.open(Here(), FIRST_RECORD)

    def step(self, step: Step, vanishing: Collection[bytes] = ()) -> None:
        """Everybody who is still there answers, and the coordinator goes on."""
        self.present = [name for name in self.present if name not in vanishing]
        for name in self.present:
            self.take(step, name, self.ask(step, name))
        self.close(step)

    def until(self, step: Step, drops: Mapping[bytes, Step] | None = None) -> "Play":
        """Everything before this step. drops: the first step that a client does not answer."""
        for before in Step:
            if before < step:
                self.step(before, [name for name, at in (drops or {}).items() if at == before])
        return self

    def run(self, drops: Mapping[bytes, Step] | None = None) -> OpenedSum:
        """The whole session. Raises BelowThreshold."""
        self.until(Step.UNMASK, drops)
        self.step(Step.UNMASK, [name for name, at in (drops or {}).items() if at == Step.UNMASK])
        return self.result

    def give_up(self, names: Collection[bytes]) -> AbortCertificate:
        """The word of these clients that they have given the session up."""
        # The signature is the last field of a Signed, and its length is fixed.
        words = {name: self.cast.clients[name].abort(self.session)[-64:] for name in sorted(names)}
        return AbortCertificate(self.sharing.cohort, tuple(Signed(name, word) for name, word in words.items()))

    def _kept(self, step: Step, name: bytes, answer: Answer) -> Answer:
        self.answers[step][name] = answer
        return answer


def assert_exact(cast: Cast, opened: OpenedSum, survivors: Collection[bytes]) -> None:
    """The opened sum is that of exactly these survivors, word for word."""
    assert opened.survivors == tuple(sorted(survivors))
    words, sums = cast.clear_sum(survivors)
    assert opened.words.view(np.int32).tolist() == words
    assert opened.sums.view(np.int64).tolist() == sums
