"""A state can be left once, whatever comes of it: no secret is used for two messages."""

from leptonic.errors import ReplayedSession

__all__ = ["Once"]


class Once:
    """The right to leave a state."""

    def __init__(self) -> None:
        self._left = False

    def use(self) -> None:
        """Raise ReplayedSession unless this is the first time."""
        if self._left:
            raise ReplayedSession("this step of the session was taken before, or has failed: the session is over")
        self._left = True
