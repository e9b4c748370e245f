"""The ray engine: the same workers on the machines of a Ray cluster, for those who outgrow one machine."""

from leptonic_simulations.cluster.engine import RayEngine

__all__ = ["RayEngine"]
