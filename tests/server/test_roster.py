"""Who joins, under which name and key, and who is turned away."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Error
from pydantic import ValidationError
from tests.server.scripted import Script, ScriptedGrid, key_of, public, reply_to, silent

from leptonic.experiment_file import from_mapping
from leptonic.wire import Request, inline
from leptonic_server import roster as roster_module
from leptonic_server.roster import JoinedMembers
from leptonic_server.store import Member

RUN = "0123456789abcdef"
EXPERIMENT = from_mapping({"name": "x", "data": {"name": "digits"}, "model": {"name": "logistic"}})


def node(name: str, signer: Ed25519PrivateKey, **changes: Any) -> Script:
    """A node that joins under this name."""
    fields = {"name": name, "key": public(signer), **changes}
    return lambda request, _: [reply_to(request, signer=signer, **fields)]


class Joining:
    """Scripted nodes, and the members that join from them; time passes only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, admitted: dict[str, str] | None = None) -> None:
        self.now = 1000.0
        monkeypatch.setattr(roster_module, "time", self)
        self.grid = ScriptedGrid()
        self.events: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.members = JoinedMembers(
            self.grid,
            EXPERIMENT,
            RUN,
            admitted=admitted,
            on_event=self.events.append,
            on_refusal=lambda *refusal: self.refused.append(refusal),
        )

    def monotonic(self) -> float:
        """Takes the place of the clock."""
        return self.now

    def names(self, clients: int) -> list[str] | None:
        self.now += 1
        found = self.members.complete(clients)
        return None if found is None else [member.name for member in found]

    def online(self) -> dict[int, int]:
        self.now += 1
        return dict(self.members.online())


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> Joining:
    return Joining(monkeypatch)


def test_the_roster_is_complete_when_so_many_have_joined(joining: Joining) -> None:
    joining.grid.scripts = {11: node("b", key_of(1))}
    assert joining.names(2) is None
    joining.grid.scripts[22] = node("a", key_of(0))
    assert joining.names(2) == ["a", "b"]
    found = joining.members.complete(2)
    assert found == [Member(0, "a", public(key_of(0))), Member(1, "b", public(key_of(1)))]
    assert joining.members.joined == 2


def test_names_are_in_the_order_of_their_numbers(joining: Joining) -> None:
    names = ["client-10", "client-9", "client-1", "b2", "b10a", "b10", "2", "10"]
    joining.grid.scripts = {index + 1: node(name, key_of(index)) for index, name in enumerate(names)}
    expected = ["2", "10", "b2", "b10", "b10a", "client-1", "client-9", "client-10"]
    assert joining.names(len(names)) == expected


@pytest.mark.parametrize("name", ["1" * 64, "9" * 30 + "a", "0-00.0_0", "a"])
def test_any_name_that_the_wire_lets_through_can_be_ordered(joining: Joining, name: str) -> None:
    """A stranger's name must not end the server."""
    joining.grid.scripts = {1: node(name, key_of(1)), 2: node("client-1", key_of(0)), 3: node("client-2", key_of(2))}
    assert joining.names(1) is not None


@pytest.mark.parametrize("name", ["²", "client-²", "٣", "①", "zürich", "a b", "\x00", "\x1b[2Jclinic", "../a", "-a"])
def test_the_wire_lets_no_other_names_through(name: str) -> None:
    made = Request(run=RUN, experiment=EXPERIMENT.hash, round=0, step="join", attempt=1, client=-1, payload=inline(b""))
    with pytest.raises(ValidationError):
        reply_to(made, signer=key_of(1), name=name, key=public(key_of(1)))


@pytest.mark.parametrize("said", ["\x1b[2Jclinic", "clinic\nadmin has joined", "a\rb", "\u202egnp.exe"])
def test_what_a_stranger_says_does_not_steer_the_terminal(joining: Joining, said: str) -> None:
    joining.grid.scripts = {2: node("b", key_of(2), status="refused", detail=said)}
    joining.names(1)
    assert all(event.isprintable() for event in joining.events)


def test_each_node_is_asked_for_its_own_signature_over_a_fresh_nonce(joining: Joining) -> None:
    joining.grid.scripts = {index: silent for index in range(1, 6)}
    joining.names(1)
    requests = [request for _, request in joining.grid.asked]
    assert len({request.attempt for request in requests}) == 5
    assert {request.experiment for request in requests} == {EXPERIMENT.hash}
    assert {request.client for request in requests} == {-1}


def turned_away(joining: Joining) -> bool:
    return joining.names(1) is None and joining.members.joined == 0


def test_a_key_that_is_not_the_signers_is_turned_away(joining: Joining) -> None:
    joining.grid.scripts = {1: node("a", key_of(5), key=public(key_of(0)))}
    assert turned_away(joining)
    assert "turned away" in joining.events[-1]


