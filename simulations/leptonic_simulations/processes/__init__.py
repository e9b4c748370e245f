"""The processes engine: workers that live for the whole run, with data and models in shared memory."""

from leptonic_simulations.processes.engine import ProcessesEngine

__all__ = ["ProcessesEngine"]
