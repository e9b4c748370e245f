"""Secure aggregation in a plain Flower app, server side: ``SecureAggregation(FedAvg(...), ...)``."""

from leptonic_server.flower.strategy import SecureAggregation

__all__ = ["SecureAggregation"]
