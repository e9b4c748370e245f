"""Secure aggregation in a plain Flower app, client side: ``ClientApp(mods=[secure_aggregation])``."""

from leptonic_client.flower.mod import secure_aggregation

__all__ = ["secure_aggregation"]
