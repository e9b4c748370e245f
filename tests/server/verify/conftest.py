"""One run for all tests, and a copy of it for each that spoils it."""

from pathlib import Path

import pytest
from tests.server.verify.deployed import Deployed, copied, run_in


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Not to be changed."""
    with pytest.MonkeyPatch.context() as patched:
        return run_in(tmp_path_factory.mktemp("whole"), patched)


@pytest.fixture
def made(whole: Deployed, tmp_path: Path) -> Deployed:
    """To be changed."""
    return copied(whole, tmp_path / "copy")
