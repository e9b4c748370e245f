"""What each round's record says of privacy: mechanism, parameters, and epsilon so far.

Called by the coordinator when it commits a round. It repeats what clients report; with client-level privacy it also
counts the rounds that each client was asked to join, so that a record never says less than the plan charges.
"""

from collections.abc import Mapping

from leptonic.experiment import Experiment
from leptonic.pipeline import ClientLevelPipeline, Pipeline
from leptonic.privacy.promise import stated
from leptonic_server.store import ClientRecord, RunStore

__all__ = ["PrivacyRecords"]


class PrivacyRecords:
    """Of one run."""

    def __init__(self, experiment: Experiment, pipeline: Pipeline, store: RunStore) -> None:
        self._plan = pipeline.plan if isinstance(pipeline, ClientLevelPipeline) else None
        self._stated = stated(experiment, self._plan)
        self._store = store
        self._spent = max((record.spent or 0.0 for record in store.rounds()), default=0.0) if self._stated else 0.0

    def after(
        self, round_number: int, clients: Mapping[int, ClientRecord], *, clip_norm: float | None = None
    ) -> dict[str, str | int | float]:
        """For the record of a round in which these were asked; nothing without ``[privacy]``.

        clip_norm: of this round, where it adapts. epsilon: the largest of any client so far. joined: with client-level
        privacy, the most rounds that any client was asked to join so far and has not refused, up to what its noise was
        planned for.
        """
        if not self._stated:
            return {}
        reported = [record.epsilon for record in clients.values() if record.epsilon is not None]
        joined = {}
        if self._plan is not None:
            taking = [client for client, record in clients.items() if record.status != "refused"]
            most = min(self._store.most_asked(round_number, taking), self._plan.participations)
            reported.append(self._plan.epsilon(most))
            joined = {"joined": most}
        self._spent = max([self._spent, *reported])
        clip = {} if clip_norm is None else {"clip_norm": clip_norm}
        return {**self._stated, **clip, **joined, "epsilon": self._spent}