def test_an_answer_without_a_signature_is_turned_away(joining: Joining) -> None:
    joining.grid.scripts = {1: lambda r, _: [reply_to(r, signer=None, name="a", key=public(key_of(0)))]}
    assert turned_away(joining)


def test_an_answer_without_a_key_is_turned_away(joining: Joining) -> None:
    joining.grid.scripts = {1: lambda r, _: [reply_to(r, signer=key_of(0), name="a")]}
    assert turned_away(joining)


@pytest.mark.parametrize(
    "changes",
    [{"attempt": 1}, {"run": "f" * 16}, {"experiment": "cd" * 32}, {"step": "train"}, {"client": 0}, {"round": 1}],
)
def test_an_answer_to_another_question_is_turned_away(joining: Joining, changes: dict[str, Any]) -> None:
    joining.grid.scripts = {1: node("a", key_of(0), **changes)}
    assert turned_away(joining)


def test_a_replayed_answer_is_turned_away(joining: Joining) -> None:
    """Whoever saw a node join cannot join in its name."""
    seen: list[Any] = []

    def watched(request: Request, content: bytes) -> list[Any]:
        seen.extend(node("a", key_of(0))(request, content))
        return seen[:1]

    joining.grid.scripts = {1: watched}
    assert joining.names(1) == ["a"]
    joining.grid.scripts = {2: lambda *_: seen[:1]}
    joining.names(1)
    assert joining.members.joined == 0


def test_an_answer_without_a_name_is_turned_away(joining: Joining) -> None:
    joining.grid.scripts = {1: node("", key_of(0))}
    assert turned_away(joining)


def test_a_node_that_refuses_is_told_of_and_not_joined(joining: Joining) -> None:
    joining.grid.scripts = {1: node("a", key_of(0), status="refused", detail="the policy says no")}
    assert turned_away(joining)
    assert joining.events == ["a does not join: the policy says no"]
    assert joining.refused == [("a", "the policy says no")]


def test_an_error_of_the_link_is_no_answer(joining: Joining) -> None:
    joining.grid.scripts = {1: lambda *_: [Error(code=1, reason="gone")]}
    assert turned_away(joining)
    assert joining.events == []


def test_only_those_on_the_roster_join_with_their_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = Joining(monkeypatch, admitted={"a": public(key_of(0)), "b": public(key_of(1))})
    joining.grid.scripts = {1: node("a", key_of(5)), 2: node("stranger", key_of(6)), 3: node("b", key_of(1))}
    assert joining.names(2) is None
    assert joining.members.joined == 1
    assert any("another key" in event for event in joining.events)
    assert any("not on the roster" in event for event in joining.events)
    joining.grid.scripts[4] = node("a", key_of(0))
    assert joining.names(2) == ["a", "b"]


def test_a_name_that_has_joined_keeps_its_key(joining: Joining) -> None:
    joining.grid.scripts = {1: node("a", key_of(0))}
    assert joining.names(1) == ["a"]
    joining.grid.scripts[2] = node("a", key_of(5))
    joining.names(1)
    assert joining.members.complete(1) == [Member(0, "a", public(key_of(0)))]


def test_a_resumed_roster_takes_its_own_members_alone_and_finds_them_by_key(joining: Joining) -> None:
    joining.members.enrolled([Member(0, "a", public(key_of(0))), Member(1, "b", public(key_of(1)))])
    joining.grid.scripts = {
        55: node("b", key_of(1)),
        44: node("a", key_of(9)),
        33: node("c", key_of(2)),
        66: node("a", key_of(0)),
    }
    assert joining.online() == {0: 66, 1: 55}
    assert joining.members.key(0) == public(key_of(0))
    assert joining.members.name(1) == "b"


def test_a_member_is_online_where_it_joined_last(joining: Joining) -> None:
    joining.members.enrolled([Member(0, "a", public(key_of(0)))])
    joining.grid.scripts = {1: node("a", key_of(0))}
    assert joining.online() == {0: 1}
    joining.grid.scripts = {}
    assert joining.online() == {}
    joining.grid.scripts = {9: node("a", key_of(0))}
    assert joining.online() == {0: 9}


def test_a_silent_node_is_asked_again_after_a_while(joining: Joining) -> None:
    joining.grid.scripts = {1: silent}
    for _ in range(5):
        joining.names(1)
    assert len(joining.grid.asked) == 1
    joining.now += roster_module.JOIN_RETRY
    joining.names(1)
    assert len(joining.grid.asked) == 2


def test_a_node_that_has_joined_is_not_asked_again(joining: Joining) -> None:
    joining.grid.scripts = {1: node("a", key_of(0))}
    for _ in range(5):
        joining.names(1)
        joining.now += roster_module.JOIN_RETRY
    assert len(joining.grid.asked) == 1
