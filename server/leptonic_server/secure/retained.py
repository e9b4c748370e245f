"""What a run keeps of its sums for those who check it later, as far as its experiment says.

``retain = "sums"``: each opened sum. ``"inputs"``: the masked inputs as well, with what opened their sum. A single
input stays hidden in them: the masks that survivors share with one another are known to nobody else. Files are
written before their round is committed and name nothing that counts: a record's digests say whether they are right.
"""

import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from leptonic.errors import DecodeError, RunError
from leptonic.files import make_folder, overwrite, write_atomic
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import Digest, Id, decoded, encoded
from leptonic.secagg.messages import SignedHeader
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.unmasking import OpenedSum

__all__ = ["KeptSecret", "OpenedWith", "Retained", "read_regular"]

_OPENING = "opening.bin"
_OPENING_LIMIT = 2**30


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """A survivor's seed, or the key of somebody who dropped out."""

    client: Id
    secret: Digest = field(repr=False)


@dataclass(frozen=True)
class OpenedWith:
    """Everything that opened a sum."""

    closed: ClosedSum
    secrets: tuple[KeptSecret, ...]


class Retained:
    """The kept files of a run. folder: the run's. retain: what is still to be kept."""

    def __init__(self, folder: Path, retain: str = "nothing") -> None:
        self._sums, self._inputs = folder / "sums", folder / "inputs"
        self._keeps_sums, self._keeps_inputs = retain != "nothing", retain == "inputs"

    def begin(self, number: int) -> None:
        """A session of this round is about to take inputs: those of one that came to nothing are not needed."""
        shutil.rmtree(self._folder(number), ignore_errors=True)

    def take(self, number: int, header: bytes, masked: bytes | memoryview) -> None:
        """A masked input was added. header: its header, signed."""
        if self._keeps_inputs:
            path = self.input_file(number, hashed(decoded(SignedHeader, header).header))
            make_folder(path.parent)
            overwrite(path, bytes(masked))

    def opened(self, number: int, closed: ClosedSum, opened: OpenedSum) -> None:
        """A sum was opened. closed: what it was opened from."""
        if self._keeps_sums:
            make_folder(self._sums)
            words, sums = opened.words.astype("<u4", copy=False), opened.sums.astype("<u8", copy=False)
            overwrite(self.sum_file(number), b"".join((words.data, sums.data)))
        if self._keeps_inputs:
            secrets = tuple(KeptSecret(client, secret) for client, secret in sorted(opened.secrets.items()))
            write_atomic(self._folder(number) / _OPENING, encoded(OpenedWith(closed, secrets)), private=True)

    def sum_file(self, number: int) -> Path:
        """The opened sum of a round: its words, then its sums, little-endian."""
        return self._sums / f"round-{number:05}.bin"

    def input_file(self, number: int, header: bytes) -> Path:
        """A masked input. header: its header's hash."""
        return self._folder(number) / f"{header.hex()}.bin"

    def opened_with(self, number: int) -> OpenedWith:
        """What opened the sum of a round. Raises RunError if it cannot be read."""
        path = self._folder(number) / _OPENING
        try:
            return decoded(OpenedWith, read_regular(path, at_most=_OPENING_LIMIT))
        except DecodeError as error:
            raise RunError(f"{path}: is not what opened a sum ({error}); restore it from a copy") from None

    def _folder(self, number: int) -> Path:
        return self._inputs / f"round-{number:05}"


def read_regular(path: Path, *, at_most: int) -> bytes:
    """A file that somebody else has made: nothing but a plain one of that size. Raises RunError."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > at_most:
            raise RunError(f"{path}: is not a plain file of {at_most} bytes at most")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from None
