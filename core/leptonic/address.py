"""Network addresses of this version: loopback only, and only where the user says --insecure."""

import ipaddress

from leptonic.errors import PolicyRefused, RunError

__all__ = ["loopback"]


def loopback(address: str, *, insecure: bool) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``.

    Raises RunError if it is no address, PolicyRefused unless it is on this machine and ``insecure`` is said.
    """
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise RunError(f"{address}: write the address as HOST:PORT, e.g. 127.0.0.1:8080")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise PolicyRefused(
            f"{address}: only addresses of this machine (127.0.0.1, ::1, localhost) are served yet: without TLS and "
            "admission, which this version does not have, anyone on the network could read and join"
        )
    if not insecure:
        raise PolicyRefused(f"{address}: the connection is not encrypted; say --insecure to use it on this machine")
    return ("127.0.0.1" if host == "localhost" else host), int(port)
