"""A client's answer to each step of a session, one message each: what was kept is taken up, and the rest kept again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from leptonic.errors import ExperimentError, InconsistentCohort, ReplayedSession
from leptonic.flower.content import change_of, model_digest, model_of, payload_digest, size_of
from leptonic.flower.terms import Terms
from leptonic.flower.wire import RECORD, content_of, reply_of
from leptonic.pipeline import Contribution, Pipeline
from leptonic.secagg.binding import hashed
from leptonic.secagg.client.masked import Agreed, Masked
from leptonic.secagg.client.opened import Opened, open_session
from leptonic.secagg.client.session import aborted
from leptonic.secagg.client.shared import Shared
from leptonic.secagg.client.suspended import resumed, suspended
from leptonic.secagg.encoding import decoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import Open, Train
from leptonic.secagg.terms import PHASE_TRAIN
from leptonic.update import LocalUpdate
from leptonic_client.flower.kept import KeptSession
from leptonic_client.flower.places import Place

__all__ = ["ANSWERS", "Asked"]

_STATE = "session"


@dataclass(frozen=True)
class Asked:
    """One message: who is asked, for what, and the app's own records and work."""

    place: Place
    context: Context
    record: ConfigRecord
    own: RecordDict
    work: Callable[[RecordDict], Message]

    @property
    def run(self) -> bytes:
        """The run's name in its sessions."""
        return str(self.context.run_id).encode()

    @property
    def content(self) -> bytes:
        """What the protocol asks."""
        return content_of(self.record)

    def taken(self, step: str) -> KeptSession:
        """The session that waits for this step, for the one time that it is taken up."""
        kept = self.context.state.config_records.get(RECORD)
        if kept is None:
            raise ReplayedSession(f"step {step!r} is not the next one: this client has no session")
        return self.place.keeper.take(self.run, step, content_of(kept, _STATE))

    def keep(self, step: str, session: KeptSession) -> None:
        """Keep a session for the step that is to come."""
        sealed = self.place.keeper.keep(self.run, step, session)
        self.context.state[RECORD] = ConfigRecord({_STATE: sealed})


def _open(asked: Asked) -> RecordDict:
    encoding, terms = content_of(asked.record, "roster"), decoded(Terms, content_of(asked.record, "terms"))
    opening = decoded(Open, asked.content)
    if (opening.run, opening.experiment) != (asked.run, hashed(terms)):
        raise InconsistentCohort("the session is opened for another run, or on other terms, than this client was told")
    if opening.phase != PHASE_TRAIN:
        raise InconsistentCohort("a session of another phase than training")
    terms.pipeline(opening.settings)
    opened = open_session(asked.place.member.standing(asked.place.member.admitted(encoding)), asked.content)
    answer = opened.reply
    # Its number is above the last one's, which is over.
    asked.place.keeper.forget(asked.run)
    asked.keep("share", KeptSession(encoding, opening.settings, terms, suspended(opened)))
    return reply_of(answer)


def _share(asked: Asked) -> RecordDict:
    kept = asked.taken("share")
    shared = resumed(Opened, asked.place.standing(kept.roster), kept.state).introduced(asked.content)
    answer = shared.reply
    asked.keep("train", replace(kept, state=suspended(shared)))
    return reply_of(answer)


def _train(asked: Asked) -> RecordDict:
    """The app's work, whose outcome leaves masked."""
    kept = asked.taken("train")
    if decoded(Train, asked.content).record != bytes(32):
        raise InconsistentCohort("the session goes on from a record, and a Flower app's sessions have none")
    arrays, pipeline = model_of(asked.own), kept.terms.pipeline(kept.settings)
    if size_of(arrays) != pipeline.size:
        raise InconsistentCohort(f"a model of {size_of(arrays)} values, and the session sums {pipeline.size}")
    shared = resumed(Shared, asked.place.standing(kept.roster), kept.state)
    ready = shared.train(asked.content, model=model_digest(arrays), payload=payload_digest(asked.own))
    # The app may change what it is given.
    before = ArrayRecord(dict(arrays.items()))
    contribution = _encoded(asked.work(asked.own).content, before, kept.terms, pipeline)
    masked = ready.mask(contribution.words, contribution.scalars, Here())
    answer = reply_of(masked.reply, b"".join(masked.parts))
    asked.keep("agree", replace(kept, state=suspended(masked)))
    return answer


def _agree(asked: Asked) -> RecordDict:
    kept = asked.taken("agree")
    agreed = resumed(Masked, asked.place.standing(kept.roster), kept.state).agree(asked.content)
    answer = agreed.reply
    asked.keep("unmask", replace(kept, state=suspended(agreed)))
    return reply_of(answer)


def _unmask(asked: Asked) -> RecordDict:
    kept = asked.taken("unmask")
    answer = resumed(Agreed, asked.place.standing(kept.roster), kept.state).unmask(asked.content).reply
    del asked.context.state[RECORD]
    return reply_of(answer)


def _abort(asked: Asked) -> RecordDict:
    """Nothing of the session is needed for this: the journal knows what was signed."""
    roster = asked.place.member.admitted(content_of(asked.record, "roster"))
    return reply_of(aborted(asked.place.member.standing(roster), asked.content))


ANSWERS: Mapping[str, Callable[[Asked], RecordDict]] = {
    "open": _open,
    "share": _share,
    "train": _train,
    "agree": _agree,
    "unmask": _unmask,
    "abort": _abort,
}


def _encoded(reply: RecordDict, before: ArrayRecord, terms: Terms, pipeline: Pipeline) -> Contribution:
    """The integers of the app's reply. Raises ExperimentError for a reply that cannot be summed."""
    metrics = list(reply.metric_records.values())
    if len(metrics) != 1 or len(reply) != 2:
        raise ExperimentError(
            "the app's reply must hold one ArrayRecord and one MetricRecord, and nothing else: all of it is summed"
        )
    numbers = _numbers(metrics[0], terms)
    weight = numbers.pop(terms.weight_name)
    if not weight > 0:
        raise ExperimentError(f"the metric {terms.weight_name!r} is the weight of the update, and must be more than 0")
    counted = pipeline.weight_of(weight)
    return pipeline.encode(
        LocalUpdate(
            vectors={"model": change_of(before, model_of(reply))},
            weight=weight,
            sums={name: counted * value for name, value in numbers.items()},
        )
    )


def _numbers(metrics: MetricRecord, terms: Terms) -> dict[str, float]:
    """The metrics by name. Raises ExperimentError, which says no value, for others than the terms name."""
    wanted = {terms.weight_name, *terms.metric_names}
    if metrics.keys() != wanted:
        raise ExperimentError(
            f"the app replies with the metrics {sorted(metrics)}, and what is summed are {sorted(wanted)}: "
            "name those beside the weight where the strategy is made, SecureAggregation(..., metrics=[...])"
        )
    if lists := sorted(name for name, value in metrics.items() if isinstance(value, list)):
        raise ExperimentError(f"the metrics {lists} are lists: what is summed are single numbers")
    return {name: float(value) for name, value in metrics.items()}
