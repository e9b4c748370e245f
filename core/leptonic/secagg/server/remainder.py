"""What is left of the masks in a sum, once its secrets are known: computed by the coordinator, and by an auditor.

Each survivor's own mask, which its seed gives; and the masks that survivors share with those who dropped out, which a
key gives. Whose secret is what its owner had committed to can be checked by anybody.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from leptonic.secagg.binding import hashed
from leptonic.secagg.client.ready import pair_mask, self_mask
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import SeedCommitment
from leptonic.secagg.sealing import agreed, public_of, secret_key
from leptonic.secagg.server.closed import ClosedSum

__all__ = ["centre", "digest_of_sum", "is_committed", "remaining_masks"]


def is_committed(closed: ClosedSum, client: bytes, secret: bytes) -> bool:
    """Whether this is what a sharer had committed to: its seed if it survived, else its key."""
    if client in closed.survived:
        committed = closed.committed[client].commitment.seed
        return hashed(SeedCommitment(closed.graph.session, client, secret)) == committed
    return public_of(secret) == closed.advertised[client].advertisement.masks


def remaining_masks(closed: ClosedSum, secrets: Mapping[bytes, bytes]) -> Iterator[Mask]:
    """What is to be added to the masked sum. secrets: the seed of each survivor, the key of each who dropped out."""
    graph = closed.graph
    for client in sorted(closed.survived):
        yield _away(self_mask(secrets[client], graph.session, client))
    for client in sorted(closed.committed.keys() - closed.survived):
        key = secret_key(secrets[client])
        for survivor in graph.neighbours(client):
            if survivor in closed.survived:
                shared = agreed(key, closed.advertised[survivor].advertisement.masks, survivor)
                yield _away(pair_mask(shared, graph.session, closed.view, survivor, client))


def centre(words: NDArray[np.uint32], bits: int) -> None:
    """Two's complement of fewer bits as one of 32, in place."""
    if bits < 32:
        words[:] = ((words << np.uint32(32 - bits)).view(np.int32) >> (32 - bits)).view(np.uint32)


def digest_of_sum(words: NDArray[np.uint32], sums: NDArray[np.uint64]) -> bytes:
    """What a record names: the long digest of an opened sum."""
    return long_digest(words.astype("<u4", copy=False).data, sums.astype("<u8", copy=False).data)


def _away(mask: Mask) -> Mask:
    return Mask(mask.key, not mask.negative)
