"""Where a setting's values stand on an axis, and that every kind of sweep has its picture."""

import io
from pathlib import Path

import pytest
from PIL import Image
from tests.simulations.small import experiment

from leptonic_simulations.sweep.axes import Axis, cells_of
from leptonic_simulations.sweep.cells import Cell, CellResult, Outcome
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.panels import Scale
from leptonic_simulations.sweep.picture import draw
from leptonic_simulations.sweep.plan import Grid, Search
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.source import Source
from leptonic_simulations.sweep.space import Choices, Range

EMPTY = Ranking(Metric.ACCURACY, (), ())


@pytest.mark.parametrize(
    ("values", "places", "log", "ordered"),
    [
        (("1", "2", "5"), [1, 2, 5], False, True),
        (("0.1", "0.01", "0.001"), [0.001, 0.01, 0.1], True, True),
        (("0.01", "0.02", "1e30"), [0, 1, 2], False, True),
        (("-1", "0", "1e9"), [0, 1, 2], False, True),
        (("iid", "dirichlet"), [0, 1], False, False),
        (("true", "false"), [0, 1], False, False),
        (("3",), [3], False, True),
    ],
)
def test_where_values_stand(values: tuple[str, ...], places: list[float], log: bool, ordered: bool) -> None:
    scale = Scale.of(Axis("a.b", values), EMPTY)
    assert list(scale.places.values()) == places
    assert (scale.log, scale.ordered) == (log, ordered)


def results(cells: list[dict[str, str]], *, seeds: int, failing: bool) -> list[CellResult]:
    """Accuracies that rise with the cell's number; the last cell fails if ``failing``."""
    made = []
    for number, settings in enumerate(cells, start=1):
        failed = failing and number == len(cells)
        outcomes = tuple(
            Outcome(
                seed=seed, folder="", accuracy=None if failed else number / 20 + seed / 100, error="x" * failed or None
            )
            for seed in range(seeds)
        )
        made.append(CellResult(Cell(number, settings), outcomes))
    return made


def size(path: Path) -> tuple[int, int]:
    picture = Image.open(io.BytesIO(path.read_bytes()))
    picture.load()
    assert picture.format == "PNG"
    return picture.size


AXES = [Axis("a.b", ("1", "2", "3")), Axis("c.name", ("x", "y")), Axis("e", ("0.1", "0.2"))]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("seeds", "failing"), [(1, False), (3, True)])
def test_every_grid_has_its_picture(tmp_path: Path, count: int, seeds: int, failing: bool) -> None:
    axes = tuple(AXES[:count])
    source = Source(tmp_path / "small.toml", seeds=tuple(range(1, seeds + 1)))
    plan = Grid(source, axes, Metric.ACCURACY, experiment(), ())
    found = results(list(cells_of(axes)), seeds=seeds, failing=failing)
    draw(plan, Ranking.of(found, Metric.ACCURACY), tmp_path / "sweep.png")
    width, height = size(tmp_path / "sweep.png")
    assert width > 900
    assert height > 400


@pytest.mark.parametrize("dimensions", [1, 2, 4])
def test_every_search_has_its_picture(tmp_path: Path, dimensions: int) -> None:
    space = (Range("a.b", 0.001, 0.5, log=True), Choices("c", ("x", "y")), Range("d", 1, 5), Range("e", 1, 5))
    cells = [{"a.b": str(0.001 * 2**n), "c": "xy"[n % 2], "d": str(n % 5 + 1), "e": "3"} for n in range(8)]
    source = Source(tmp_path / "small.toml")
    plan = Search(source, space[:dimensions], Metric.ACCURACY, experiment(), 8, frozenset())
    draw(plan, Ranking.of(results(cells, seeds=1, failing=True), Metric.ACCURACY), tmp_path / "sweep.png")
    assert size(tmp_path / "sweep.png")[0] > 900


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_sweep_of_failures_has_a_picture_too(tmp_path: Path, count: int) -> None:
    axes = tuple(Axis(axis.key, axis.values[:1]) for axis in AXES[:count])
    plan = Grid(Source(tmp_path / "small.toml"), axes, Metric.ACCURACY, experiment(), ())
    found = results(list(cells_of(axes)), seeds=1, failing=True)
    draw(plan, Ranking.of(found, Metric.ACCURACY), tmp_path / "sweep.png")
    assert size(tmp_path / "sweep.png")[0] > 900
