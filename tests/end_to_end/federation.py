"""Real processes of a deployed federation, on loopback ports of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEPTONIC = [sys.executable, "-c", "from leptonic.command import main; main()"]


def leptonic(*arguments: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [*LEPTONIC, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    if check and done.returncode:
        raise AssertionError(f"{arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def last_json(output: str) -> dict[str, Any]:
    """The JSON object of the last line."""
    return json.loads(output.strip().splitlines()[-1])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


@dataclass
class Running:
    """A started process and where it writes."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def finish(self, seconds: float = 240) -> str:
        """Wait for a good end; returns what it printed."""
        code = self.process.wait(timeout=seconds)
        assert code == 0, f"exited {code}\n{self.stdout.read_text()}\n{self.stderr.read_text()}"
        return self.stdout.read_text()

    def kill(self) -> None:
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Federation:
    """One folder with an experiment, its exported clients, and the processes that were started."""

    folder: Path
    experiment: Path
    port: int = field(default_factory=free_port)
    started: list[Running] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def export(self) -> None:
        leptonic("data", "export", self.experiment, "--all", "--out", "exports", cwd=self.folder)

    def start(self, name: str, *arguments: str | Path) -> Running:
        stdout, stderr = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with stdout.open("wb") as out, stderr.open("ab") as err:
            process = subprocess.Popen(
                [*LEPTONIC, *map(str, arguments)], cwd=self.folder, stdout=out, stderr=err, env=os.environ
            )
        running = Running(process, stdout, stderr)
        self.started.append(running)
        return running

    def server(self, *arguments: str | Path) -> Running:
        where = ("--address", self.address, "--insecure", "--run-dir", self.folder / "deployed", "--json")
        return self.start("server", "server", self.experiment, *where, *arguments)

    def client(self, index: int, *arguments: str) -> Running:
        data = f"exports/client-{index}.npz"
        name = ("--name", f"client-{index}", "--server", self.address, "--insecure", "--once")
        return self.start(f"client-{index}", "client", *name, "--data", data, *arguments)

    def simulate(self, *arguments: str | Path) -> dict[str, Any]:
        where = ("--run-dir", self.folder / "simulated", "--json", "--quiet")
        return last_json(leptonic("simulate", self.experiment, *where, *arguments, cwd=self.folder).stdout)

    def stop(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.terminate()
        for running in self.started:
            try:
                running.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                running.kill()


@contextmanager
def federation(folder: Path, experiment: str) -> Iterator[Federation]:
    """A federation whose processes are ended with the block."""
    path = folder / "experiment.toml"
    path.write_text(experiment)
    made = Federation(folder, path)
    try:
        yield made
    finally:
        made.stop()
