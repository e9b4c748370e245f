"""One deployed run from the experiment to its result: link, roster, coordinator."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.secagg.expansion import Workers
from leptonic.secagg.server.office import Office
from leptonic_server.coordinator import Coordinator, Surroundings
from leptonic_server.evaluation import Evaluator
from leptonic_server.exchange import Exchange
from leptonic_server.link import LinkGrid
from leptonic_server.outputs import Outputs, Result
from leptonic_server.progress import RunListener
from leptonic_server.roster import JoinedMembers
from leptonic_server.run_folder import open_run
from leptonic_server.secure.coordinator import SecureCoordinator
from leptonic_server.secure.kept import KeptSession
from leptonic_server.store import Member, RunStore

__all__ = ["serve"]

FAREWELL_DEADLINE = 3.0


def serve(
    experiment: Experiment,
    *,
    host: str,
    port: int,
    admitted: Mapping[str, str] | None,
    office: Office | None = None,
    folder: Path | None,
    resume: bool,
    quiet: bool,
    on_event: Callable[[str], None],
) -> Result:
    """Serve, or with ``resume`` continue, a run until its last round. See :func:`open_run`.

    admitted: name -> public key of those who may join, None to take those that come. office: for secure aggregation.
    """
    if (experiment.secure_aggregation is None) != (office is None):
        raise ExperimentError(
            "secure_aggregation: needs a signed roster, and nothing else does: start with --roster FILE.roster, "
            "see `leptonic roster --help`"
        )
    if experiment.scenario is not None:
        raise ExperimentError(
            "scenario: clients that are away, slow or lying are made up in a simulation, not deployed; "
            "leave [scenario] out, or run it with `leptonic simulate`"
        )
    if admitted is not None and len(admitted) < experiment.federation.clients:
        raise ExperimentError(
            f"the roster names {len(admitted)} clients, federation.clients = {experiment.federation.clients}"
        )
    evaluator = Evaluator(experiment)
    with open_run(experiment, layout=evaluator.layout.hash, mode="deployed", folder=folder, resume=resume) as store:
        run = store.run or ""
        grid = LinkGrid(host, port, store.folder / "link")
        on_event(f"run {run} in {store.folder}; waiting for {experiment.federation.clients} clients at {host}:{port}")
        try:
            signed = office.roster.encoding if office else b""
            members = JoinedMembers(
                grid,
                experiment,
                run,
                admitted=admitted,
                on_event=on_event,
                on_refusal=store.refused,
                roster=signed,
            )
            members.enrolled(store.roster() or _enrol(store, members, experiment.federation.clients))
            outputs = Outputs(experiment, store)
            rounds, done = experiment.training.rounds, store.last_round() or 0
            with (
                RunListener(outputs, rounds=rounds, done=done, quiet=quiet) as listener,
                closing(Workers(os.cpu_count() or 1)) as expansion,
                closing(KeptSession(store.folder)) as session,
            ):
                surroundings = Surroundings(
                    store=store, grid=grid, members=members, evaluator=evaluator, listener=listener
                )
                coordinator = (
                    Coordinator(experiment, **surroundings)
                    if office is None
                    else SecureCoordinator(
                        experiment, office=office, expansion=expansion, session=session, **surroundings
                    )
                )
                coordinator.run()
            _say_farewell(grid, members, run, experiment)
            return outputs.finish(evaluator)
        finally:
            grid.close()


def _enrol(store: RunStore, members: JoinedMembers, clients: int) -> list[Member]:
    """Wait until the federation is complete, and fix its roster."""
    while (roster := members.complete(clients)) is None:
        time.sleep(0.1)
    store.enrol(roster)
    return roster


def _say_farewell(grid: LinkGrid, members: JoinedMembers, run: str, experiment: Experiment) -> None:
    """Tell the nodes that the run has ended; those who miss it find out when they join the next one."""
    online = members.online()
    Exchange(grid, members, run=run, experiment=experiment.hash).ask(
        "end",
        round_number=experiment.training.rounds,
        attempt=1,
        cohort=online,
        content=b"",
        expected=0,
        wanted=len(online),
        deadline=FAREWELL_DEADLINE,
        take=lambda _client, _buffer: None,
    )
