"""What travels together: a trip brings the end of one session and the beginning of the next.

In a steady round three trips are enough: the survivors of round r with the opening of round r + 1, the quorum of r with
the cohort of r + 1, and then the work of r + 1. Each part is decoded and judged alone.
"""

from dataclasses import dataclass
from typing import Annotated

from leptonic.secagg.encoding import Size

__all__ = ["HEADER_LIMIT", "TRIP_LIMIT", "Trip", "Work"]

TRIP_LIMIT = 2**26
"""Bytes of a part."""
HEADER_LIMIT = 512
"""Bytes of a masked input's header, at most; they stand behind the masked input."""

Part = Annotated[bytes, Size(0, TRIP_LIMIT)]


@dataclass(frozen=True, slots=True)
class Trip:
    """closing: of the session that ends. opening: of the session that begins. Nothing where there is none."""

    closing: Part
    opening: Part


@dataclass(frozen=True, slots=True)
class Work:
    """What a client is sent beside the model. train: its part of the session. record: that of the session before."""

    train: Part
    record: Part
