"""What a node answers: joins runs, does their work on its own data, and repeats itself on request.

A repeated request gets the bytes it had got, so that nothing is trained twice; under privacy they are kept
on disk too, since training again would release fresh noise. What an experiment names by
``package.module:name`` runs only if the owner's node file allows it.
"""

import hashlib
import sqlite3
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leptonic.data.examples import Examples
from leptonic.data.experiment_data import local_examples
from leptonic.errors import (
    BudgetExhausted,
    ExperimentError,
    LeptonicError,
    PolicyRefused,
    PrivacyError,
    ProtocolError,
    VersionMismatch,
)
from leptonic.experiment import ExamplePrivacy, Experiment
from leptonic.experiment_file import from_canonical
from leptonic.pipeline import NoisedPipeline
from leptonic.privacy.composition import check_delta
from leptonic.privacy.ledger import Charge
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.roster import Roster
from leptonic.wire import INLINE_LIMIT, Reply, Request
from leptonic_client.costs import UNPROTECTED, run_cost
from leptonic_client.data import local_data
from leptonic_client.home import ClientHome, KeptReply
from leptonic_client.participant import Participant, reply_to, respond
from leptonic_client.party import Party
from leptonic_client.secure import Membership
from leptonic_client.settings import NodeSettings
from leptonic_client.training import LocalTrainer

__all__ = ["Responder"]

_TRIPS: Mapping[str, str] = {
    "open": "advertises keys, and signs the last round's survivors",
    "share": "shares its secrets, and releases shares of the last round's",
    "abort": "gives its session up",
    "record": "keeps the last round's record",
}
SESSION_BYTES = 32
"""Bytes of a session's name."""


@dataclass
class Joined:
    """A run that this node has joined, and its part in it once the coordinator has given it an index."""

    experiment: Experiment
    roster: Roster | None = None
    examples: Examples | None = None
    participant: Participant | None = None
    party: Party | None = None


@dataclass(frozen=True)
class Remembered:
    """The last reply of one step of the joined run."""

    digest: str
    reply: Reply
    content: bytes


