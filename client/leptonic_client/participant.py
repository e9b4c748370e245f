"""One client of one run: answers the coordinator's requests from its own data.

The same object answers in a node and in a simulation; what differs (transport, signature, cache) is around it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from leptonic import randomness
from leptonic.errors import DecodeError, LeptonicError, PrivacyError, ProtocolError, VersionMismatch
from leptonic.pipeline import NoisedPipeline, Occasion, encode_scalars
from leptonic.privacy.accounting import epsilon_spent
from leptonic.privacy.client_level import ClientPlan
from leptonic.privacy.ledger import Charge
from leptonic.update import LocalUpdate
from leptonic.wire import Payload, Reply, Request
from leptonic_client.costs import plan_of, round_cost
from leptonic_client.data import LocalData
from leptonic_client.home import ClientHome
from leptonic_client.training import LocalTrainer, LocalWork, Protection

__all__ = ["Answer", "Participant", "failure", "reply_to", "respond", "success"]

DETAIL_LIMIT = 1000
_NOT_DESCRIBED = Payload(kind="memory", length=0)


@dataclass(frozen=True)
class Answer:
    """Bytes to send, and the privacy spent so far in this run."""

    content: bytes
    epsilon: float | None = None


class _Reserved(TypedDict, total=False):
    epsilon: float
    protection: Protection


class Participant:
    """Trains and evaluates for one roster index.

    public_size: declared number of examples, under privacy; None takes the number it holds as public, as a simulation
    may, which divides public data.
    seeded_noise: privacy noise from the experiment's seed, which protects nobody; simulations only. server: the
    coordinator, as the ledger names it. trusting: whether noise counts that the coordinator promises to add.
    reserved: the last charge, whose outcome the caller settles.
    """

    def __init__(
        self,
        trainer: LocalTrainer,
        data: LocalData,
        index: int,
        home: ClientHome,
        *,
        public_size: int | None = None,
        seeded_noise: bool = False,
        server: str = "",
        trusting: bool = False,
    ) -> None:
        self.trainer, self.data, self.index, self.home = trainer, data, index, home
        self.seeded_noise, self.server, self.trusting = seeded_noise, server, trusting
        self.plan = plan_of(trainer, len(data) if public_size is None else public_size)
        self.reserved: Charge | None = None

    def answer(
        self, request: Request, content: bytes | memoryview, session: str = "", room: memoryview | None = None
    ) -> Answer:
        """Do what ``request`` asks. session: names that of secure aggregation, where its noise is its own.

        room: where a contribution is to be encoded, of its length: the answer then has no bytes of its own.
        Raises the named error of whatever is wrong.
        """
        if request.step == "train":
            work = self.prepare(request, content, session)
            return self.contribute(request, work, self.trainer.train(work), room)
        self._check(request, content)
        return self._evaluate(content)

    def prepare(self, request: Request, content: bytes | memoryview, session: str = "") -> LocalWork:
        """The training that a request asks for; under privacy its release is reserved from here on."""
        self._check(request, content)
        algorithm, size = self.trainer.algorithm, self.trainer.layout.size
        vectors = memoryview(content)[: 4 * size * (1 + len(algorithm.broadcast))]
        model, *rest = np.frombuffer(vectors, dtype="<f4").reshape(-1, size)
        return LocalWork(
            client=self.index,
            round_number=request.round,
            data=self.data,
            start=model,
            sent=dict(zip(algorithm.broadcast, rest, strict=True)),
            state=self.home.load_state(request.run, self.index, request.counted) if algorithm.stateful else {},
            clip_norm=self._clip_norm(memoryview(content)[len(vectors) :]),
            **self._reserve(request, session),
        )

    def contribute(
        self, request: Request, work: LocalWork, update: LocalUpdate, room: memoryview | None = None
    ) -> Answer:
        """Encode the outcome of the work, and keep the algorithm's state. room: see :meth:`answer`."""
        pipeline = self.trainer.pipeline.at(Occasion(request.round, work.clip_norm))
        stream = self._stream("noise", request.round) if isinstance(pipeline, NoisedPipeline) else None
        if room is None:
            return self.settle(request, work, update, pipeline.encode(update, stream).to_bytes())
        pipeline.encode_into(room, update, stream)
        return self.settle(request, work, update, b"")

    def settle(self, request: Request, work: LocalWork, update: LocalUpdate, encoded: bytes) -> Answer:
        """Keep the algorithm's state of an outcome that was encoded. encoded: what this client's reply brings."""
        self.home.save_state(request.run, self.index, request.round, update.state, request.counted)
        return Answer(encoded, work.epsilon)

    def _check(self, request: Request, content: bytes | memoryview) -> None:
        if request.experiment != self.trainer.experiment.hash:
            raise VersionMismatch("the request belongs to another experiment than the one this client joined")
        if request.client != self.index:
            raise DecodeError(f"the request is for client {request.client}, this is client {self.index}")
        if not request.counted < request.round <= self.trainer.experiment.training.rounds:
            raise DecodeError(f"round {request.round} after round {request.counted} is not one of this run")
        if len(content) != self.expected_length(request):
            expected = self.expected_length(request)
            raise DecodeError(f"the request carries {len(content)} bytes, expected {expected}")

    def expected_length(self, request: Request) -> int:
        """Bytes of the payload that such a request must carry."""
        return self.trainer.work_length if request.step == "train" else 4 * self.trainer.layout.size

    def _clip_norm(self, told: memoryview) -> float | None:
        """The round's clip: as the server tells it where it adapts, else as the experiment says."""
        privacy = self.trainer.experiment.privacy
        if not len(told):
            return privacy.clip_norm if privacy else None
        (clip_norm,) = np.frombuffer(told, dtype="<f8").tolist()
        if not (math.isfinite(clip_norm) and clip_norm > 0):
            raise DecodeError(f"an update cannot be clipped to {clip_norm}")
        return float(clip_norm)

    def _reserve(self, request: Request, session: str) -> "_Reserved":
        """Charge an update before it is made; from here on it is spent."""
        plan = self.plan
        if plan is None:
            return {}
        charge = Charge(
            run=request.run,
            client=self.index,
            round=request.round,
            cost=round_cost(plan, trusting=self.trusting),
            session=session,
            purpose=self.trainer.experiment.purpose,
            server=self.server,
        )
        if isinstance(plan, ClientPlan):
            joined = self.home.reserve(charge, plan.participations, apart=plan.apart)
            self.reserved = charge
            return {"epsilon": plan.epsilon(joined)}
        rounds = self.home.reserve(charge, plan.releases)
        self.reserved = charge
        protection = Protection(
            plan=plan,
            noise=self._stream("noise", request.round),
            sampling=self._stream("sampling", request.round),
        )
        return {"epsilon": epsilon_spent(plan, rounds), "protection": protection}

    def _stream(self, purpose: str, round_number: int) -> randomness.SecureStream:
        seed = self.trainer.experiment.seed
        return randomness.noise_stream(seed, purpose, self.index, round_number, seeded=self.seeded_noise)

    def _evaluate(self, content: bytes | memoryview) -> Answer:
        if self.trainer.experiment.evaluation.holdout == 0:
            raise PrivacyError("the experiment has no client-side evaluation, so none is answered")
        sums = self.trainer.evaluate(np.frombuffer(content, dtype="<f4"), self.data)
        names = (*self.trainer.task.metric_names, "examples")
        return Answer(encode_scalars([sums[name] for name in names]))


