"""Work that is dealt out to threads, and what comes back."""

import threading

import pytest
import torch

from leptonic_simulations.batched.threads import dealt, side_by_side


def test_everybody_is_dealt_once_and_no_part_is_empty() -> None:
    assert dealt(5, 2) == [[0, 2, 4], [1, 3]]
    assert dealt(2, 3) == [[0], [1]]
    assert dealt(0, 3) == []


def test_parts_are_made_at_the_same_time_each_with_one_core() -> None:
    before = torch.get_num_threads()
    together = threading.Barrier(3, timeout=10)

    def made(part: int) -> tuple[int, int]:
        together.wait()
        return 10 * part, torch.get_num_threads()

    torch.set_num_threads(3)
    try:
        assert side_by_side(made, [1, 2, 3]) == [(10, 1), (20, 1), (30, 1)]
        assert torch.get_num_threads() == 3
        assert side_by_side(lambda part: (part, torch.get_num_threads()), [7]) == [(7, 3)]
    finally:
        torch.set_num_threads(before)


def test_what_one_part_raises_is_raised_and_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()

    def made(part: int) -> int:
        if part == 2:
            raise ValueError("the second")
        return part

    with pytest.raises(ValueError, match="the second"):
        side_by_side(made, [1, 2])
    assert torch.get_num_threads() == before
