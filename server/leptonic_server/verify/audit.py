"""An appointed auditor sums again: the kept masked inputs and what opened them, against one round's record.

Single inputs stay hidden: the masks that survivors share with one another cancel in the sum, and are known to nobody
else. Whether the inputs are honest is not checked by this.
"""

from pathlib import Path

import numpy as np

from leptonic.errors import InconsistentCohort
from leptonic.integers import add
from leptonic.secagg.binding import bound, hashed, verified
from leptonic.secagg.encoding import Message
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.messages import MaskedHeader, Named, SessionSettings
from leptonic.secagg.packing import packed_length, unpacked
from leptonic.secagg.roster import Roster
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.remainder import centre, digest_of_sum, is_committed, remaining_masks
from leptonic_server.secure.retained import Retained, read_regular
from leptonic_server.verify.chain import Link

__all__ = ["audit"]


def audit(link: Link, retained: Retained, expansion: Expansion) -> int:
    """Sum a round's kept inputs again. Returns how many they are.

    Raises InconsistentCohort or BadSignature where the record does not follow from them, RunError where a file is not
    there.
    """
    opened = retained.opened_with(link.number)
    closed, secrets = opened.closed, {each.client: each.secret for each in opened.secrets}
    _check_statements(closed, link)
    if secrets.keys() != closed.committed.keys():
        raise InconsistentCohort("the secrets are not those of all who had shared theirs")
    for client, secret in secrets.items():
        if not is_committed(closed, client, secret):
            raise InconsistentCohort(f"{client.decode(errors='replace')} had committed to another secret")
    settings = closed.opening.settings
    words, sums = np.zeros(settings.words, np.uint32), np.zeros(settings.sums, np.uint64)
    for each in closed.headers:
        packed, beside = _input(retained.input_file(link.number, hashed(each.header)), each.header, settings)
        add(words, unpacked(packed, settings.words, settings.bits).astype(np.uint32, copy=False))
        add(sums, np.frombuffer(beside, dtype="<u8").astype(np.uint64, copy=False))
    expansion.add(words, sums, list(remaining_masks(closed, secrets)))
    centre(words, settings.bits)
    if digest_of_sum(words, sums) != link.record.sum:
        raise InconsistentCohort("the opened sum is not the sum of the inputs")
    return len(closed.headers)


def _check_statements(closed: ClosedSum, link: Link) -> None:
    """What clients have said is what the record names, and they have signed it."""
    record = link.record
    kept = (closed.opening, closed.cohort, closed.sharers, closed.survivors, closed.context)
    if kept != (record.opening, record.cohort, record.sharers, record.survivors, record.context):
        raise InconsistentCohort("the kept statements are those of another session than the record's")
    advertised = tuple(Named(each.client, hashed(each.advertisement)) for each in closed.advertisements)
    if advertised != record.cohort.members:
        raise InconsistentCohort("the kept keys are not those that the cohort has advertised")
    for each in closed.advertisements:
        _check_signature(link.roster, each.client, each.signature, each.advertisement)
    for commitment in closed.commitments:
        _check_signature(link.roster, commitment.client, commitment.signature, commitment.commitment)
    for header in closed.headers:
        _check_signature(link.roster, header.client, header.signature, header.header)


def _check_signature(roster: Roster, client: bytes, signature: bytes, message: Message) -> None:
    verified(roster.keys[client], signature, bound(message), client)


def _input(path: Path, header: MaskedHeader, settings: SessionSettings) -> tuple[memoryview, memoryview]:
    """A kept input, words and sums, as its client has committed to it."""
    at = packed_length(settings.words, settings.bits)
    length = at + 8 * settings.sums
    content = memoryview(read_regular(path, at_most=length))
    if len(content) != length or long_digest(content[:at], content[at:]) != header.digest:
        raise InconsistentCohort(f"{path}: is not the masked input that its client has signed")
    return content[:at], content[at:]
