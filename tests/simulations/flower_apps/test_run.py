"""Whole runs of unmodified apps: stock strategies against hand-computed truth, errors, and one process."""

import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leptonic.command import main
from leptonic.errors import RunError
from leptonic_simulations.flower_apps.progress import AppProgress
from leptonic_simulations.flower_apps.project import read_project
from leptonic_simulations.flower_apps.run import Summary, simulate_app

APPS = Path(__file__).parent / "apps"
FAILING = {"fail.where": "client", "fail.node": 2, "fail.round": 1}


@pytest.fixture
def result(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the app of a few numbers, and gives the summary and the JSON that its ServerApp printed."""

    def ran(clients: int | None = None, seed: int = 0, **config: Any) -> tuple[Summary, dict[str, Any]]:
        config = {key.replace("__", ".").replace("_", "-"): value for key, value in config.items()}
        summary = simulate_app(
            read_project(APPS / "mean"),
            progress=AppProgress(quiet=True),
            clients=clients,
            run_config=config,
            seed=seed,
        )
        return summary, json.loads(capsys.readouterr().out)

    return ran


def targets(count: int) -> np.ndarray:
    return np.array([[partition, partition**2, 1.0] for partition in range(count)])


def fedavg(count: int, rounds: int, *, lr: float, missing: tuple[int, int] = (0, -1)) -> np.ndarray:
    """The weighted mean of the clients' steps, by hand; missing: round and partition that is left out."""
    w = np.zeros(3)
    for number in range(1, rounds + 1):
        weights = np.arange(1.0, count + 1)
        if number == missing[0]:
            weights[missing[1]] = 0
        w = np.average(w - lr * (w - targets(count)), axis=0, weights=weights)
    return w


def test_fedavg_is_the_weighted_mean(result: Any) -> None:
    summary, out = result(num_server_rounds=5, lr=0.25)
    np.testing.assert_allclose(out["arrays"]["w"], fedavg(4, 5, lr=0.25), rtol=1e-12)
    np.testing.assert_allclose(out["arrays"]["b"], np.full((2, 2), 1 + 5 * 2.0), rtol=1e-6)
    assert (summary.clients, summary.messages, summary.errors) == (4, 5 * 2 * 4, 0)
    losses = np.sum((fedavg(4, 5, lr=0.25) - targets(4)) ** 2, axis=1)
    assert out["evaluate"]["5"]["loss"] == pytest.approx(np.average(losses, weights=[1, 2, 3, 4]))


def test_fedadam_is_adams_step_on_the_mean(result: Any) -> None:
    """Reddi et al. 2021, Algorithm 2, with Flower's defaults and its bias correction: one round by hand."""
    _, out = result(strategy="FedAdam", num_server_rounds=1)
    delta = fedavg(4, 1, lr=0.5)
    rate = 0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2)
    by_hand = rate * 0.1 * delta / (np.sqrt(0.01 * delta**2) + 1e-3)
    np.testing.assert_allclose(out["arrays"]["w"], by_hand, rtol=1e-9)


def test_krum_chooses_the_update_nearest_to_the_others(result: Any) -> None:
    """Blanchard et al. 2017: with no malicious node, the smallest sum over the n - 2 nearest."""
    _, out = result(clients=7, strategy="Krum", num_server_rounds=1)
    updates = [np.concatenate([0.5 * target, np.full(4, 1.0 + k)]) for k, target in enumerate(targets(7))]
    scores = [sum(sorted(float(np.sum((a - b) ** 2)) for b in updates)[1:6]) for a in updates]
    np.testing.assert_allclose(out["arrays"]["w"], updates[int(np.argmin(scores))][:3])


def test_state_and_mods_last_over_the_rounds(result: Any) -> None:
    _, out = result(num_server_rounds=3)
    assert [out["train"][number]["trained"] for number in "123"] == pytest.approx([1, 2, 3])
    assert [out["train"][number]["remembered"] for number in "123"] == pytest.approx([2, 3, 4])
    # The mod runs for evaluation as well.
    assert [out["train"][number]["mod"] for number in "123"] == pytest.approx([1, 3, 5])
    assert out["train"]["1"]["partitions"] == pytest.approx(4)


