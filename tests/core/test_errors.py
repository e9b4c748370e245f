"""The tree drawn in the docstring is the tree of classes, and exit codes tell the branches apart."""

import re

from leptonic import errors
from leptonic.errors import LeptonicError


def drawn() -> dict[str, str]:
    """Each error's parent, as the docstring draws it: four columns of drawing per level."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^((?:[│ ] {3}|[├└]── )*)([A-Z]\w+(?:Error|[a-z]))(?: {2,}|$)", line)
        if not match:
            continue
        level = len(match[1]) // 4
        path[level:] = [match[2]]
        if level:
            parents[match[2]] = path[level - 1]
    return parents


def descendants(kind: type[LeptonicError]) -> list[type[LeptonicError]]:
    return [each for child in kind.__subclasses__() for each in (child, *descendants(child))]


def test_the_drawn_tree_is_the_class_tree() -> None:
    classes = {kind.__name__: kind for kind in descendants(LeptonicError) if kind.__module__ == "leptonic.errors"}
    assert {name: kind.__base__.__name__ for name, kind in classes.items() if kind.__base__} == drawn()


def test_every_error_is_exported_and_documented() -> None:
    assert set(errors.__all__) == {"LeptonicError", *drawn()}
    assert all(getattr(errors, name).__doc__ for name in errors.__all__)


def test_exit_codes_tell_the_branches_apart_and_are_inherited() -> None:
    branches = LeptonicError.__subclasses__()
    codes = [LeptonicError.exit_code, *(branch.exit_code for branch in branches)]
    assert len(set(codes)) == len(codes)
    # 0 is success, 2 is a wrong command line, above 127 are signals.
    assert all(0 < code < 128 and code != 2 for code in codes)
    for branch in branches:
        assert all(kind.exit_code == branch.exit_code for kind in descendants(branch))


def test_no_builtin_error_is_caught_by_accident() -> None:
    assert LeptonicError.__bases__ == (Exception,)
    assert all(len(kind.__bases__) == 1 for kind in descendants(LeptonicError))
