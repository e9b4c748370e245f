"""Programs that are measured: run to their end or spoken to line by line, with one JSON object as their answer."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

__all__ = ["Conversation", "Ours", "ours", "run", "why_not"]

HERE = Path(__file__).parent.parent
BASELINES = HERE / "baselines"
LONGEST = 3600.0
"""Seconds after which a program is taken to hang."""
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1"}


@dataclass(frozen=True)
class Ours:
    """What one of our simulations took.

    seconds: the whole command. rounds: seconds from commit to commit; the first is that of round 1.
    memory: resident bytes after each commit. peak: of the one process. engine: the one that was chosen.
    """

    seconds: float
    rounds: list[float]
    memory: list[int]
    peak: int
    engine: str


def run(python: str, *command: str | Path) -> tuple[dict[str, Any], float]:
    """The JSON object that a program prints last, and the seconds of the whole command. Raises RuntimeError."""
    with TemporaryFile() as errors:
        started = time.perf_counter()
        ended = subprocess.run(
            [python, *map(str, command)], stdout=subprocess.PIPE, stderr=errors, env=_environment(), timeout=LONGEST
        )
        seconds = time.perf_counter() - started
        if ended.returncode:
            raise RuntimeError(f"{command[0]} exited {ended.returncode}:\n{_tail(errors)}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found, seconds


def ours(sections: dict[str, Any], *, memory: bool = False) -> Ours:
    """Run one of our simulations as a command of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "experiment.json"
        file.write_text(json.dumps(sections))
        options = ("--memory",) if memory else ()
        found, seconds = run(sys.executable, "-m", "simulating.our_rounds", file, Path(folder) / "run", *options)
    rounds = [after - before for before, after in pairwise(found["commits"])]
    return Ours(seconds, rounds, found["memory"], found["peak"], found["engine"])


def why_not(python: str, *modules: str) -> str | None:
    """The first reason why an interpreter cannot import these modules; None if it can."""
    command = [python, "-c", "; ".join(f"import {module}" for module in modules)]
    ended = subprocess.run(command, capture_output=True, text=True, env=_environment())
    return ended.stderr.strip().splitlines()[-1] if ended.returncode else None


class Conversation:
    """A program that answers each line with one, until its input ends."""

    def __init__(self, python: str, *command: str | Path) -> None:
        self._name, self._errors = str(command[0]), TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(),
        )

    def ask(self) -> Any:
        """The next answer. Raises RuntimeError with what the program wrote, if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            raise RuntimeError(f"{self._name} exited {self._process.returncode}:\n{_tail(self._errors)}")
        return json.loads(answer)

    def close(self) -> None:
        """End its input, and wait for it."""
        self._process.communicate()
        self._errors.close()


def _environment() -> dict[str, str]:
    importable: Sequence[str] = (str(HERE), str(BASELINES), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(importable)}


def _tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")[-2000:]
