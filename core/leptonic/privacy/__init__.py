"""Differential privacy: how much noise a run needs, and training that adds it."""
