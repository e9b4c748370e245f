"""A node's responder, home and ledger as in a deployment, asked for private rounds without end; what leaves is sent on.

Its coordinator asks for the same round again, with the same model or another one. ``stage`` says what it is at; the
code that is watched is that of a deployment.
"""

import hashlib
import random
import socket
from collections.abc import Callable
from ctypes import c_int
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leptonic.privacy.example_level  # noqa: F401  # imported where victims are forked, not in each
from killed import ROUNDS, STAGES
from leptonic.experiment import ExamplePrivacy
from leptonic.experiment_file import from_mapping
from leptonic.identity import signing_key
from leptonic.privacy.accounting import epsilon_spent, plan
from leptonic.privacy.ledger import Ledger
from leptonic.wire import Request, inline
from leptonic_client.home import ClientHome
from leptonic_client.responder import Responder
from leptonic_client.secure import Membership
from leptonic_client.settings import node_settings
from leptonic_client.training import LocalTrainer

EXAMPLES = 40
EXPERIMENT = from_mapping(
    {
        "name": "killed",
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 2},
        "privacy": {"unit": "example", "epsilon": 8.0, "delta": 1e-3},
        "training": {"rounds": ROUNDS, "local_steps": 4, "batch_size": 8},
    }
)
assert isinstance(EXPERIMENT.privacy, ExamplePrivacy)
PLAN = plan(EXPERIMENT.privacy, EXPERIMENT.training, public_size=EXAMPLES, releases=ROUNDS)
for released in range(1, ROUNDS + 1):
    epsilon_spent(PLAN, released)  # remembered where this is imported, which is once: victims are forked from there


def settings_of(folder: Path) -> Any:
    """The node's settings; its data are made up once."""
    data = folder / "rows.npz"
    if not data.exists():
        drawn = np.random.default_rng(0)
        features = drawn.integers(0, 17, (EXAMPLES, 1, 8, 8)).astype(np.uint8)
        np.savez(data, features=features, label=drawn.integers(0, 10, EXAMPLES))
    content = {"server": "127.0.0.1:1", "name": "node", "data": str(data), "home": str(folder / "home")}
    return node_settings({**content, "public_size": EXAMPLES})


def live(folder: str, address: str, first: tuple[int, int], stage: c_int) -> None:
    """Answer until killed. first: number of the run, and of its round, to begin with."""
    torch.set_num_threads(1)
    with socket.socket(socket.AF_UNIX) as witness:
        witness.connect(address)
        _watch(stage)
        settings = settings_of(Path(folder))
        home = ClientHome(settings.folder, lineage=settings.lineage, limits=settings.limits)
        membership = Membership(settings, signing_key(settings.folder / "node.key", "the node's"))
        responder = Responder(settings, home, membership, lambda _: None)
        run, number = first
        while True:
            _run(responder, f"run-{run}", number, witness, stage)
            run, number = run + 1, 1


def _run(responder: Responder, run: str, first: int, witness: socket.socket, stage: c_int) -> None:
    canonical = EXPERIMENT.canonical
    responder.respond(_request(run, 0, canonical, step="join", client=-1), canonical)
    for number in range(first, ROUNDS + 1):
        for _ in range(random.randint(1, 2)):
            stage.value = STAGES.index("asking")
            model = np.full(650, 0.01 * random.randint(0, 1), np.float32).tobytes()
            reply, update = responder.respond(_request(run, number, model), model)
            if reply.status == "done":
                stage.value = STAGES.index("sending")
                digest = hashlib.sha256(update).hexdigest()
                witness.sendall(f"{run} {number} {digest} {len(update)}\n".encode())
                for start in range(0, len(update), 16):  # as a slow link would take it
                    witness.sendall(update[start : start + 16])


def _request(run: str, number: int, content: bytes, *, step: str = "train", client: int = 0) -> Request:
    return Request.model_validate(
        {
            "run": run,
            "experiment": EXPERIMENT.hash,
            "round": number,
            "step": step,
            "attempt": 1,
            "client": client,
            "payload": inline(content),
        }
    )


def _watch(stage: c_int) -> None:
    """Have the stage named when each of these is entered."""
    for owner, name, called in (
        (Ledger, "reserve", "reserving"),
        (LocalTrainer, "train", "training"),
        (ClientHome, "release", "settling"),
    ):
        setattr(owner, name, _named(getattr(owner, name), stage, STAGES.index(called)))


def _named(work: Callable[..., Any], stage: c_int, number: int) -> Callable[..., Any]:
    def watched(*arguments: Any, **keywords: Any) -> Any:
        stage.value = number
        return work(*arguments, **keywords)

    return watched
