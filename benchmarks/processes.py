"""The processes of one measurement: started with their output in files, ended with the enclosing block."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ENDING = 10.0
"""Seconds that a process has between being asked to end and being killed."""


class Processes:
    """Processes that write to ``folder``, with ``environment`` added to ours."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        scripts = str(Path(sys.executable).parent)
        self.folder = folder
        self._environment = {**os.environ, **environment, "PATH": os.pathsep.join((scripts, os.environ["PATH"]))}
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._started.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        end = time.monotonic() + ENDING
        for process in self._started.values():
            try:
                process.wait(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command under a name of its own."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        self._started[name] = process
        return process

    def follow(self, name: str, on_line: Callable[[float, str], None], *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command, and be told every line that it prints as it comes, with the clock's time in seconds."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._started[name] = process
        threading.Thread(target=self._follow, args=(name, process, on_line), daemon=True).start()
        return process

    def _follow(self, name: str, process: subprocess.Popen[bytes], on_line: Callable[[float, str], None]) -> None:
        assert process.stdout is not None
        with self.log(name).open("w") as log:
            for line in process.stdout:
                on_line(time.perf_counter(), line.decode())
                log.write(line.decode())
                log.flush()

    def log(self, name: str) -> Path:
        """What the process of this name has printed."""
        return self.folder / f"{name}.log"

    def wait_until(self, condition: Callable[[], object], *, seconds: float, what: str, pause: float = 0.05) -> None:
        """Wait for a condition. Raises RuntimeError when a process has failed or the time is over."""
        end = time.monotonic() + seconds
        while not condition():
            for name, process in self._started.items():
                if process.poll():
                    raise RuntimeError(f"{name} exited {process.returncode}:\n{self.log(name).read_text()[-2000:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds} s for {what}; the logs are in {self.folder}")
            time.sleep(pause)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peak_memory(pid: int | str = "self") -> int:
    """A process's largest resident size so far, in bytes; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
