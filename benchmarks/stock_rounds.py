"""Rounds of stock Flower: its SuperLink, two SuperNodes and the app in stock_flower/, as Flower starts them."""

import hashlib
import statistics
from itertools import pairwise
from pathlib import Path

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from processes import Processes, free_port

APP = Path(__file__).parent / "stock_flower"
NODES = 2
SKIPPED = 1
"""First rounds that are not counted: the app is installed in them."""

ENVIRONMENT = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def measure(parameters: int, rounds: int, folder: Path) -> float:
    """Median seconds of a round with a vector of so many parameters."""
    address, times = f"127.0.0.1:{free_port()}", folder / "times"
    with Processes(folder, {**ENVIRONMENT, "FLWR_HOME": str(folder / "flower")}) as processes:
        host, _, port = address.partition(":")
        # Else the SuperLink asks a package index for the app's dependencies, though it has none.
        offline = "--disable-runtime-dependency-installation"
        processes.start("superlink", "flower-superlink", "--insecure", "--host", host, "--port", port, offline)
        processes.wait_until(lambda: _answers(address), seconds=60, what="the SuperLink")
        for index in range(NODES):
            where = ("--insecure", "--superlink", address, "--port", str(free_port()))
            processes.start(f"supernode-{index}", "flower-supernode", *where)
        _start_run(address, {"parameters": parameters, "rounds": rounds, "nodes": NODES, "times": str(times)})
        processes.wait_until(lambda: len(_read(times)) > rounds, seconds=600, what="the last round")
    between = [after - before for before, after in pairwise(_read(times))]
    return statistics.median(between[SKIPPED:])


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health", timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _start_run(address: str, config: dict[str, int | str]) -> None:
    """What `flwr run` sends, without its configuration files."""
    content, _ = build_fab_from_files({path.name: path for path in APP.iterdir() if path.is_file()})
    fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
    interceptors = [RuntimeVersionHttpInterceptor(component_name="cli")]
    control = ControlHttpClient.from_server_address(address, True, None, interceptors=interceptors)
    try:
        control.StartRun(StartRunRequest(fab=fab, override_config=user_config_to_proto(config), federation=""))
    finally:
        control.close()


def _read(times: Path) -> list[float]:
    return [float(line) for line in times.read_text().splitlines()] if times.exists() else []