def test_a_failing_client_is_left_out_and_the_run_goes_on(result: Any, capsys: pytest.CaptureFixture[str]) -> None:
    summary = simulate_app(read_project(APPS / "mean"), progress=AppProgress(quiet=True), run_config=FAILING)
    said = capsys.readouterr()
    out = json.loads(said.out)
    np.testing.assert_allclose(out["arrays"]["w"], fedavg(4, 2, lr=0.5, missing=(1, 2)), rtol=1e-12)
    assert summary.errors == 1
    assert said.err.count("Traceback") == said.err.count("ZeroDivisionError: partition 2 cannot") == 1
    assert "client 2 (node 4), train, round 1, message-" in said.err
    assert 'client_app.py", line' in said.err
    assert "leptonic_simulations" not in said.err
    # The failed call left nothing in the state: in round 2 the others have trained twice, and it once.
    assert out["train"]["2"]["trained"] == pytest.approx((2 * (1 + 2 + 4) + 1 * 3) / 10)


def test_the_same_error_of_many_clients_is_shown_in_full_once(capsys: pytest.CaptureFixture[str]) -> None:
    config = {**FAILING, "fail.node": -1}
    summary = simulate_app(read_project(APPS / "mean"), progress=AppProgress(quiet=True), run_config=config)
    said = capsys.readouterr().err
    assert summary.errors == 4
    assert said.count("Traceback") == 1
    assert said.count("raised from the same place as before: ZeroDivisionError") == 3


def test_for_debugging_the_clients_own_error_comes_out(result: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError, match="partition 2") as raised:
        simulate_app(read_project(APPS / "mean"), progress=AppProgress(quiet=True), run_config=FAILING, debug=True)
    assert raised.traceback[-1].path.name == "client_app.py"
    assert raised.traceback[-1].frame.f_locals["partition"] == 2
    assert "client 2 (node 4), train, round 1" in raised.value.__notes__[0]


def test_for_debugging_a_legacy_clients_error_comes_out_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flower's legacy server takes what its threads raise for failed clients, and stumbles over that later."""
    for file in (APPS / "legacy").glob("*.*"):
        text = file.read_text().replace(
            "return [parameters", "raise OverflowError('legacy')\n        return [parameters"
        )
        (tmp_path / file.name).write_text(text)
    with pytest.raises(OverflowError, match="legacy") as raised:
        simulate_app(read_project(tmp_path), progress=AppProgress(quiet=True), debug=True)
    assert raised.traceback[-1].name == "fit"


def test_what_the_server_app_raises_is_shown_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match=r"mean_app.server_app:app raised LookupError: .*own mistake"):
        simulate_app(read_project(APPS / "mean"), progress=AppProgress(quiet=True), run_config={"fail.where": "server"})
    assert 'server_app.py", line' in capsys.readouterr().err


def test_the_seed_decides_who_is_sampled_and_nothing_is_left_behind(result: Any) -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), list(sys.path))  # type: ignore[union-attr]
    options = {"clients": 20, "fraction_train": 0.2}
    first, again, other = (result(seed=seed, **options)[1]["arrays"] for seed in (1, 1, 2))
    assert first == again != other
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), list(sys.path))  # type: ignore[union-attr]
    assert "mean_app" not in sys.modules


def test_clients_are_as_the_project_says_or_the_caller(result: Any) -> None:
    assert result()[0].clients == 4
    assert result(clients=6)[0].clients == 6


def test_progress_says_how_far_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    levels = [handler.level for handler in logging.getLogger("flwr").handlers]
    simulate_app(read_project(APPS / "mean"), progress=AppProgress(every=0.0), run_config=FAILING)
    said = capsys.readouterr().err
    assert "train: 4 of 4; 4 messages in all" in said
    assert "evaluate: 1 of 4; 13 messages in all" in said
    assert "errors: 1" in said
    assert levels == [handler.level for handler in logging.getLogger("flwr").handlers]


