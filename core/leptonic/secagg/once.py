"""What may be done once: no state is left twice, and no secret is used for two messages."""

from threading import Lock

from leptonic.errors import ReplayedSession

__all__ = ["Once"]


class Once:
    """The right to leave a state, for whichever thread comes first."""

    def __init__(self) -> None:
        self._lock = Lock()

    def use(self) -> None:
        """Raise ReplayedSession unless this is the first time."""
        if not self._lock.acquire(blocking=False):
            raise ReplayedSession("this step of the session was taken before, or has failed: the session is over")

    def check(self) -> None:
        """Raise ReplayedSession if it was used."""
        if self._lock.locked():
            raise ReplayedSession("this step of the session is over: nothing more is taken")
