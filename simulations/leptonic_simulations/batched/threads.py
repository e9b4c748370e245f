"""Parts of a group's work side by side, each in a Python thread that computes with one core.

torch and numpy let go of Python's lock while they compute. Where there is enough work for each, threads that never wait
for each other beat those within operations.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["dealt", "side_by_side"]

Part = TypeVar("Part")
Made = TypeVar("Made")


def dealt(count: int, parts: int) -> list[list[int]]:
    """0 .. count - 1, dealt out to at most so many parts in turns; none is empty."""
    return [list(range(part, count, parts)) for part in range(min(count, parts))]


def side_by_side(make: Callable[[Part], Made], parts: Sequence[Part]) -> list[Made]:
    """What is made of each part. Raises what the first of them raised, after all have ended."""
    if len(parts) < 2:
        return [make(part) for part in parts]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Each thread has a number of its own, which libraries below torch may ask for before torch has set it.
        with ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(make, parts))
    finally:
        torch.set_num_threads(before)
