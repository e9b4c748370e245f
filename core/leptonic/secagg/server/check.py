"""How the coordinator's states check signatures."""

from collections.abc import Callable

from leptonic.secagg.encoding import Message

__all__ = ["Check"]

Check = Callable[[bytes, bytes, Message], None]
"""(client, signature, message): raises BadSignature unless this client of the roster has signed it."""
