"""Leptonic: train one model on data that never leaves its owners.

This package is the core that server, client and simulations share; it imports none of them. Importing
it is cheap: torch, opacus and flwr are imported by the modules that need them.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
