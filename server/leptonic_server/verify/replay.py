"""Each next model is the server's update by the opened sum, where sums were kept: the server's steps done again."""

import hashlib

import numpy as np
import safetensors.numpy

from leptonic import models, parameters
from leptonic.algorithms import algorithm_for
from leptonic.data.catalogue import spec_of
from leptonic.errors import DecodeError, InconsistentCohort, RunError
from leptonic.pipeline import ClippedPipeline, Contribution, Occasion, pipeline_for
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.server.remainder import digest_of_sum
from leptonic.secagg.terms import session_settings
from leptonic_server.central_noise import central_noise
from leptonic_server.optimizers import optimizer_for
from leptonic_server.secure.retained import Retained, read_regular
from leptonic_server.state import RoundState
from leptonic_server.store import RunStore
from leptonic_server.verify.chain import Chain, Link

__all__ = ["Replay"]

_EXPECTED = (
    "the one before it (or this machine computes other bits than the coordinator's: compare the versions of torch "
    "and numpy)"
)


class Replay:
    """Goes through a run again. Its experiment must bring no code of its own."""

    def __init__(self, store: RunStore) -> None:
        self._store, self._experiment = store, store.experiment
        model = models.build(self._experiment.model, spec_of(self._experiment.data), self._experiment.seed)
        self._layout = parameters.layout_of(model)
        self._pipeline = pipeline_for(self._experiment, self._layout.size)
        self._algorithm = algorithm_for(self._experiment)
        self._optimizer = optimizer_for(self._experiment.server_optimizer)
        # The server's noise cannot be drawn again, and what it was added to is nobody's.
        self._repeatable = not isinstance(self._pipeline, ClippedPipeline)
        noise = central_noise(self._experiment, self._pipeline, seeded=False)
        first = noise.first() if noise else None
        self._first = RoundState.first(parameters.to_vector(model), self._algorithm, self._optimizer, first)
        self._retained = Retained(store.folder)

    def check_settings(self, chain: Chain) -> None:
        """Raise InconsistentCohort unless the sessions had the settings that the experiment means."""
        expected = session_settings(self._experiment, self._pipeline)
        for link in chain.links:
            if link.record.opening.settings != expected:
                raise InconsistentCohort(f"round {link.number}: had other settings than the experiment's")

    def check_models(self, chain: Chain) -> int:
        """Step from the first model by each opened sum. Returns the last round so reached: 0 where none was kept.

        Raises InconsistentCohort for a model that is not the step from the one before it, RunError where a file is
        damaged, or missing though the experiment says that it is kept.
        """
        secure = self._experiment.secure_aggregation
        keeps = self._repeatable and secure is not None and secure.retain != "nothing"
        state, rounds = self._first, {record.round: record.model_sha256 for record in self._store.rounds()}
        for link in chain.links:
            if long_digest(state.broadcast(self._algorithm)) != link.record.context.payload:
                raise InconsistentCohort(f"round {link.number}: clients were sent another model than {_EXPECTED}")
            if not keeps:
                return 0
            total = self._sum(link)
            clients = self._experiment.federation.clients
            mean = self._pipeline.at(Occasion(link.number)).decode(total)
            state = state.step(mean, self._algorithm, self._optimizer, clients=clients)
            if self._model_sha256(state) != rounds.get(link.number):
                raise InconsistentCohort(f"round {link.number}: its model is not the step by its opened sum")
        self._check_last(state)
        return len(chain.links)

    def _check_last(self, state: RoundState) -> None:
        """What the run has delivered is the last model."""
        if not np.array_equal(self._store.vectors()["model"], state.model):
            raise InconsistentCohort("the kept model is not that of the last round")
        delivered = self._store.folder / "model.safetensors"
        expected = self._model_file(state)
        if delivered.exists() and read_regular(delivered, at_most=len(expected)) != expected:
            raise InconsistentCohort(f"{delivered}: is not the model of the last round")

    def _sum(self, link: Link) -> Contribution:
        """The round's opened sum."""
        path = self._retained.sum_file(link.number)
        try:
            total = self._pipeline.from_bytes(read_regular(path, at_most=self._pipeline.encoded_length))
        except DecodeError as error:
            raise RunError(f"{path}: is not a sum ({error}); restore it from a copy") from None
        if digest_of_sum(total.words, total.scalars) != link.record.sum:
            raise InconsistentCohort(f"round {link.number}: {path} is not the sum that was opened")
        self._pipeline.check(total, clients=len(link.survivors))
        return total

    def _model_sha256(self, state: RoundState) -> str:
        return hashlib.sha256(self._model_file(state)).hexdigest()

    def _model_file(self, state: RoundState) -> bytes:
        return safetensors.numpy.save(parameters.state_dict_of(self._layout, state.model))
