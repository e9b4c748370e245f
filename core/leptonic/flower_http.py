"""Flower's HTTP clients as both sides use them: straight to the link, and with one set of failures."""

from typing import TypeVar

import httpx
from flwr.supercore.protobuf.client import ProtobufClient

__all__ = ["FAILURES", "direct"]

FAILURES = (httpx.HTTPError, ValueError, RuntimeError)
"""What a call raises when the link is gone, refuses, or answers what is not its protocol."""

TIMEOUT = 60.0

Client = TypeVar("Client", bound=ProtobufClient)


def direct(client: Client) -> Client:
    """Make a client ignore the environment's proxies, which would be sent the gate's secret and every update."""
    client._client.close()
    client._client = httpx.Client(timeout=TIMEOUT, trust_env=False)
    return client
