"""One simulation from the experiment to its result: the coordinator over the in-process grid."""

import gc
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from leptonic.experiment import Experiment
from leptonic.secagg.expansion import Expansion, Workers
from leptonic_server.coordinator import Coordinator, Surroundings
from leptonic_server.evaluation import Evaluator
from leptonic_server.outputs import Outputs, Result
from leptonic_server.progress import RunListener
from leptonic_server.run_folder import open_run
from leptonic_server.secure.coordinator import SecureCoordinator
from leptonic_server.secure.kept import Nothing
from leptonic_server.store import RunStore
from leptonic_simulations.asynchronous.coordinator import AsynchronousCoordinator
from leptonic_simulations.asynchronous.flights import Flights
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.engines import cores, engine_for
from leptonic_simulations.grid import Engine, InProcessGrid, MemoryPayloads
from leptonic_simulations.members import Everyone
from leptonic_simulations.scenario.liars import attack_of
from leptonic_simulations.scenario.lies import needs_the_honest
from leptonic_simulations.scenario.omniscient import OmniscientEngine
from leptonic_simulations.scenario.time import ScenarioTime
from leptonic_simulations.secure import SecureEngine, SimulatedFederation, federation_seed
from leptonic_simulations.sums import sums_securely

__all__ = ["simulate"]

MASKS_AHEAD = 2**28
"""Bytes at most for masks that are expanded before the clients have trained."""


def simulate(
    experiment: Experiment, *, folder: Path | None = None, resume: bool = False, quiet: bool = False
) -> Result:
    """Run, or with ``resume`` continue, a simulation. See :func:`leptonic_server.run_folder.open_run`."""
    evaluator = Evaluator(experiment)
    with open_run(experiment, layout=evaluator.layout.hash, mode="simulated", folder=folder, resume=resume) as store:
        clients = SimulatedClients(experiment, store.folder / "clients", FederatedData.of(experiment))
        outputs = Outputs(experiment, store)
        rounds, done = experiment.training.rounds, store.last_round() or 0
        with (
            closing(clients),
            RunListener(outputs, rounds=rounds, done=done, quiet=quiet) as listener,
            closing(_engine(clients, store, listener)) as engine,
            closing(Workers(cores(), ahead=MASKS_AHEAD)) as expansion,
            _what_is_there_set_aside(),
        ):
            _coordinator(clients, store, engine, evaluator, listener, expansion).run()
            counts = clients.data.label_counts(clients.trainer.spec.classes)
        return outputs.finish(evaluator, label_counts=counts)


@contextmanager
def _what_is_there_set_aside() -> Iterator[None]:
    """Keep Python from looking for garbage, round after round, in all that was imported: a tenth of a second a time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _coordinator(
    clients: SimulatedClients,
    store: RunStore,
    engine: Engine,
    evaluator: Evaluator,
    listener: RunListener,
    expansion: Expansion,
) -> Coordinator:
    """The run's coordinator: by the scenario's clock if there is one, else without time."""
    experiment = clients.experiment
    if experiment.scenario is not None and experiment.scenario.asynchronous:
        return _asynchronous(clients, store, engine, evaluator, listener)
    everyone, payloads = Everyone(experiment.federation.clients), MemoryPayloads()
    time = experiment.scenario and ScenarioTime(experiment.scenario, clients, start=store.virtual_seconds())
    surroundings = Surroundings(
        store=store,
        grid=InProcessGrid(engine, time.schedule if time else None, payloads),
        members=time.members(everyone) if time else everyone,
        evaluator=evaluator,
        listener=listener,
        deadline=None if time else math.inf,
        patience=0.0 if time else None,
        clock=time.clock if time else None,
        seeded_noise=experiment.simulation.seeded_noise,
    )
    if not sums_securely(experiment):
        # No client keeps anything of a round.
        surroundings["one_behind"] = experiment.privacy is None and not clients.trainer.algorithm.stateful
        return Coordinator(experiment, **surroundings)
    federation = SimulatedFederation(
        experiment, everyone, federation_seed(store.folder / "clients" / "federation.seed")
    )
    surroundings["grid"] = InProcessGrid(
        SecureEngine(
            engine,
            federation,
            experiment=experiment,
            pipeline=clients.trainer.pipeline,
            payloads=payloads,
            expansion=expansion,
            name=everyone.name,
        ),
        time.schedule if time else None,
        payloads,
    )
    return SecureCoordinator(
        experiment, office=federation.office, expansion=expansion, session=Nothing(), **surroundings
    )


def _asynchronous(
    clients: SimulatedClients, store: RunStore, engine: Engine, evaluator: Evaluator, listener: RunListener
) -> Coordinator:
    """The coordinator of a scenario without rounds: its flights know when answers arrive, its grid is immediate."""
    experiment, scenario = clients.experiment, clients.experiment.scenario
    assert scenario is not None
    assert scenario.asynchronous is not None
    time = ScenarioTime(scenario, clients, start=store.virtual_seconds())
    everyone = Everyone(experiment.federation.clients)
    return AsynchronousCoordinator(
        experiment,
        scenario.asynchronous,
        store=store,
        grid=InProcessGrid(engine),
        members=everyone,
        evaluator=evaluator,
        listener=listener,
        clock=time.clock,
        flights=Flights(experiment, scenario.asynchronous, travel=time.journeys.from_version, clock=time.clock),
        free=time.members(everyone),
    )


def _engine(clients: SimulatedClients, store: RunStore, listener: RunListener) -> Engine:
    """The run's engine; one that was chosen by its speed is kept when the run is resumed."""

    def keep(name: str, why: str) -> None:
        store.keep("engine", name)
        store.keep("engine's reason", why)

    rounds = clients.experiment.training.rounds - (store.last_round() or 0)
    engine = engine_for(clients, rounds=rounds, chosen=store.note("engine"), keep=keep, say=listener.say)
    attack = attack_of(clients.experiment)
    return OmniscientEngine(engine, clients, attack) if attack and needs_the_honest(attack) else engine