def respond(
    participant: Participant,
    request: Request,
    content: bytes | memoryview,
    *,
    told: Callable[[LeptonicError], str] = str,
    session: str = "",
    room: memoryview | None = None,
) -> tuple[Reply, bytes]:
    """The reply to a request, errors included: a client's error is an event of the round, not its end.

    session, room: see :meth:`Participant.answer`. told: what the coordinator is told of an error. The payload's
    description is left to the caller, who knows how it travels.
    """
    started = time.perf_counter()
    try:
        answer = participant.answer(request, content, session, room)
    except LeptonicError as error:
        return failure(request, error, told(error)), b""
    return success(request, answer, seconds=time.perf_counter() - started), answer.content


def success(request: Request, answer: Answer, *, seconds: float) -> Reply:
    """The reply that carries an answer."""
    return reply_to(request, "done", seconds=seconds, epsilon=answer.epsilon)


def failure(request: Request, error: LeptonicError, detail: str) -> Reply:
    """The reply that tells of an error. detail: what the coordinator is told of it."""
    refused = isinstance(error, PrivacyError | ProtocolError)
    return reply_to(request, "refused" if refused else "failed", detail=detail)


def reply_to(request: Request, status: str, **fields: object) -> Reply:
    """A reply to a request, its payload not described yet."""
    return Reply.model_validate(
        {
            "run": request.run,
            "experiment": request.experiment,
            "round": request.round,
            "step": request.step,
            "attempt": request.attempt,
            "client": request.client,
            "payload": _NOT_DESCRIBED,
            "status": status,
            **fields,
            "detail": str(fields.get("detail", ""))[:DETAIL_LIMIT],
        }
    )
