"""The batched engine: many clients' local training as one tensor program."""

from leptonic_simulations.batched.engine import BatchedEngine

__all__ = ["BatchedEngine"]
