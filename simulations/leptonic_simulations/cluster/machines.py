"""A Ray cluster as long as a run needs it: the one that ``RAY_ADDRESS`` names, or else one of this machine alone."""

import logging
import os
from typing import Any

from leptonic.errors import ExperimentError, RunError

__all__ = ["Machines", "imported"]

SETTINGS = {
    # Ray would report what it is used for to its makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A worker that asks for no GPU of its own may still use the one that is there.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def imported() -> Any:
    """The package ``ray``. Raises ExperimentError if it is not installed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise ExperimentError("simulation.engine: ray needs Ray; run: pip install 'leptonic[ray]'") from None
    return ray


class Machines:
    """The cluster. A connection that was there before is used, and stays.

    cores: of this machine, that a cluster of it alone has. Raises RunError if the cluster cannot be reached.
    """

    def __init__(self, ray: Any, *, cores: int) -> None:
        self._ray, self._mine = ray, not ray.is_initialized()
        if not self._mine:
            return
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                ray.init(address="auto", **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).strip().split("\n")[0]
                raise RunError(f"RAY_ADDRESS = {address}: the cluster cannot be reached: {reason}") from None
        else:
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)

    def cores(self) -> int:
        """Processor cores of all machines together."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def close(self) -> None:
        """Leave the cluster; one of this machine alone ends."""
        if self._mine:
            self._ray.shutdown()
