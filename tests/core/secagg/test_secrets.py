"""Nothing secret is shown by a state, a message, an error or a log."""

import base64
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from tests.core.secagg.members import bytes_in, name_of
from tests.core.secagg.parties import Cast, Play, Step

from leptonic.errors import LeptonicError
from leptonic.secagg.client.ready import pair_mask, self_mask
from leptonic.secagg.encoding import decoded
from leptonic.secagg.messages import Released, SeedCommitment, SharesReleased

ME, GONE = name_of(1), name_of(3)


def fragments(secret: bytes) -> Iterator[str]:
    """How a secret, or a third of it, looks in a text."""
    yield str(int.from_bytes(secret, "little"))
    yield str(int.from_bytes(secret, "big"))
    yield base64.b64encode(secret).decode().rstrip("=")
    for start in range(0, len(secret) - 9, 8):
        part = secret[start : start + 10]
        yield part.hex()
        if not set(part) & set(b"'\"\\"):
            yield repr(part)[2:-1]
        yield repr(list(part))[1:-1]


def assert_hidden(text: str, secrets: set[bytes]) -> None:
    for secret in secrets:
        for fragment in fragments(secret):
            assert fragment not in text, f"{fragment} is shown"


def secrets_of(play: Play, name: bytes) -> set[bytes]:
    """What a client's state keeps to itself, and the keys of the masks that come of it."""
    state = play.sessions[name].state
    private = [value for attribute, value in vars(state).items() if attribute in ("shares", "_released")]
    private += [vars(state)[attribute] for attribute in vars(state) if attribute[0] == "_" and attribute != "_once"]
    found = {each for value in private for each in bytes_in(value) if any(each)}
    if hasattr(state, "view") and hasattr(state, "_pairs"):
        found.add(self_mask(bytes(state._seed), play.session, name).key)
        pairs = {other: bytes(secret) for other, secret in state._pairs.items()}
        found |= {pair_mask(secret, play.session, state.view, name, other).key for other, secret in pairs.items()}
    return found


def plain(cast: Cast) -> set[bytes]:
    return {cast.clients[name].update.encoded()[0].tobytes()[:32] for name in cast.names}


def states(play: Play) -> Iterator[Any]:
    """Everything that one may come to look at in a debugger's first line, or a log's."""
    yield play.cast.clients[ME].standing
    yield play.cast.clients[ME].journal
    yield play.sessions.get(ME)
    if ME in play.sessions:
        yield play.sessions[ME].state
        yield vars(play.sessions[ME])
    for state in ("inviting", "sharing", "summing", "agreeing", "unmasking"):
        if hasattr(play, state):
            yield getattr(play, state)
    if hasattr(play, "agreeing"):
        yield play.agreeing.closed


@pytest.mark.parametrize("secret", [bytes(range(32)), bytes(range(100, 132)), b"'" * 5 + bytes(range(5, 32))])
def test_what_is_shown_is_seen(secret: bytes) -> None:
    shown = [repr(secret), secret.hex(), repr(bytearray(secret)), repr([b"before" + secret + b"behind"])]
    shown += [str(int.from_bytes(secret, "big")), repr(list(secret)), base64.b64encode(secret).decode()]
    for text in shown:
        with pytest.raises(AssertionError):
            assert_hidden(f"a state of ({text})", {secret})


def test_no_state_shows_a_secret() -> None:
    cast = Cast(5)
    play, secrets = cast.play(), plain(cast)
    for step in Step:
        for name in cast.names:
            if name != GONE or step < Step.MASK:
                if step is Step.MASK:
                    play.train(name)
                    secrets |= secrets_of(play, name)
                    play.take(step, name, play.mask(name))
                else:
                    play.take(step, name, play.ask(step, name))
                secrets |= secrets_of(play, name)
        for state in states(play):
            assert_hidden(f"{state!r} {state!s}", secrets)
        play.close(step)
    assert len(secrets) > 50
    for state in states(play):
        assert_hidden(f"{state!r} {state!s}", secrets)


def test_no_message_that_holds_a_secret_shows_it() -> None:
    play = Cast(4).play().until(Step.UNMASK)
    released = decoded(SharesReleased, play.ask(Step.UNMASK, ME).content)
    secrets = {released.seed, *(each.share for each in released.shares)}
    commitment = SeedCommitment(play.session, ME, released.seed)
    mask = self_mask(released.seed, play.session, ME)
    for message in (released, *released.shares, commitment, mask, Released(ME, released.shares[0].share)):
        assert_hidden(repr(message), secrets | {mask.key})


def test_no_error_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cast, errors = Cast(5), list[LeptonicError]()
    secrets = plain(cast)
    for step in list(Step)[1:]:
        for number in range(4):
            play = cast.play(b"model %d of %d" % (number, step)).until(step)
            for name, part in zip(cast.names, range(5), strict=True):
                secrets |= secrets_of(play, name)
                content = bytearray(play.message(step, name))
                content[(number * 5 + part) * len(content) // 20] ^= 1 << number
                try:
                    play.ask(step, name, bytes(content))
                except LeptonicError as error:
                    errors.append(error)
    assert len(errors) > 60
    for error in errors:
        shown = "".join(traceback.format_exception(error))
        assert_hidden(f"{error!r} {error!s} {error.args!r} {shown}", secrets)
        assert_hidden(f"{error.__context__!r} {error.__cause__!r}", secrets)
    assert_hidden(caplog.text, secrets)


def test_nothing_is_logged_or_printed(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    cast = Cast(5)
    cast.play().run({GONE: Step.MASK})
    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")
