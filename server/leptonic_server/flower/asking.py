"""One trip to the clients of a Flower app, over whatever grid there is: push, and pull until there is enough.

Flower's own ``send_and_receive`` waits for everybody, or for the time-out, and looks every three seconds.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from leptonic.errors import ProtocolError

__all__ = ["Asking", "LOGGER"]

LOGGER = logging.getLogger("flwr")
GRACE = 10.0
"""Seconds that the others get at least once enough have answered; else as long again as these took."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


@dataclass(frozen=True)
class Asking:
    """Asks clients over a grid. message_type: of the app's training. timeout: seconds that a trip takes at most."""

    grid: Grid
    message_type: str
    timeout: float

    def ask(
        self,
        contents: Mapping[int, RecordDict],
        *,
        what: str,
        take: Callable[[int, RecordDict], None],
        enough: Callable[[], bool],
    ) -> None:
        """Ask each node, and take what it answers. What is wrong with one answer costs that one alone.

        what: in words, for the log. take: raises ProtocolError. enough: whether it can do without the others.
        """
        messages = [Message(content, node, self.message_type) for node, content in contents.items()]
        # Fewer names, or none in a place, where the link has not taken a message.
        pushed = zip_longest(self.grid.push_messages(messages), contents)
        waiting = {name: node for name, node in pushed if name is not None}
        begin, pause = time.monotonic(), _FIRST_PAUSE
        end = begin + self.timeout
        settled = False
        while waiting:
            for reply in self.grid.pull_messages(list(waiting)):
                node = waiting.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    _taken(node, reply, what, take)
            now = time.monotonic()
            if not settled and enough():
                settled, end = True, min(end, now + max(GRACE, now - begin))
            if not waiting or now >= end:
                break
            time.sleep(min(pause, end - now))
            pause = min(2 * pause, _LONGEST_PAUSE)
        if waiting:
            LOGGER.warning("secure aggregation: nodes %s did not %s in time", sorted(waiting.values()), what)


def _taken(node: int, reply: Message, what: str, take: Callable[[int, RecordDict], None]) -> None:
    if reply.has_error():
        LOGGER.warning("secure aggregation: node %d did not %s: %s", node, what, reply.error.reason)
        return
    try:
        take(node, reply.content)
    except ProtocolError as error:
        LOGGER.warning("secure aggregation: node %d: %s: %s", node, type(error).__name__, error)
