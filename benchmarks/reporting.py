"""What every benchmark prints and stores: the machine, the versions, and each figure beside its baseline."""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@dataclass(frozen=True)
class Figure:
    """One measured number. ratio: how many times better ours is than the baseline, None without one."""

    name: str
    unit: str
    ours: float | None
    baseline: float | None = None
    baseline_name: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def machine() -> dict[str, object]:
    """The machine, as far as it says. load: processes that wanted a core, over the last minute, ours included."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names) or None,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 1),
    }


def versions(*packages: str) -> dict[str, str]:
    """Installed versions."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a version of it in under a minute; not stored")
    parser.add_argument("--json", action="store_true", help="last line: all figures as one JSON object")
    return parser


def report(name: str, figures: list[Figure], *, started: float, store: bool, as_json: bool) -> None:
    """Print the figures as a table; store them under docs/results; with as_json end with one JSON line."""
    content = {"benchmark": name, **_measured(figures, started)}
    _show(figures)
    if store:
        _store(name, content)
    if as_json:
        print(json.dumps(content))


def report_part(
    name: str, title: str, figures: list[Figure], *, started: float, store: bool
) -> dict[str, dict[str, object]]:
    """As :func:`report`, for a part of a benchmark that is measured by itself; returns it, by its title.

    What is stored of other parts stays, and of this part what was measured with another number of cores.
    """
    part = _measured(figures, started)
    measured = {f"{title}, {machine()['usable_cores']} cores": part}
    _show(figures)
    if store:
        path = RESULTS / f"{name}.json"
        earlier = json.loads(path.read_text())["parts"] if path.exists() else {}
        _store(name, {"benchmark": name, "parts": {**earlier, **measured}})
    return measured


def write_table(name: str, title: str, about: str) -> None:
    """Write docs/results/NAME.md from the stored docs/results/NAME.json. about: what the figures mean."""
    stored = json.loads((RESULTS / f"{name}.json").read_text())
    lines = [f"# {title}", "", about, "", *_table(name, stored)]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


def write_parts(name: str, title: str, about: str) -> None:
    """As :func:`write_table`, for a benchmark that is stored in parts."""
    stored = json.loads((RESULTS / f"{name}.json").read_text())
    lines = [f"# {title}", "", about]
    for part, content in sorted(stored["parts"].items()):
        lines += ["", f"## {part}", "", *_table(name, content)]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


def _measured(figures: list[Figure], started: float) -> dict[str, object]:
    return {
        "machine": machine(),
        "versions": versions("leptonic", "torch", "flwr", "opacus", "numpy"),
        "seconds": round(time.time() - started, 1),
        "results": [asdict(figure) for figure in figures],
    }


def _show(figures: list[Figure]) -> None:
    for figure in figures:
        ours = "not measured" if figure.ours is None else f"{figure.ours:.4g} {figure.unit}"
        against = f"  {figure.baseline_name} {figure.baseline:.4g}" if figure.baseline is not None else ""
        ratio = f"  {figure.ratio:.3g}x" if figure.ratio is not None else ""
        verdict = "" if figure.met is None else ("  met" if figure.met else "  NOT met")
        print(f"{figure.name:<58} {ours}{against}{ratio}  {figure.target}{verdict}", flush=True)


def _store(name: str, content: dict[str, object]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def _table(name: str, stored: dict[str, Any]) -> list[str]:
    computer, installed = stored["machine"], stored["versions"]
    made = (
        f"{computer['cpu']}, {computer.get('usable_cores', computer['cores'])} cores, at a load of {computer['load']}"
    )
    made += f"; Python {installed['python']}, Flower {installed['flwr']}, torch {installed['torch']}"
    lines = [f"Measured on {made}. Written by `python benchmarks/{name}.py`.", ""]
    lines += ["| | ours | baseline | times better | target | met |", "|---|---|---|---|---|---|"]
    return lines + [_row(Figure(**result)) for result in stored["results"]]


def _row(figure: Figure) -> str:
    ours = "not measured" if figure.ours is None else f"{figure.ours:.4g} {figure.unit}"
    against = "" if figure.baseline is None else f"{figure.baseline:.4g} {figure.unit} ({figure.baseline_name})"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
    verdict = "" if figure.met is None else ("yes" if figure.met else "**no**")
    return f"| {figure.name} | {ours} | {against} | {ratio} | {figure.target} | {verdict} |"
