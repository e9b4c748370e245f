"""Simulations: the in-process grid and the engines behind it."""
