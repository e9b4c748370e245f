"""The link's process: Flower's SuperLink behind a gate, started by :mod:`leptonic_server.link`.

Flower serves its control, runtime and fleet interfaces on one port, and control has no authentication: whoever
reaches it can start an app of theirs on the server. The gate therefore lets only the fleet interface and the
health check through; everything else needs the secret that the parent process sent on standard input. When
standard input ends, the parent has died, and so does this process.
"""

import gc
import hmac
import os
import sys
import threading
from typing import Any

__all__: list[str] = []

OPEN_PATHS = ("/v1/fleet/", "/health")
CLEARED_EVERY = 32 * 1024 * 1024
"""Bytes of requests after which their remains are cleared away."""
SECRET_HEADER = "x-leptonic-gate"  # noqa: S105  the header's name, not the secret


class Gate:
    """ASGI middleware: 404 for what is neither open nor accompanied by the secret."""

    def __init__(self, app: Any, secret: bytes) -> None:
        self._app, self._secret = app, secret
        self._taken = 0
        # What start-up made lives as long as the process: collections need not look at it.
        gc.freeze()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] == "lifespan" or self._passes(scope):
            await self._app(scope, receive, send)
            self._clear_away(scope)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    def _clear_away(self, scope: dict[str, Any]) -> None:
        """Requests end in reference cycles that hold their bodies, and Python would leave those for long."""
        length = dict(scope.get("headers", ())).get(b"content-length", b"0")
        self._taken += int(length) if length.isdigit() else 0
        if self._taken > CLEARED_EVERY:
            self._taken = 0
            gc.collect()

    def _passes(self, scope: dict[str, Any]) -> bool:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(OPEN_PATHS[0]) or path == OPEN_PATHS[1]):
            return True
        given = dict(scope.get("headers", ())).get(SECRET_HEADER.encode(), b"")
        return hmac.compare_digest(given, self._secret)


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _main() -> None:
    secret = sys.stdin.buffer.readline().strip()
    if len(secret) != 64:
        sys.exit("the gate is started by `leptonic server`, which sends it a secret")
    threading.Thread(target=_die_with_parent, daemon=True).start()

    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    extensions.get_middleware = lambda: (Middleware(Gate, secret=secret),)
    flower_superlink()


if __name__ == "__main__":
    _main()
