"""What the tests of whole sweeps share: a tiny experiment, a grid, a search, and what a command left behind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPERIMENT = """
data = { name = "digits" }
model = { name = "logistic" }
federation = { clients = 2 }
outputs = { report = false, tensorboard = false }
training = { rounds = 2, local_steps = 3, batch_size = 32, learning_rate = 0.1 }
"""
GRID = ("--over", "training.learning_rate=0.02,0.2", "--over", "training.local_steps=1,4")
SEARCH = ("--search", "training.learning_rate=0.01..0.5:log", "--search", "training.local_steps=1..4")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """The last line, as ``--json`` prints it."""
        return json.loads(self.out.splitlines()[-1])  # type: ignore[no-any-return]


Run = Callable[..., Done]


def models(folder: Path) -> dict[str, str]:
    return {
        path.parent.name: json.loads(path.read_text())["model_sha256"] for path in folder.glob("cells/*/outcome.json")
    }
