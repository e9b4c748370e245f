"""Entries are found on this machine only, and every failure says what failed and how to mend it."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leptonic.entry import call, resolve
from leptonic.errors import DataError, ExperimentError

SOURCE = """
from leptonic.errors import DataError

def area(width, *, height=2):
    return width * height

def broken():
    raise KeyError("colour")

def refused():
    raise DataError("row 3")

number = 7
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder on the path with modules that this test alone has."""
    package = tmp_path / "entrytest"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text(SOURCE)
    (package / "needy.py").write_text("import entrytest_not_installed.deep\n")
    (package / "crooked.py").write_text("1 / 0\n")
    (package / "unreadable.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "entrytest"]:
        del sys.modules[name]


def test_finds_the_named_object() -> None:
    assert resolve("math:tau", what="model.name") == math.tau
    assert resolve("entrytest.good:area", what="model.name")(3) == 6


def test_calls_with_arguments_and_options() -> None:
    assert call("entrytest.good:area", 3, what="model.name") == 6
    assert call("entrytest.good:area", 3, what="model.name", options={"height": 5}) == 15


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("entrytest_absent:area", ["no module 'entrytest_absent'", "PYTHONPATH", "install"]),
        ("entrytest_absent.deep:area", ["no module 'entrytest_absent'", "PYTHONPATH"]),
        ("entrytest.absent:area", ["no module 'entrytest.absent'", "PYTHONPATH"]),
        ("entrytest.good.deep:area", ["no module 'entrytest.good.deep'"]),
        ("entrytest.needy:area", ["imports 'entrytest_not_installed'", "not installed here"]),
        ("entrytest.crooked:area", ["fails on import", "ZeroDivisionError"]),
        ("entrytest.unreadable:area", ["fails on import", "SyntaxError"]),
        ("entrytest.good:aera", ["has no 'aera'", "did you mean 'area'?"]),
        ("entrytest.good:zzz", ["has no 'zzz'", "name a function or class"]),
        ("entrytest.good", ["write package.module:name"]),
        ("entrytest..good:area", ["write package.module:name"]),
        ("entrytest.good:area.deep", ["write package.module:name"]),
        (":area", ["write package.module:name"]),
    ],
)
def test_errors_name_the_setting_the_entry_and_the_cure(entry: str, words: list[str]) -> None:
    with pytest.raises(ExperimentError) as raised:
        resolve(entry, what="task.kind")
    message = str(raised.value)
    assert message.startswith(f"task.kind = {entry!r}: ")
    for word in words:
        assert word in message


def test_a_failing_call_is_reported_with_its_cause() -> None:
    with pytest.raises(ExperimentError, match=r"the call failed: KeyError: 'colour'") as raised:
        call("entrytest.good:broken", what="model.name")
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(ExperimentError, match=r"TypeError: .*'depth'"):
        call("entrytest.good:area", 3, what="model.name", options={"depth": 1})


def test_an_object_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"is a int, which cannot be called"):
        call("entrytest.good:number", what="model.name")


def test_errors_of_our_own_tree_pass_unchanged() -> None:
    with pytest.raises(DataError, match=r"^row 3$"):
        call("entrytest.good:refused", what="model.name")
