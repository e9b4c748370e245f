"""A client's session between two steps, as bytes: for clients whose process ends after each answer.

The bytes hold the session's secrets. Whoever keeps them has to keep them secret, and **must resume each of them once
at most**: a state that is resumed twice could seal two sets of shares with one key, or mask two inputs with one mask.
In a process :class:`Once` sees to that; here it ends with the process, so that the keeper must.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from leptonic.secagg.bounds import Bounds
from leptonic.secagg.client.masked import Agreed, Masked
from leptonic.secagg.client.opened import Opened
from leptonic.secagg.client.shared import Shared
from leptonic.secagg.encoding import Digest, Id, Key, decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import (
    CohortList,
    Open,
    ShareBytes,
    SignedAdvertisement,
    SignedCommitment,
    SignedHeader,
    SurvivorSet,
)
from leptonic.secagg.standing import Standing

__all__ = ["resumed", "suspended"]

State = Opened | Shared | Masked | Agreed
StateT = TypeVar("StateT", Opened, Shared, Masked, Agreed)


@dataclass(frozen=True, slots=True)
class _Member:
    client: Id


@dataclass(frozen=True, slots=True)
class _Secret:
    """What was agreed on with a neighbour."""

    client: Id
    secret: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Both:
    """The shares of a neighbour's key and seed."""

    client: Id
    key: ShareBytes = field(repr=False)
    seed: ShareBytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Graph:
    session: Digest
    clients: tuple[_Member, ...]
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class _Opened:
    opening: Open
    own: SignedAdvertisement
    channel: Key = field(repr=False)
    masks: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Shared:
    opening: Open
    cohort: CohortList
    graph: _Graph
    own: SignedCommitment
    channels: tuple[_Secret, ...] = field(repr=False)
    pairs: tuple[_Secret, ...] = field(repr=False)
    seed: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Masked:
    graph: _Graph
    sharers: tuple[_Member, ...]
    own: SignedHeader
    shares: tuple[_Both, ...] = field(repr=False)
    seed: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Agreed:
    graph: _Graph
    sharers: tuple[_Member, ...]
    survivors: tuple[_Member, ...]
    agreement: SurvivorSet
    shares: tuple[_Both, ...] = field(repr=False)
    seed: Key = field(repr=False)


def suspended(state: State) -> bytes:
    """The state's bytes, secrets among them. It is left by this, and what can be overwritten of it is.

    What was sent is not kept: boxes, a masked input, a signature. Raises ReplayedSession for a state that was left.
    """
    state._once.use()
    match state:
        case Opened():
            content = encoded(_Opened(state.opening, state.own, bytes(state._channel), bytes(state._masks)))
            _wipe(state._channel, state._masks)
        case Shared():
            content = encoded(
                _Shared(
                    opening=state.opening,
                    cohort=state.cohort,
                    graph=_graph(state.graph),
                    own=state.own,
                    channels=_secrets(state._channels),
                    pairs=_secrets(state._pairs),
                    seed=bytes(state._seed),
                )
            )
            _wipe(*state._channels.values(), *state._pairs.values(), state._seed)
        case Masked():
            content = encoded(
                _Masked(
                    graph=_graph(state.graph),
                    sharers=_members(state.sharers),
                    own=state.own,
                    shares=_both(state.shares),
                    seed=bytes(state._seed),
                )
            )
            _wipe(state._seed)
        case Agreed():
            content = encoded(
                _Agreed(
                    graph=_graph(state.graph),
                    sharers=_members(state.sharers),
                    survivors=_members(state.survivors),
                    agreement=state.agreement,
                    shares=_both(state.shares),
                    seed=bytes(state._seed),
                )
            )
            _wipe(state._seed)
    return content


def resumed(kind: type[StateT], standing: Standing, content: bytes) -> StateT:
    """The state of this kind that :func:`suspended` gave these bytes for; its reply was sent.

    standing: the one it had. Raises DecodeError for the bytes of another kind.
    """
    return _RESUME[kind](standing, content)  # type: ignore[no-any-return]


def _resume_opened(standing: Standing, content: bytes) -> Opened:
    form = decoded(_Opened, content)
    return Opened(standing, form.opening, form.own, bytearray(form.channel), bytearray(form.masks))


def _resume_shared(standing: Standing, content: bytes) -> Shared:
    form = decoded(_Shared, content)
    return Shared(
        standing=standing,
        opening=form.opening,
        cohort=form.cohort,
        graph=_graph_of(form.graph),
        own=form.own,
        boxes=(),
        _channels={each.client: bytearray(each.secret) for each in form.channels},
        _pairs={each.client: bytearray(each.secret) for each in form.pairs},
        _seed=bytearray(form.seed),
    )


def _resume_masked(standing: Standing, content: bytes) -> Masked:
    form = decoded(_Masked, content)
    return Masked(
        standing=standing,
        graph=_graph_of(form.graph),
        sharers=_ids(form.sharers),
        own=form.own,
        parts=(memoryview(b""), memoryview(b"")),
        shares={each.client: (each.key, each.seed) for each in form.shares},
        _seed=bytearray(form.seed),
    )


def _resume_agreed(standing: Standing, content: bytes) -> Agreed:
    form = decoded(_Agreed, content)
    return Agreed(
        standing=standing,
        graph=_graph_of(form.graph),
        sharers=_ids(form.sharers),
        survivors=_ids(form.survivors),
        agreement=form.agreement,
        reply=b"",
        shares={each.client: (each.key, each.seed) for each in form.shares},
        _seed=bytearray(form.seed),
    )


_RESUME: Mapping[type, Callable[[Standing, bytes], Any]] = {
    Opened: _resume_opened,
    Shared: _resume_shared,
    Masked: _resume_masked,
    Agreed: _resume_agreed,
}


def _graph(graph: Graph) -> _Graph:
    return _Graph(graph.session, _members(graph.clients), graph.bounds)


def _graph_of(form: _Graph) -> Graph:
    return Graph(form.session, tuple(each.client for each in form.clients), form.bounds)


def _members(clients: Iterable[bytes]) -> tuple[_Member, ...]:
    return tuple(map(_Member, sorted(clients)))


def _ids(members: tuple[_Member, ...]) -> frozenset[bytes]:
    return frozenset(each.client for each in members)


def _secrets(secrets: Mapping[bytes, bytearray]) -> tuple[_Secret, ...]:
    return tuple(_Secret(client, bytes(secrets[client])) for client in sorted(secrets))


def _both(shares: Mapping[bytes, tuple[bytes, bytes]]) -> tuple[_Both, ...]:
    return tuple(_Both(client, *shares[client]) for client in sorted(shares))


def _wipe(*secrets: bytearray) -> None:
    for secret in secrets:
        secret[:] = bytes(len(secret))
