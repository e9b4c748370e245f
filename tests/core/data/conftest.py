from collections.abc import Callable
from pathlib import Path

import pytest

from leptonic.data import fetch
from leptonic.errors import DataError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LEPTONIC_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def fetched() -> Callable[[str], Path]:
    """Gets a real data set into the user's cache; the test is skipped only where no source answers."""

    def get(name: str) -> Path:
        try:
            return fetch.fetch(name)
        except DataError as error:
            pytest.skip(str(error))

    return get
