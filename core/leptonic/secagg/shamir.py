"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297.

Shamir 1979, "How to share a secret". The field holds every 32-byte string, which one of 255 bits would not.
Coefficients come from the operating system. Python's integers are not constant-time, and cannot be wiped.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from leptonic.errors import BadShare
from leptonic.secagg.polynomials import PRIME, decode, newton, value_at

__all__ = ["PRIME", "SHARE_BYTES", "joined", "recovered", "split"]

SHARE_BYTES = 33


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
    places, values = list(shares), _values(shares)
    return _secret(value_at(0, newton(places, values), places))


def recovered(shares: Mapping[int, bytes], threshold: int, fits: Callable[[bytes], bool]) -> tuple[bytes, set[int]]:
    """The secret that ``fits``, and the places whose shares are false.

    shares: by place, ``threshold`` at least. Up to half of those beyond the threshold may be false; of more, none are
    named. Raises BadShare if they do not give such a secret.
    """
    values = {place: int.from_bytes(share, "little") for place, share in shares.items() if _in_field(share)}
    places = list(islice(values, threshold))
    polynomial = newton(places, [values[place] for place in places])
    secret = value_at(0, polynomial, places)
    fitting = len(places) == threshold and not secret >> 256 and fits(_secret(secret))
    if fitting and all(values[place] == value_at(place, polynomial, places) for place in values):
        return _secret(secret), set(shares.keys() - values.keys())
    # Some are false, perhaps of the first: errors of theirs may cancel in the secret, and blame the others.
    decoded = decode(values, threshold)
    if decoded is None or decoded[0] >> 256 or not fits(_secret(decoded[0])):
        if fitting:
            return _secret(secret), set()
        raise BadShare(f"{len(shares)} shares, of which {threshold} do not give the secret that was committed to")
    powers = [0] * len(decoded)
    return _secret(decoded[0]), {place for place in shares if values.get(place) != value_at(place, decoded, powers)}


def _in_field(share: bytes) -> bool:
    return len(share) == SHARE_BYTES and int.from_bytes(share, "little") < PRIME


def _values(shares: Mapping[int, bytes]) -> list[int]:
    if not all(map(_in_field, shares.values())):
        raise BadShare(f"a share that is no element of the field: shares have {SHARE_BYTES} bytes")
    return [int.from_bytes(share, "little") for share in shares.values()]


def _secret(value: int) -> bytes:
    if value >> 256:
        raise BadShare("the shares do not belong together: what they give is no secret of 32 bytes")
    return value.to_bytes(32, "little")