def test_legacy_apps_run(capsys: pytest.CaptureFixture[str]) -> None:
    """client_fn, NumPyClient, server_fn: their messages pass through ClientApp.__call__ like all others."""
    summary = simulate_app(read_project(APPS / "legacy"), progress=AppProgress(quiet=True))
    mean = np.average(np.arange(10.0), weights=np.arange(1.0, 11.0))
    first, second = capsys.readouterr().out.splitlines()
    np.testing.assert_allclose(json.loads(first.split(": ")[1].split("],")[0] + "]"), [mean, 1.0])
    np.testing.assert_allclose(json.loads(second.split(": ")[1].split("],")[0] + "]"), [2 * mean, 2.0])
    assert (summary.clients, summary.messages, summary.errors) == (10, 40, 0)


ONE_PLACE = """
import multiprocessing, os, threading
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
client, server = ClientApp(), ServerApp()

@client.query()
def query(message, context):
    here = {"pid": os.getpid(), "thread": threading.get_ident(), "lr": context.run_config.get("lr", 0.0)}
    return Message(RecordDict({"here": ConfigRecord(here)}), reply_to=message)

@server.main()
def main(grid, context):
    replies = grid.send_and_receive([Message(RecordDict(), node, "query") for node in grid.get_node_ids()])
    for reply in replies:
        here = reply.content["here"]
        assert here["pid"] == os.getpid() and here["thread"] == threading.get_ident()
        print(here["lr"])
    assert not multiprocessing.active_children()
"""


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["leptonic", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)


def test_two_apps_by_name_run_in_this_process_and_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "both.py").write_text(ONE_PLACE)
    monkeypatch.chdir(tmp_path)
    arguments = ("both:server", "both:client", "--clients", "3", "--run-config", "lr=0.25", "--json", "-q")
    assert command(monkeypatch, "simulate", "--flower", *arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == ["0.25"] * 3
    last = json.loads(out[-1])
    assert (last["messages"], last["clients"], last["errors"]) == (3, 3, 0)
    assert last["seconds"] >= 0


def test_the_command_runs_a_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(APPS / "mean")
    assert command(monkeypatch, "simulate", "--flower", folder, "--run-config", "num-server-rounds=1 lr=1.0", "-q") == 0
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[0])["arrays"]["w"] == pytest.approx(fedavg(4, 1, lr=1.0))
    assert out[1].startswith("8 messages to 4 clients in ")


def test_a_run_in_which_nothing_worked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text(
        "from flwr.clientapp import ClientApp\nfrom flwr.app import Message, RecordDict\n"
        "from flwr.serverapp import ServerApp\nclient, server = ClientApp(), ServerApp()\n"
        "@server.main()\ndef main(grid, context):\n"
        "    grid.send_and_receive([Message(RecordDict(), node, 'train') for node in grid.get_node_ids()])\n"
    )
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "simulate", "--flower", "broken:server", "broken:client", "-q") == 7
    said = capsys.readouterr()
    assert "all 10 messages ended in an error" in said.err
    assert "No train function registered" in said.err
    assert "errors: 10" in said.out


def test_debug_on_the_command_line_raises_the_clients_error(monkeypatch: pytest.MonkeyPatch) -> None:
    words = 'fail.where="client" fail.node=1 fail.round=1'
    arguments = ["leptonic", "--debug", "simulate", "--flower", str(APPS / "mean"), "--run-config", words, "-q"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ZeroDivisionError, match="partition 1"):
        main()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--flower", "nowhere"), 3, "no such folder"),
        (("--flower", str(APPS / "mean"), "--run-config", "num-rounds=1"), 3, "did you mean num-server-rounds?"),
        (("--flower", str(APPS / "mean"), "--resume"), 2, "--resume"),
        (("--flower", str(APPS / "mean"), "--set", "a=1"), 2, "--set"),
        (("--flower", str(APPS / "mean"), "--clients", "0"), 2, "--clients"),
        (("file.toml", "--seed", "0"), 2, "--seed"),
        (("file.toml", "--clients", "3"), 2, "needs --flower"),
        ((), 2, "FILE"),
    ],
)
def test_a_mistake_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert command(monkeypatch, "simulate", *arguments) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
