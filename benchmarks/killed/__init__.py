"""A node that is killed at any instant, and a witness of what has left it.

Light to import: what a node needs is imported by :mod:`killed.victim`, in the server that nodes are forked from.
"""

from ctypes import c_int

STAGES = ("starting", "asking", "reserving", "training", "settling", "sending")
ROUNDS = 20
"""Of each run."""


def live(folder: str, address: str, first: tuple[int, int], stage: c_int) -> None:
    """A node's life; see :func:`killed.victim.live`."""
    from killed import victim

    victim.live(folder, address, first, stage)
