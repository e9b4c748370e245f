"""What an experiment means for the sessions of its rounds: the same at the coordinator and at every client."""

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.pipeline import Pipeline
from leptonic.secagg.messages import SessionSettings

__all__ = ["PHASE_TRAIN", "session_settings"]

PHASE_TRAIN = 0


def session_settings(experiment: Experiment, pipeline: Pipeline) -> SessionSettings:
    """The settings of each of its sessions. Raises ExperimentError for one without secure aggregation."""
    secure, invited = experiment.secure_aggregation, experiment.federation.invited
    if secure is None:
        raise ExperimentError("secure_aggregation: the experiment has no such section")
    zero = pipeline.zero()
    return SessionSettings(
        words=len(zero.words),
        sums=len(zero.scalars),
        bits=secure.bits,
        invited=invited,
        lying=int(secure.adversary == "lying"),
        colluders=secure.colluding(invited),
        neighbours=0 if secure.neighbours == "auto" else secure.neighbours,
        dropping=secure.dropping(invited),
        minimum=experiment.needed,
    )
