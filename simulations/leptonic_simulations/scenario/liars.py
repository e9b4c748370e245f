"""Clients that lie: who they are, and those that lie by themselves, without a look at the others."""

from dataclasses import replace

import numpy as np

from leptonic import randomness
from leptonic.experiment import Attack, Experiment
from leptonic.update import LocalUpdate
from leptonic.wire import Request
from leptonic_client.participant import Answer, Participant
from leptonic_client.training import LocalWork
from leptonic_simulations.scenario.lies import lie

__all__ = ["Liar", "attack_of", "liars_of"]


def attack_of(experiment: Experiment) -> Attack | None:
    """What the experiment's liars do, None where nobody lies."""
    scenario = experiment.scenario
    return scenario.liars.attack if scenario and scenario.liars else None


def liars_of(experiment: Experiment) -> frozenset[int]:
    """Roster indexes of the clients that lie, the same whatever their attack is."""
    liars, clients = experiment.scenario.liars if experiment.scenario else None, experiment.federation.clients
    if liars is None:
        return frozenset()
    if liars.clients is not None:
        return frozenset(liars.clients)
    draw = randomness.generator(experiment.seed, "scenario", "liars")
    return frozenset(draw.choice(clients, size=liars.count(clients), replace=False).tolist())


class Liar(Participant):
    """Trains as everyone does, keeps its state, and sends something else, encoded as everyone's."""

    def contribute(
        self, request: Request, work: LocalWork, update: LocalUpdate, room: memoryview | None = None
    ) -> Answer:
        """Encode what it says instead of the outcome of its work."""
        experiment = self.trainer.experiment
        attack = attack_of(experiment)
        if attack is not None:
            draw = self._draw(experiment.seed, request)
            update = replace(update, vectors=lie(attack, update.vectors, draw))
        return super().contribute(request, work, update, room)

    def _draw(self, seed: int, request: Request) -> np.random.Generator:
        return randomness.generator(seed, "scenario", "lie", self.index, request.round)
