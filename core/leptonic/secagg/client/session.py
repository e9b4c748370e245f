"""One client's part in one session, as its process sees it: each step is answered once, and repeated on request."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import ReplayedSession
from leptonic.secagg.binding import signed
from leptonic.secagg.client.masked import Agreed, Masked, Unmasked
from leptonic.secagg.client.opened import Opened, open_session
from leptonic.secagg.client.ready import Ready
from leptonic.secagg.client.shared import Shared
from leptonic.secagg.encoding import encoded
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import Abort, Signed
from leptonic.secagg.standing import Standing

__all__ = ["ClientSession", "aborted"]

State = Opened | Shared | Ready | Masked | Agreed | Unmasked
StateT = TypeVar("StateT", Opened, Masked, Agreed)


@dataclass(frozen=True)
class _Answered:
    """A step that was taken. asked: hash of what was asked."""

    asked: bytes
    reply: bytes = field(repr=False)


def aborted(standing: Standing, session: bytes) -> bytes:
    """The word of a client that gives a session up, unless it has signed survivors. Raises ReplayedSession."""
    standing.journal.abort(session)
    return encoded(Signed(standing.client, signed(standing.key, Abort(session))))


class ClientSession:
    """A session from its opening on. Whatever is wrong with a step ends the session; the error says what it was."""

    def __init__(self, standing: Standing, opening: bytes) -> None:
        self._state: State | None = (opened := open_session(standing, opening))
        self._answered = {"open": _Answered(hashlib.sha256(opening).digest(), opened.reply)}

    def opened(self, content: bytes) -> bytes:
        """The advertisement, for whoever asks again with the same bytes."""
        return self._step("open", content, Opened, _over)

    def introduced(self, content: bytes) -> bytes:
        """The boxes for this client's neighbours."""
        return self._step("share", content, Opened, lambda state: state.introduced(content))

    def train(self, content: bytes, *, model: bytes, payload: bytes) -> None:
        """Check who takes part and what for; the same again changes nothing. See :meth:`Shared.train`."""
        asked = hashlib.sha256(b"".join((content, model, payload))).digest()
        if (known := self._answered.get("train")) is not None:
            if known.asked != asked:
                raise _asked_otherwise("train")
            return
        if not isinstance(self._state, Shared):
            raise _out_of_order("train")
        with self._over_if_it_fails():
            self._state = self._state.train(content, model=model, payload=payload)
        self._answered["train"] = _Answered(asked, b"")

    @property
    def masks(self) -> list[Mask]:
        """See :attr:`Ready.masks`."""
        if not isinstance(self._state, Ready):
            raise _out_of_order("mask")
        return self._state.masks

    def mask(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], expansion: Expansion) -> Masked:
        """Mask an encoded update, in place."""
        if not isinstance(self._state, Ready):
            raise _out_of_order("mask")
        with self._over_if_it_fails():
            masked = self._state.mask(words, sums, expansion)
        # The caller has the masked vector: it is not held until the session ends.
        self._state = replace(masked, parts=(memoryview(b""), memoryview(b"")))
        return masked

    def agree(self, content: bytes) -> bytes:
        """The signature of the survivors."""
        return self._step("agree", content, Masked, lambda state: state.agree(content))

    def unmask(self, content: bytes) -> bytes:
        """The shares of the neighbours' secrets."""
        return self._step("unmask", content, Agreed, lambda state: state.unmask(content))

    @property
    def state(self) -> State | None:
        """Where the session stands; None once it has failed, with all that it knew."""
        return self._state

    @contextmanager
    def _over_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._state = None
            raise

    def _step(
        self, step: str, content: bytes, kind: type[StateT], take: Callable[[StateT], Shared | Agreed | Unmasked]
    ) -> bytes:
        known, asked = self._answered.get(step), hashlib.sha256(content).digest()
        if known is not None:
            if known.asked != asked:
                raise _asked_otherwise(step)
            return known.reply
        if not isinstance(self._state, kind):
            raise _out_of_order(step)
        with self._over_if_it_fails():
            self._state = after = take(self._state)
        self._answered[step] = _Answered(asked, after.reply)
        return after.reply


def _over(_: Opened) -> Shared:
    raise _out_of_order("open")


def _asked_otherwise(step: str) -> ReplayedSession:
    return ReplayedSession(f"step {step!r} of the session was answered, and is asked again with other bytes")


def _out_of_order(step: str) -> ReplayedSession:
    return ReplayedSession(f"step {step!r} is not the next one of this session")
