"""Every client's state in one sparse file: what was counted is there, whatever happened since."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.errors import RunError
from leptonic_simulations.states import SimulatedHome

SIZE = 5


def state(seed: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed).normal(size=(2, SIZE)).astype(np.float32)
    return {"control": draws[0], "drift": draws[1]}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SimulatedHome]:
    home = SimulatedHome(tmp_path, size=SIZE)
    yield home
    home.close()


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


def test_what_was_saved_is_loaded_also_by_another_process_and_after_reopening(home: SimulatedHome) -> None:
    home.save_state("run", 3, 1, state(1), 0)
    worker = SimulatedHome(home.folder, size=SIZE, alone=False)
    assert same(worker.load_state("run", 3, 1), state(1))
    worker.save_state("run", 4, 1, state(2), 0)
    worker.close()
    assert same(home.load_state("run", 4, 1), state(2))
    assert home.load_state("run", 3, 0) == {}


@settings(max_examples=60, deadline=None)
@given(counted=st.lists(st.booleans(), min_size=1, max_size=12), clients=st.integers(1, 3))
def test_the_counted_state_outlives_any_number_of_rounds_that_are_not(
    tmp_path_factory: pytest.TempPathFactory, counted: list[bool], clients: int
) -> None:
    home = SimulatedHome(tmp_path_factory.mktemp("home"), size=SIZE)
    last = 0
    for number, counts in enumerate(counted, start=1):
        for client in range(clients):
            home.save_state("run", client, number, state(100 * number + client), last)
            if last:
                assert same(home.load_state("run", client, last), state(100 * last + client))
        last = number if counts else last
    for client in range(clients):
        assert not last or same(home.load_state("run", client, last), state(100 * last + client))
    home.close()


def test_a_repeated_round_replaces_its_own_state(home: SimulatedHome) -> None:
    home.save_state("run", 0, 1, state(1), 0)
    home.save_state("run", 0, 2, state(2), 1)
    home.save_state("run", 0, 2, state(3), 1)
    assert same(home.load_state("run", 0, 2), state(3))
    assert same(home.load_state("run", 0, 1), state(1))


def test_a_million_clients_take_the_space_of_those_who_took_part(home: SimulatedHome) -> None:
    home.save_state("run", 999_999, 1, state(1), 0)
    assert same(home.load_state("run", 999_999, 1), state(1))
    files = list((home.folder / "state" / "run").iterdir())
    assert sum(512 * path.stat().st_blocks for path in files) < 100_000


def test_a_state_that_is_not_there_or_damaged_is_an_error(home: SimulatedHome) -> None:
    home.save_state("run", 0, 1, state(1), 0)
    with pytest.raises(RunError, match="no state of client 0 after round 2"):
        home.load_state("run", 0, 2)
    with pytest.raises(RunError, match="no state of client 1"):
        home.load_state("run", 1, 1)
    vectors = home.folder / "state" / "run" / "vectors"
    content = bytearray(vectors.read_bytes())
    content[3] ^= 1
    vectors.write_bytes(content)
    with pytest.raises(RunError, match="client 0 is damaged"):
        home.load_state("run", 0, 1)
