"""Settings that all tests share."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: time is measured in benchmarks, never in tests.
settings.register_profile("leptonic", deadline=None)
settings.load_profile("leptonic")

GROUPS = {
    "federations": ("end_to_end", "server/test_link", "server/test_gate"),
    "workers": ("simulations/processes", "simulations/cluster"),
}
"""Tests that start processes of their own, by the group in which one runs after the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes of its own runs one after the other, also where tests run side by side."""
    root = Path(__file__).parent
    for item in items:
        for group, paths in GROUPS.items():
            if item.path.relative_to(root).as_posix().startswith(paths):
                item.add_marker(pytest.mark.xdist_group(group))


# A shell starts what runs in its background deaf to Ctrl-C, and children would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
