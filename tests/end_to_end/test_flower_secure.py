"""The Flower example between real processes: Flower's own SuperLink and SuperNodes, node files, a signed roster."""

import importlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from flwr.app import ArrayRecord
from tests.end_to_end.federation import free_port, wait_for
from tests.simulations.flower_apps.secure_federation import Federation

from leptonic.flower.content import change_of, moved
from leptonic.flower.terms import Terms
from leptonic.secagg.messages import SessionSettings
from leptonic.update import LocalUpdate
from leptonic_simulations.flower_apps.loading import on_the_path

EXAMPLE = Path(__file__).parents[2] / "docs/flower_secure"
COUNT = 3


@contextmanager
def started(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    """One of Flower's programs, which starts others: all of them end with the block."""
    # They start others by their names.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which(arguments[0], path=path)
    assert program is not None
    quick = {"FLWR_HOME": str(folder / "flower"), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=os.environ | quick | quiet | {"PATH": path},
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            # Its children, in the session that was made for it alone.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def expected() -> list[np.ndarray]:
    """The model that the clients' integers give, added in the clear."""
    with on_the_path(EXAMPLE):
        softmax = importlib.import_module("digits_app.softmax")
        model = ArrayRecord(softmax.initial())
        terms = Terms.of(
            update_range=8.0, weight_cap=1000, weighted_by="num-examples", metrics=["train-loss", "train-accuracy"]
        )
        encoding = terms.pipeline(SessionSettings(650, 6, 32, COUNT, 1, 1, 0, 0, 0))
        total = encoding.zero()
        for partition in range(COUNT):
            images, labels = softmax.load(partition, COUNT)
            parameters = [each.copy() for each in model.to_numpy_ndarrays()]
            softmax.train(parameters, images, labels, epochs=1, rate=0.5)
            change = change_of(model, ArrayRecord(parameters))
            total.add(encoding.encode(LocalUpdate({"model": change}, len(labels))))
        return moved(model, encoding.decode(total).vectors["model"]).to_numpy_ndarrays()


@pytest.mark.slow
def test_flowers_own_processes_sum_securely(tmp_path: Path) -> None:
    federation, port = Federation(tmp_path, COUNT), free_port()
    # Flower writes into a project that it runs.
    app = tmp_path / "app"
    shutil.copytree(EXAMPLE, app, ignore=shutil.ignore_patterns("__pycache__"))
    server = (app / "digits_app/server_app.py").read_text()
    (app / "digits_app/server_app.py").write_text(server.replace("nodes=4", f"nodes={COUNT}"))
    (tmp_path / "flower").mkdir()
    (tmp_path / "flower/config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    here, model = ("--insecure", "--host", "127.0.0.1"), tmp_path / "model.npz"
    config = f'num-server-rounds=1 roster="{federation.roster}" coordinator-key="{federation.key}" model-file="{model}"'
    with ExitStack() as processes:
        link = ("flower-superlink", *here, "--port", str(port), "--disable-runtime-dependency-installation")
        processes.enter_context(started(tmp_path, "link", *link))
        wait_for(lambda: answers(port), seconds=150, what="the SuperLink")
        for number in range(COUNT):
            node = ("flower-supernode", *here, "--superlink", f"127.0.0.1:{port}", "--port", str(free_port()))
            file = federation.configs[number]["leptonic-node"]
            own = ("--node-config", f'leptonic-node="{file}" partition-id={number} num-partitions={COUNT}')
            processes.enter_context(started(tmp_path, f"node-{number}", *node, *own))
        processes.enter_context(started(tmp_path, "run", "flwr", "run", "app", "here", "--run-config", config))
        # Its end is written last.
        wait_for(lambda: zipfile.is_zipfile(model), seconds=240, what="the model")
    stored = np.load(model)
    for mine, theirs in zip((stored[name] for name in stored.files), expected(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for number in range(COUNT):
        home = tmp_path / f"node-{number}"
        assert rows(home / "flower.sqlite", "SELECT * FROM keys") == []
        assert rows(home / "secagg.sqlite", "SELECT closed FROM sessions") == [("set",)]


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()