class Responder:
    """Answers requests, whatever they are; errors become replies, since a node outlives them.

    on_event: is told, in words, what happens. ended: set when a joined run has ended.
    """

    def __init__(
        self, settings: NodeSettings, home: ClientHome, membership: Membership, on_event: Callable[[str], None]
    ) -> None:
        self._settings, self._home, self._membership, self._on_event = settings, home, membership, on_event
        self._runs: dict[str, Joined] = {}
        self._remembered: dict[str, Remembered] = {}
        self._ledger = home.ledger
        self.ended = False

    def expected_length(self, request: Request) -> int:
        """Bytes of the payload that a request may carry, known before any is fetched. Raises a LeptonicError."""
        if request.step == "join":
            return INLINE_LIMIT
        if request.step in ("train", "evaluate"):
            return self._participant(request).expected_length(request)
        return SESSION_BYTES if request.step == "abort" else 0

    def respond(self, request: Request, content: bytes, own: bytes = b"") -> tuple[Reply, bytes]:
        """The reply to a request, with its payload not yet described. own: what is for this node alone."""
        try:
            match request.step:
                case "join":
                    return self._join(request, content, own)
                case "end":
                    return self._end(request)
                case "open" | "share" | "abort" | "record":
                    return self._trip(request, content, own)
                case "train" if self._is_secure(request):
                    return self._masked(request, content, own)
                case _:
                    return self._work(request, content)
        except LeptonicError as error:
            self._refuse(request, f"{type(error).__name__}: {error}")
            return reply_to(request, "refused", detail=_told(error)), b""
        except Exception as error:  # a defect of a model or of ours must not end the node
            self._on_event("".join(traceback.format_exception(error)))
            return reply_to(request, "failed", detail=f"{type(error).__name__}; the client's log says more"), b""

    def _refuse(self, request: Request, reason: str) -> None:
        """The owner is told, and can look it up later."""
        self._on_event(f"{request.step} is refused: {reason}")
        # A full disk must not end the node.
        with suppress(sqlite3.Error):
            self._home.refuse(request.run, request.round, request.step, reason)

    def _join(self, request: Request, content: bytes, own: bytes) -> tuple[Reply, bytes]:
        experiment = from_canonical(content)
        if experiment.hash != request.experiment:
            raise VersionMismatch("the experiment's hash is not its own: the other side runs another version")
        self._check_policy(experiment)
        roster = self._membership.roster(experiment, own)
        examples = None if request.run in self._runs else self._check_budget(request.run, experiment)
        self._home.bind(request.run, experiment.hash)
        if request.run not in self._runs:
            self._on_event(f"joins run {request.run}: {experiment.name}, experiment {experiment.hash[:16]}")
            self._runs, self._remembered = {request.run: Joined(experiment, roster, examples)}, {}
        joined = self._runs[request.run]
        if roster is not None and joined.roster is not None and roster.hash != joined.roster.hash:
            self._on_event(f"takes version {roster.content.version} of the roster")
            joined.roster = roster
            if joined.party is not None:
                joined.party.renew(self._membership.standing(roster))
        return reply_to(request, "done"), b""

    def _check_policy(self, experiment: Experiment) -> None:
        """What the owner's own file allows: code by name, and sampling from a number of examples that it declares."""
        for entry in experiment.own_code:
            if entry not in self._settings.allow:
                raise PolicyRefused(f"the experiment uses {entry}, which this node's file does not allow")
        if isinstance(experiment.privacy, ExamplePrivacy) and self._settings.public_size is None:
            raise PolicyRefused(
                "the experiment promises privacy to single examples, whose sampling, noise and mean follow from a"
                " public number of them: set public_size in this node's file, to about as many as it holds"
            )

    def _check_budget(self, run: str, experiment: Experiment) -> Examples | None:
        """Whether the whole run fits the owner's limits, so that it is not refused in its middle.

        Returns the examples where it had to look. Raises BudgetExhausted.
        """
        limits, examples, size = self._ledger.limits, None, 1
        if not limits or limits.delta is None:
            return None
        if experiment.privacy is not None:
            examples = self._read(experiment)
            size = self._settings.public_size or len(examples)
            try:
                check_delta(limits.delta, units=size if limits.unit == "example" else experiment.federation.clients)
            except PrivacyError as error:
                raise BudgetExhausted(f"delta in [ledger] of the node file: {error}") from None
        asked = run_cost(experiment, size, trusting=self._settings.ledger.trust_coordinator)
        fits = self._ledger.check_run(run, experiment.purpose, asked.cost, asked.rounds, note=f" ({asked.target})")
        reckoned = f"by Renyi curves at delta {limits.delta:g}, it will have spent {', '.join(fits)}"
        self._on_event(f"run {run} ({asked.target}) fits: {reckoned}")
        return examples

    def _end(self, request: Request) -> tuple[Reply, bytes]:
        if self._runs.pop(request.run, None) is not None:
            self._on_event(f"run {request.run} has ended")
            self._remembered.clear()
            self.ended = True
        return reply_to(request, "done"), b""

    def _work(self, request: Request, content: bytes, session: str = "") -> tuple[Reply, bytes]:
        """Training or evaluation. session: names that of secure aggregation, where its noise is its own."""
        participant = self._participant(request)
        digest = _digest(request, content + session.encode())
        if (known := self._recall(request, digest, session)) is not None:
            return known.reply.model_copy(update={"attempt": request.attempt}), known.content
        participant.reserved = None
        try:
            reply, answer = respond(participant, request, content, told=self._tell, session=session)
        except Exception:
            self._settle_failure(participant)
            raise
        took = reply.seconds
        if participant.trainer.experiment.privacy is not None:
            # How long a client has worked tells how many examples it has.
            reply = reply.model_copy(update={"seconds": 0.0})
        if reply.status == "refused":
            self._refuse(request, reply.detail)
        if reply.status != "done":
            self._settle_failure(participant)
        else:
            if participant.reserved is not None:
                kept = KeptReply(request.step, digest, reply.model_dump_json(), answer)
                self._home.release(participant.reserved.key, kept)
            self._remembered[request.step] = Remembered(digest, reply, answer)
        self._on_event(
            f"round {request.round}: {request.step} {reply.status} in {took:.1f} s"
            + (f", epsilon {reply.epsilon:.3g} so far" if reply.epsilon is not None else "")
        )
        return reply, answer

    def _settle_failure(self, participant: Participant) -> None:
        """The coordinator is told that a training failed, which is an outcome of it: its charge is used up."""
        charge = participant.reserved
        if charge is not None:
            self._ledger.settle(charge.key, "failed")

    def _is_secure(self, request: Request) -> bool:
        joined = self._runs.get(request.run)
        return joined is not None and joined.experiment.secure_aggregation is not None

    def _trip(self, request: Request, content: bytes, own: bytes) -> tuple[Reply, bytes]:
        """One trip of secure aggregation; a session repeats itself, so that nothing is remembered here."""
        party, detail = self._party(request), ""
        match request.step:
            case "open":
                answer, detail = party.open(own)
            case "share":
                answer, detail = party.share(own)
            case "abort":
                answer = party.abort(content)
            case _:
                answer = party.record(own)
        if detail:
            self._refuse(request, detail)
        self._on_event(f"round {request.round}: {_TRIPS[request.step]}")
        return reply_to(request, "done", detail=detail), answer

    def _masked(self, request: Request, content: bytes, own: bytes) -> tuple[Reply, bytes]:
        """Work whose outcome leaves under masks; what was trained stays here, to be masked in another session."""
        digest = _digest(request, content + own)
        if (known := self._remembered.get("masked")) is not None and known.digest == digest:
            return known.reply.model_copy(update={"attempt": request.attempt}), known.content
        party, participant = self._party(request), self._participant(request)
        size = 4 * participant.trainer.layout.size
        payload = long_digest(content)
        model = payload if len(content) == size else long_digest(content[:size])
        party.train(own, model=model, payload=payload)
        # Noise of whole clients is one sum's: in another session it is drawn, and charged, anew.
        noised = isinstance(participant.trainer.pipeline, NoisedPipeline)
        reply, encoded = self._work(request, content, hashlib.sha256(own).hexdigest() if noised else "")
        if reply.status != "done":
            return reply, encoded
        pipeline = participant.trainer.pipeline
        masked = party.mask(pipeline.from_bytes(memoryview(bytearray(encoded))))
        answer = b"".join((*masked.parts, masked.reply))
        self._remembered["masked"] = Remembered(digest, reply, answer)
        return reply, answer

    def _party(self, request: Request) -> Party:
        """The node's part in the run's secure aggregation. Raises VersionMismatch where there is none."""
        participant, joined = self._participant(request), self._runs[request.run]
        if joined.roster is None:
            raise VersionMismatch(f"run {request.run} has no secure aggregation")
        if joined.party is None:
            pipeline = participant.trainer.pipeline
            joined.party = self._membership.party(joined.roster, joined.experiment, request.run, pipeline)
        return joined.party

    def _tell(self, error: LeptonicError) -> str:
        """The owner reads the whole error; the coordinator what :func:`_told` lets out."""
        self._on_event(f"{type(error).__name__}: {error}")
        return _told(error)

    def _participant(self, request: Request) -> Participant:
        joined = self._runs.get(request.run)
        if joined is None:
            raise VersionMismatch(f"this node has not joined run {request.run}; it is asked to join when it connects")
        self._home.bind(request.run, joined.experiment.hash, request.client)
        if joined.participant is None:
            joined.participant = self._begun(request, joined)
        return joined.participant

    def _begun(self, request: Request, joined: Joined) -> Participant:
        """Take up the work of a run, on the data as they are."""
        started, experiment, settings = time.perf_counter(), joined.experiment, self._settings
        trainer = LocalTrainer(experiment, device=settings.device)
        examples = joined.examples or self._read(experiment)
        joined.examples = None
        trainer.task.check(examples, settings.data)
        if self._ledger.note_data(examples.features, examples.labels):
            self._on_event(
                f"the data are not those that {self._ledger.lineage!r} was before; what was spent stays spent"
            )
        data = local_data(experiment, request.client, examples)
        server = joined.roster.content.coordinator.hex() if joined.roster else settings.server
        if experiment.privacy is None:
            charge = Charge(request.run, request.client, 0, UNPROTECTED, purpose=experiment.purpose, server=server)
            self._ledger.reserve(charge)
        participant = Participant(
            trainer,
            data,
            request.client,
            self._home,
            public_size=settings.public_size,
            server=server,
            trusting=settings.ledger.trust_coordinator,
        )
        seconds = time.perf_counter() - started
        self._on_event(f"is client {request.client} with {len(data)} training examples ({seconds:.1f} s)")
        return participant

    def _read(self, experiment: Experiment) -> Examples:
        return local_examples(experiment, Path(self._settings.data))

    def _recall(self, request: Request, digest: str, session: str) -> Remembered | None:
        known = self._remembered.get(request.step)
        if known is not None and known.digest == digest:
            return known
        kept = self._home.kept(request.run, request.step, digest)
        # Killed after it was kept, it was not settled yet; and it never leaves where another outcome was settled.
        key = (request.run, request.client, request.round, session)
        if kept is None or not self._ledger.settle(key, "left"):
            return None
        return Remembered(digest, Reply.model_validate_json(kept.reply), kept.payload)


def _told(error: LeptonicError) -> str:
    """What the coordinator is told: an error's text only where no row, column or path of the owner can be in it."""
    if isinstance(error, BudgetExhausted):
        return "BudgetExhausted: refused by the budget of the data's owner"
    if isinstance(error, PrivacyError | ProtocolError | ExperimentError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}; the client's log says more"


def _digest(request: Request, content: bytes) -> str:
    """Names what a request asks for, whatever attempt it comes with."""
    asked = f"{request.run}/{request.round}/{request.step}/{request.client}/{request.counted}/"
    return hashlib.sha256(asked.encode() + content).hexdigest()
