"""Reads the imports: arrows point one way, nothing goes in circles, and the command line starts light."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "leptonic": ROOT / "core",
    "leptonic_server": ROOT / "server",
    "leptonic_client": ROOT / "client",
    "leptonic_simulations": ROOT / "simulations",
}
MAY_IMPORT = {
    "leptonic": set[str](),
    "leptonic_server": {"leptonic"},
    "leptonic_client": {"leptonic"},
    "leptonic_simulations": {"leptonic", "leptonic_server", "leptonic_client"},
}
PUBLIC_FLOWER = ("flwr.app", "flwr.serverapp", "flwr.clientapp")
MAY_TOUCH_FLOWERS_INTERNALS = {
    "core/leptonic/objects.py",
    "client/leptonic_client/node.py",
    "client/leptonic_client/fleet.py",
    "core/leptonic/flower_http.py",
    "server/leptonic_server/link.py",
    "server/leptonic_server/superlink.py",
    "server/leptonic_server/gate.py",
    "simulations/leptonic_simulations/flower_apps/grid.py",
}
HEAVY = ("torch", "opacus", "flwr", "matplotlib", "pandas", "optuna", "ray")
ENTRY_POINTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "entry-points"
]["leptonic.commands"]


@dataclass(frozen=True)
class Import:
    """One import. at_start: done when the module is imported, not in a function, not for types alone."""

    target: str
    at_start: bool
    line: int


@cache
def modules() -> dict[str, Path]:
    """Every module of the four packages, by dotted name."""
    found = {}
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_types(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_in(nodes: list[ast.stmt] | list[ast.AST], *, of: str, at_start: bool = True) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, at_start, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = of.split(".")[: len(of.split(".")) - node.level + (modules()[of].name == "__init__.py")]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                # ``from package import module`` imports that module; ``from module import name`` this one.
                whole = f"{base}.{alias.name}"
                yield Import(whole if whole in modules() else base, at_start, node.lineno)
        elif is_for_types(node):
            assert isinstance(node, ast.If)
            yield from imports_in(node.body, of=of, at_start=False)
            yield from imports_in(node.orelse, of=of, at_start=at_start)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(list(ast.iter_child_nodes(node)), of=of, at_start=at_start and not inside)


@cache
def imports(module: str) -> tuple[Import, ...]:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return tuple(imports_in(tree.body, of=module))


def package_of(module: str) -> str:
    return module.split(".")[0]


def relative(module: str) -> str:
    return modules()[module].relative_to(ROOT).as_posix()


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """Some circle of the graph, or None."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        for target in sorted(edges[node]):
            if found := visit(target, [*path, node]):
                return found
        done.add(node)
        return None

    return next((found for node in sorted(edges) if (found := visit(node, []))), None)


def test_the_reader_of_imports_sees_what_it_should() -> None:
    """A test of the test: an arrow must not hide in a function, a condition, or behind a relative dot."""
    source = """
import leptonic.errors
from leptonic import files, __version__
if TYPE_CHECKING:
    import torch
else:
    import os.path
try:
    from leptonic.wire import inline
except ImportError:
    import json
class A:
    import csv
    def f(self):
        import flwr.supercore
from . import grid
from .run import simulate
"""
    found = {
        (each.target, each.at_start) for each in imports_in(ast.parse(source).body, of="leptonic_simulations.commands")
    }
    assert found == {
        ("leptonic.errors", True),
        ("leptonic.files", True),
        ("leptonic", True),
        ("torch", False),
        ("os.path", True),
        ("leptonic.wire", True),
        ("json", True),
        ("csv", True),
        ("flwr.supercore", False),
        ("leptonic_simulations.grid", True),
        ("leptonic_simulations.run", True),
    }
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_all_four_packages_are_there() -> None:
    assert {package_of(module) for module in modules()} == set(PACKAGES)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{relative(module)}:{each.line} imports {each.target}"
        for module in modules()
        for each in imports(module)
        if package_of(each.target) in PACKAGES
        and package_of(each.target) not in MAY_IMPORT[package_of(module)] | {package_of(module)}
    ]
    assert not wrong


def test_what_is_imported_exists() -> None:
    wrong = [
        f"{relative(module)}:{each.line} imports {each.target}"
        for module in modules()
        for each in imports(module)
        if package_of(each.target) in PACKAGES and each.target not in modules()
    ]
    assert not wrong


def test_no_imports_go_in_a_circle() -> None:
    edges = {
        module: {each.target for each in imports(module) if each.at_start and each.target in modules()} - {module}
        for module in modules()
    }
    assert circle(edges) is None


def test_flowers_internals_are_touched_in_few_files_only() -> None:
    wrong = [
        f"{relative(module)}:{each.line} imports {each.target}"
        for module in modules()
        for each in imports(module)
        if package_of(each.target) == "flwr"
        and each.target not in PUBLIC_FLOWER
        and not each.target.startswith(tuple(f"{public}." for public in PUBLIC_FLOWER))
        and relative(module) not in MAY_TOUCH_FLOWERS_INTERNALS
    ]
    assert not wrong


def test_nothing_unpickles_or_evaluates() -> None:
    """Invariant 1: the modules and built-ins that turn received bytes into code are not used at all."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
    wrong = [
        f"{relative(module)}:{each.line} imports {each.target}"
        for module in modules()
        for each in imports(module)
        if package_of(each.target) in forbidden
    ]
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                wrong.append(f"{relative(module)}:{node.lineno} calls {node.func.id}")
    assert not wrong


@pytest.mark.parametrize(
    "module", ["leptonic.command", *sorted({entry.split(":")[0] for entry in ENTRY_POINTS.values()})]
)
def test_the_command_line_starts_without_heavy_packages(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PACKAGES.values()))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_simulation_does_without_flower() -> None:
    """What it would never use takes seconds to import; `simulate --flower` brings it in itself."""
    reached, wanted = set[str](), {"leptonic_simulations.run"}
    while wanted:
        module = wanted.pop()
        reached.add(module)
        tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
        targets = {each.target for each in imports_in(tree.body, of=module) if each.at_start}
        assert not any(target.split(".")[0] == "flwr" for target in targets), module
        wanted |= {target for target in targets if target in modules()} - reached
