"""The batched engine: many clients' local training as one tensor program."""

from leptonic_simulations.batched.engine import BatchedEngine
from leptonic_simulations.batched.probe import unbatchable

__all__ = ["BatchedEngine", "unbatchable"]
