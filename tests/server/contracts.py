"""What our code expects of Flower's internals, read from the imports of the files that touch them."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = "1.41."
TOUCHING = (
    "core/leptonic/objects.py",
    "client/leptonic_client/fleet.py",
    "core/leptonic/flower_http.py",
    "server/leptonic_server/link.py",
    "server/leptonic_server/superlink.py",
    "server/leptonic_server/gate.py",
    "simulations/leptonic_simulations/grid.py",
)
ADVICE = f"Leptonic is written for flwr {VERSION}x, and {version('flwr')} is installed: install the pinned version"


def imported_from_flower(path: str) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a file takes from flwr, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
            for alias in node.names:
                yield node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "flwr":
                    yield alias.name, ""
