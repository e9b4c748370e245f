"""What a node answers: joins runs, does their work on its own data, and repeats itself on request.

A repeated request gets the bytes it had got, so that nothing is trained twice; under privacy they are kept
on disk too, since training again would release fresh noise. What an experiment names by
``package.module:name`` runs only if the owner's node file allows it.
"""

import hashlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leptonic.data.experiment_data import local_examples
from leptonic.errors import LeptonicError, PolicyRefused, VersionMismatch
from leptonic.experiment import Experiment, OwnModel
from leptonic.experiment_file import from_canonical
from leptonic.wire import Payload, Reply, Request
from leptonic_client.data import local_data
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant, respond
from leptonic_client.settings import NodeSettings
from leptonic_client.training import LocalTrainer

__all__ = ["Responder"]


@dataclass
class Joined:
    """A run that this node has joined, and its part in it once the coordinator has given it an index."""

    experiment: Experiment
    participant: Participant | None = None


@dataclass(frozen=True)
class Remembered:
    """The last reply of one step of one run."""

    digest: str
    reply: Reply
    content: bytes


class Responder:
    """Answers requests, whatever they are; errors become replies, since a node outlives them.

    on_event: is told, in words, what happens. ended: set when a joined run has ended.
    """

    def __init__(self, settings: NodeSettings, home: ClientHome, on_event: Callable[[str], None]) -> None:
        self._settings, self._home, self._on_event = settings, home, on_event
        self._runs: dict[str, Joined] = {}
        self._remembered: dict[tuple[str, str], Remembered] = {}
        self.ended = False

    def respond(self, request: Request, content: bytes) -> tuple[Reply, bytes]:
        """The reply to a request, with its payload not yet described."""
        try:
            match request.step:
                case "join":
                    return self._join(request, content)
                case "end":
                    return self._end(request)
                case _:
                    return self._work(request, content)
        except LeptonicError as error:
            self._on_event(f"{request.step} is refused: {type(error).__name__}: {error}")
            return outcome(request, "refused", self._told(request, f"{type(error).__name__}: {error}")), b""
        except Exception as error:  # a defect of a model or of ours must not end the node
            self._on_event("".join(traceback.format_exception(error)))
            return outcome(request, "failed", f"{type(error).__name__}; the client's own log says more"), b""

    def _join(self, request: Request, content: bytes) -> tuple[Reply, bytes]:
        experiment = from_canonical(content)
        if experiment.hash != request.experiment:
            raise VersionMismatch("the experiment's hash is not its own: the other side runs another version")
        self._check_allowed(experiment)
        if request.run not in self._runs:
            self._on_event(f"joins run {request.run}: {experiment.name}, experiment {experiment.hash[:16]}")
            self._runs = {request.run: Joined(experiment)}
        return outcome(request, "done", ""), b""

    def _check_allowed(self, experiment: Experiment) -> None:
        """Code is chosen here: an entry that came over the network must be one that the owner named."""
        entries = [experiment.task.kind] if ":" in experiment.task.kind else []
        if isinstance(experiment.model, OwnModel):
            entries.append(experiment.model.name)
        for entry in entries:
            if entry not in self._settings.allow:
                raise PolicyRefused(f"the experiment uses {entry}, which this node's file does not allow")

    def _end(self, request: Request) -> tuple[Reply, bytes]:
        if self._runs.pop(request.run, None) is not None:
            self._on_event(f"run {request.run} has ended")
            self.ended = True
        return outcome(request, "done", ""), b""

    def _work(self, request: Request, content: bytes) -> tuple[Reply, bytes]:
        digest = _digest(request, content)
        if (known := self._recall(request, digest)) is not None:
            numbers = {"attempt": request.attempt}
            return known.reply.model_copy(update=numbers), known.content
        participant = self._participant(request)
        reply, answer = respond(participant, request, content)
        if reply.status == "done":
            self._remember(request, Remembered(digest, reply, answer), durable=participant.plan is not None)
        self._on_event(
            f"round {request.round}: {request.step} {reply.status} in {reply.seconds:.1f} s"
            + (f", epsilon {reply.epsilon:.3g} so far" if reply.epsilon is not None else "")
            + (f": {reply.detail}" if reply.detail else "")
        )
        return reply, answer

    def _participant(self, request: Request) -> Participant:
        joined = self._runs.get(request.run)
        if joined is None:
            raise VersionMismatch(f"this node has not joined run {request.run}; it is asked to join when it connects")
        if joined.participant is None:
            started = time.perf_counter()
            trainer = LocalTrainer(joined.experiment, device=self._settings.device)
            examples = local_examples(joined.experiment, Path(self._settings.data))
            trainer.task.check(examples, self._settings.data)
            data = local_data(joined.experiment, request.client, examples)
            joined.participant = Participant(
                trainer, data, request.client, self._home, public_size=self._settings.public_size
            )
            seconds = time.perf_counter() - started
            self._on_event(f"is client {request.client} with {len(data)} training examples ({seconds:.1f} s)")
        return joined.participant

    def _recall(self, request: Request, digest: str) -> Remembered | None:
        known = self._remembered.get((request.run, request.step))
        if known is not None and known.digest == digest:
            return known
        stored = self._home.recall(request.run, request.client, request.step, digest)
        return Remembered(digest, Reply.model_validate_json(stored[0]), stored[1]) if stored else None

    def _remember(self, request: Request, reply: Remembered, *, durable: bool) -> None:
        self._remembered[request.run, request.step] = reply
        if durable:
            text = reply.reply.model_dump_json()
            self._home.remember(
                request.run, request.client, request.step, digest=reply.digest, reply=text, payload=reply.content
            )

    def _told(self, request: Request, detail: str) -> str:
        """What the coordinator is told of an error: under privacy its text could quote the data."""
        joined = self._runs.get(request.run)
        private = joined is not None and joined.experiment.privacy is not None and request.step != "join"
        return detail.partition(":")[0] if private else detail


def outcome(request: Request, status: str, detail: str) -> Reply:
    """A reply without a payload."""
    content = {
        **request.model_dump(exclude={"counted", "payload"}),
        "payload": Payload(kind="memory", length=0),
        "status": status,
        "detail": detail[:4096],
    }
    return Reply.model_validate(content)


def _digest(request: Request, content: bytes) -> str:
    """Names what a request asks for, whatever attempt it comes with."""
    asked = f"{request.run}/{request.round}/{request.step}/{request.client}/{request.counted}/"
    return hashlib.sha256(asked.encode() + content).hexdigest()
