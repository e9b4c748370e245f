"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297.

Shamir 1979, "How to share a secret". The field holds every 32-byte string, which one of 255 bits would not.
Coefficients come from the operating system. Python's integers are not constant-time, and cannot be wiped.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, islice

from leptonic.errors import BadShare

__all__ = ["PRIME", "SHARE_BYTES", "joined", "recovered", "split"]

PRIME = 2**256 + 297
SHARE_BYTES = 33
MOST_TRIES = 10_000
"""Sets of shares that are tried before a secret is given up, where some are false."""


def split(secret: bytes, places: Sequence[int], threshold: int) -> list[bytes]:
    """One share for each place, of which any ``threshold`` give the secret and fewer tell nothing of it.

    secret: 32 bytes. places: different integers in [1, 2^32). Returns shares of 33 bytes, little-endian.
    """
    if len(secret) != 32:
        raise ValueError(f"a secret has 32 bytes, not {len(secret)}")
    if threshold < 1 or len(set(places)) != len(places) or not all(1 <= place < 2**32 for place in places):
        raise ValueError("shares need a threshold of at least 1 and different places from 1 to 2^32 - 1")
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret, "little"))
    shares = []
    for place in places:
        value = 0
        for coefficient in coefficients:
            # Reduced rarely: places are small, so that a product grows by 32 bits at most.
            value = value * place + coefficient
            if value.bit_length() > 1024:
                value %= PRIME
        shares.append((value % PRIME).to_bytes(SHARE_BYTES, "little"))
    return shares


def joined(shares: Mapping[int, bytes]) -> bytes:
    """The secret of these shares, by place.

    Raises BadShare if a share is not in the field or the outcome is no secret; with false shares, or with fewer
    than the threshold, the outcome is another secret: check it.
    """
    secret = _at(0, shares)
    if secret >> 256:
        raise BadShare("the shares do not belong together: what they give is no secret of 32 bytes")
    return secret.to_bytes(32, "little")


def recovered(shares: Mapping[int, bytes], threshold: int, fits: Callable[[bytes], bool]) -> tuple[bytes, set[int]]:
    """The secret that ``fits``, and the places whose shares are false.

    shares: by place, some of which may be false. Raises BadShare if no ``threshold`` of them give such a secret.
    """
    for places in islice(combinations(sorted(shares), threshold), MOST_TRIES):
        true = {place: shares[place] for place in places}
        try:
            secret = joined(true)
        except BadShare:
            continue
        if fits(secret):
            others = shares.keys() - true.keys()
            return secret, {place for place in others if _at(place, true).to_bytes(33, "little") != shares[place]}
    raise BadShare(f"{len(shares)} shares, of which {threshold} do not give the secret that was committed to")


def _at(place: int, shares: Mapping[int, bytes]) -> int:
    """The value of the polynomial through these shares."""
    values = [int.from_bytes(share, "little") for share in shares.values()]
    if any(len(share) != SHARE_BYTES for share in shares.values()) or any(value >= PRIME for value in values):
        raise BadShare(f"a share that is no element of the field: shares have {SHARE_BYTES} bytes")
    return sum(w * value for w, value in zip(_weights(place, tuple(shares)), values, strict=True)) % PRIME


@lru_cache(256)
def _weights(place: int, places: tuple[int, ...]) -> list[int]:
    """Lagrange's weights: what shares at ``places`` are multiplied with, to add up to the value at ``place``."""
    weights = []
    for own in places:
        above = below = 1
        for other in places:
            if other != own:
                above = above * (other - place) % PRIME
                below = below * (other - own) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return weights
