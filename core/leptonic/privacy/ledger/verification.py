"""Looks at a ledger as a stranger would: chain, entries, triggers, and every curve computed anew."""

import hmac
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from leptonic.errors import DecodeError
from leptonic.privacy.ledger.books import Books
from leptonic.privacy.ledger.entries import Reserve
from leptonic.privacy.ledger.file import Link, damaged, read
from leptonic.privacy.renyi import RenyiCurve

__all__ = ["TOLERANCE", "anchored", "books_of", "verified"]

TOLERANCE = 1e-9
"""Relative difference that another machine's arithmetic may make to a curve."""


def verified(path: Path) -> list[Link]:
    """All entries of a ledger that is whole. Raises RunError naming the first entry that is not as it should be."""
    links = read(path)
    books_of(links, path)
    for link in links:
        if isinstance(link.entry, Reserve) and not _same(link.entry.renyi, link.entry.cost.curve):
            raise damaged(path, f"entry {link.number}: its curve is not that of its mechanism")
    return links


def books_of(links: Iterable[Link], path: Path) -> Books:
    """What the entries add up to. path: of their file. Raises RunError where one cannot follow those before it."""
    books = Books()
    for link in links:
        try:
            books.take(link.entry)
        except DecodeError as error:
            raise damaged(path, f"entry {link.number}: {error}") from None
    return books


def anchored(links: Sequence[Link], head: bytes) -> int:
    """The number of the entry that a noted head belongs to, 0 if there is none: entries are missing, or replaced."""
    return next((link.number for link in links if hmac.compare_digest(link.hash, head)), 0)


def _same(written: RenyiCurve, computed: RenyiCurve) -> bool:
    return all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(written.values, computed.values, strict=True))
