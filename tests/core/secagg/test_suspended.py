"""Sessions between two steps as bytes: the same answers as without, of each state once, and nothing else decodes."""

from typing import Any

import pytest
from tests.core.secagg.parties import Answer, Cast, Play, Step, assert_exact

from leptonic.errors import DecodeError, ReplayedSession
from leptonic.secagg.client.masked import Agreed, Masked
from leptonic.secagg.client.opened import Opened
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.client.shared import Shared
from leptonic.secagg.client.suspended import resumed, suspended

KINDS = {Step.ADVERTISE: Opened, Step.SHARE: Shared, Step.MASK: Masked, Step.AGREE: Agreed}


def sleep(session: ClientSession, kind: Any) -> bytes:
    """Replace a session's state by the one that comes back from its bytes."""
    state: Any = session.state
    content = suspended(state)
    session._state = resumed(kind, state.standing, content)
    return content


class Sleeping(Play):
    """A session whose clients sleep after each step."""

    def ask(self, step: Step, name: bytes, content: bytes | None = None) -> Answer:
        answer = super().ask(step, name, content)
        if step in KINDS:
            sleep(self.sessions[name], KINDS[step])
        return answer


@pytest.mark.parametrize(
    ("count", "more"), [(6, {}), (7, {"bits": 24}), (24, {"neighbours": 16, "colluders": 1, "lying": 0})]
)
def test_a_session_whose_clients_sleep_after_each_step_is_exact(count: int, more: dict[str, Any]) -> None:
    cast = Cast(count, **more)
    opened = Sleeping(cast, cast.opening(), b"m" * 32, b"").run({cast.names[1]: Step.MASK, cast.names[2]: Step.UNMASK})
    assert_exact(cast, opened, [name for name in cast.names if name != cast.names[1]])


def states(step: Step) -> Any:
    """A client's state after this step."""
    cast = Cast(4)
    play = Play(cast, cast.opening(), b"m" * 32, b"")
    for at in Step:
        if at > step:
            break
        play.step(at)
    return play.sessions[cast.names[0]].state


@pytest.mark.parametrize("step", KINDS)
def test_a_state_that_was_suspended_is_left_and_holds_no_secret(step: Step) -> None:
    state = states(step)
    content = suspended(state)
    secrets = [state._channel, state._masks] if step is Step.ADVERTISE else [state._seed]
    if step is Step.SHARE:
        secrets += [*state._channels.values(), *state._pairs.values()]
    assert not any(map(any, secrets))
    with pytest.raises(ReplayedSession):
        suspended(state)
    way_on = {Opened: "introduced", Shared: "train", Masked: "agree", Agreed: "unmask"}[type(state)]
    with pytest.raises(ReplayedSession):
        getattr(state, way_on)(b"", **({"model": b"", "payload": b""} if step is Step.SHARE else {}))
    assert len(content) > 100


@pytest.mark.parametrize("step", KINDS)
def test_the_bytes_of_one_kind_of_state_are_no_other(step: Step) -> None:
    state = states(step)
    standing, content = state.standing, suspended(state)
    for kind in KINDS.values():
        if kind is not KINDS[step]:
            with pytest.raises(DecodeError):
                resumed(kind, standing, content)
    for wrong in (content[:-1], content + b"\0", b""):
        with pytest.raises(DecodeError):
            resumed(KINDS[step], standing, wrong)


@pytest.mark.parametrize("step", KINDS)
def test_a_resumed_state_shows_no_secret(step: Step) -> None:
    state = states(step)
    standing, content = state.standing, suspended(state)
    again = resumed(KINDS[step], standing, content)
    assert "_seed" not in repr(again)
    assert "_channel" not in repr(again)
    assert again == resumed(KINDS[step], standing, content) or again.standing is standing
