"""A client of a Flower app whose messages are repeated, or lied about: it refuses by name, and nothing leaves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from tests.simulations.flower_apps.secure_federation import (
    STEPS,
    Federation,
    Nodes,
    app,
    fedavg,
    initial,
    ran,
    sum_of,
)
from tests.simulations.flower_apps.test_secure_apps import same_bits

from leptonic.errors import (
    BadShare,
    BadSignature,
    BelowThreshold,
    DecodeError,
    ExperimentError,
    InconsistentCohort,
    PolicyRefused,
    ReplayedSession,
)
from leptonic.flower.content import moved
from leptonic.flower.terms import Terms
from leptonic.flower.wire import RECORD
from leptonic.identity import signing_key
from leptonic.secagg.binding import signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import CohortList, Consistency, Introduction, Open, SurvivorList, Train, Unmask
from leptonic_client.flower import secure_aggregation
from leptonic_simulations.flower_apps.clients import copied

COUNT, VICTIM = 6, 1
STATE = "session"


def answer(nodes: Nodes, message: Message) -> Message | Exception:
    return next(iter(nodes.answer([message])))


def asked(nodes: Nodes, step: str, number: int = VICTIM) -> Message:
    """The message of a step that this node was last asked, to be asked again."""
    found = [message for at, who, message in nodes.asked if (at, who) == (step, number)][-1]
    return Message(copied(found.content), metadata=found.metadata)


def altered(message: Message, change: Callable[[bytes], bytes]) -> None:
    record = message.content[RECORD]
    message.content[RECORD] = ConfigRecord({**record, "content": change(record["content"])})


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("change", [lambda content: content, flipped], ids=["same", "other"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_from_a_stale_state_is_refused_and_the_round_goes_on(tmp_path: Path, step: str, change: Any) -> None:
    """As if the app's state were put back: between its own answer and the next step, and after the session."""
    federation = Federation(tmp_path, COUNT)
    nodes = federation.nodes()
    stale: dict[str, RecordDict] = {}
    outcomes: list[Message | Exception] = []

    def again() -> None:
        now, nodes.between = nodes.state(VICTIM), nothing
        message = asked(nodes, step)
        altered(message, change)
        nodes.put_back(VICTIM, stale[step])
        outcomes.append(answer(nodes, message))
        nodes.put_back(VICTIM, now)
        nodes.between = between

    def between(at: str, number: int, message: Message) -> None:
        if number == VICTIM:
            stale[at] = copied(nodes.state(VICTIM))
        elif step in stale and any((step, VICTIM) == (done, who) for done, who, _ in nodes.replied):
            again()

    nodes.between = between
    result = ran(nodes, federation.strategy(fedavg(fraction_train=1.0)))
    nodes.between = between
    again()
    assert outcomes
    assert all(isinstance(outcome, ReplayedSession | DecodeError | InconsistentCohort) for outcome in outcomes)
    if change is not flipped:
        assert all(isinstance(outcome, ReplayedSession) for outcome in outcomes)
    same_bits(result.arrays, moved(initial(), sum_of(initial(), list(range(COUNT)), COUNT).vectors["model"]))


def nothing(step: str, number: int, message: Message) -> None: ...


def lied(folder: Path, step: str, lie: Callable[[Message], None], **more: Any) -> tuple[Nodes, Any]:
    """A round in which one client is lied to in one step."""
    federation = Federation(folder, COUNT)
    nodes = federation.nodes()

    def between(at: str, number: int, message: Message) -> None:
        if (at, number) == (step, VICTIM):
            lie(message)

    nodes.between = between
    result = ran(nodes, federation.strategy(**more))
    return nodes, result


def refusal(nodes: Nodes, step: str) -> Exception:
    """Why the client refused; it has said nothing from this step on."""
    later = STEPS[STEPS.index(step) :]
    assert not [at for at, number, _ in nodes.replied if number == VICTIM and at in later]
    return next(error for at, number, error in nodes.refused if (at, number) == (step, VICTIM))


def survivors(change: Callable[[Consistency], Consistency]) -> Callable[[Message], None]:
    return lambda message: altered(message, lambda content: encoded(change(decoded(Consistency, content))))


def without(count: int) -> Callable[[Consistency], Consistency]:
    """The survivors but the last few, whose headers are left out too."""

    def fewer(shown: Consistency) -> Consistency:
        left = shown.survivors.survivors[:-count]
        names = {each.client for each in left}
        headers = tuple(each for each in shown.headers if each.client in names)
        return Consistency(SurvivorList(shown.survivors.session, left), headers)

    return fewer


def exchanged(shown: Consistency) -> Consistency:
    """Another's header counts as that of somebody else."""
    first, *others = shown.survivors.survivors
    swapped = (replace(first, digest=others[0].digest), *others)
    return Consistency(replace(shown.survivors, survivors=swapped), shown.headers)


@pytest.mark.parametrize(
    ("change", "error"), [(without(2), BelowThreshold), (exchanged, InconsistentCohort)], ids=["few", "exchanged"]
)
def test_altered_survivors_are_not_signed(tmp_path: Path, change: Any, error: type[Exception]) -> None:
    nodes, result = lied(tmp_path, "agree", survivors(change))
    assert isinstance(refusal(nodes, "agree"), error)
    # The others are enough, and the client's own input stays in the sum.
    same_bits(result.arrays, moved(initial(), sum_of(initial(), list(range(COUNT)), COUNT).vectors["model"]))
    message = asked(nodes, "agree")
    assert isinstance(answer(nodes, message), ReplayedSession)


def test_who_has_signed_another_set_releases_nothing(tmp_path: Path) -> None:
    """A smaller set that would do is shown to one client, and the others' signatures after it."""
    nodes, _ = lied(tmp_path, "agree", survivors(without(1)))
    assert "agree" in [at for at, number, _ in nodes.replied if number == VICTIM]
    assert isinstance(refusal(nodes, "unmask"), BadSignature)


def cohort(folder: Path) -> Callable[[Message], None]:
    """The cohort without its last client, signed by the coordinator itself."""

    def lie(content: bytes) -> bytes:
        shown = decoded(Introduction, content)
        fewer = CohortList(shown.cohort.opening, shown.cohort.members[:-1])
        key = signing_key(folder / "coordinator.key", "the coordinator's")
        return encoded(Introduction(fewer, signed(key, fewer), shown.advertisements[:-1]))

    return lambda message: altered(message, lie)


def test_who_was_shown_another_cohort_is_in_no_sum_with_the_others(tmp_path: Path) -> None:
    nodes, result = lied(tmp_path, "share", cohort(tmp_path))
    assert "share" in [at for at, number, _ in nodes.replied if number == VICTIM]
    assert not [at for at, number, _ in nodes.replied if number == VICTIM and at in ("train", "agree", "unmask")]
    left = [number for number in range(COUNT) if number != VICTIM]
    same_bits(result.arrays, moved(initial(), sum_of(initial(), left, COUNT).vectors["model"]))


def train_with(**changes: Any) -> Callable[[Message], None]:
    return lambda message: altered(message, lambda content: encoded(replace(decoded(Train, content), **changes)))


def smaller(message: Message) -> None:
    from flwr.app import ArrayRecord

    message.content["arrays"] = ArrayRecord({"w": message.content["arrays"]["w"]})


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (train_with(record=b"r" * 32), InconsistentCohort),
        (train_with(session=b"s" * 32), InconsistentCohort),
        (train_with(boxes=()), BadShare),
        (smaller, InconsistentCohort),
        (lambda message: altered(message, flipped), DecodeError),
    ],
    ids=["record", "session", "boxes", "model", "bytes"],
)
def test_no_work_is_done_after_the_lie_of(tmp_path: Path, lie: Any, error: Any) -> None:
    nodes, _ = lied(tmp_path, "train", lie)
    assert isinstance(refusal(nodes, "train"), error)


def opened(**changes: Any) -> Callable[[Message], None]:
    return lambda message: altered(message, lambda content: encoded(replace(decoded(Open, content), **changes)))


def settings(**changes: Any) -> Callable[[Message], None]:
    def change(content: bytes) -> bytes:
        opening = decoded(Open, content)
        return encoded(replace(opening, settings=replace(opening.settings, **changes)))

    return lambda message: altered(message, change)


def other_terms(message: Message) -> None:
    terms = Terms.of(update_range=8.0, weight_cap=1, weighted_by="num-examples", metrics=["loss", "other"])
    message.content[RECORD] = ConfigRecord({**message.content[RECORD], "terms": encoded(terms)})


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (opened(run=b"another"), InconsistentCohort),
        (opened(phase=1), InconsistentCohort),
        (opened(federation=b"another"), InconsistentCohort),
        (opened(roster=bytes(32)), InconsistentCohort),
        (opened(experiment=bytes(32)), InconsistentCohort),
        (other_terms, InconsistentCohort),
        (settings(lying=0), PolicyRefused),
        (settings(sums=7), InconsistentCohort),
        (settings(words=0), InconsistentCohort),
        (settings(bits=40), InconsistentCohort),
    ],
    ids=["run", "phase", "federation", "roster", "hash", "terms", "curious", "sums", "words", "bits"],
)
def test_nothing_is_advertised_after_the_lie_of(tmp_path: Path, lie: Any, error: type[Exception]) -> None:
    nodes, _ = lied(tmp_path, "open", lie)
    assert isinstance(refusal(nodes, "open"), error)


def test_fewer_signatures_than_a_quorum_release_nothing(tmp_path: Path) -> None:
    def few(content: bytes) -> bytes:
        unmask = decoded(Unmask, content)
        return encoded(Unmask(unmask.session, unmask.signatures[:4]))

    nodes, _ = lied(tmp_path, "unmask", lambda message: altered(message, few))
    assert isinstance(refusal(nodes, "unmask"), BelowThreshold)


def test_colluders_below_the_owners_number_share_nothing(tmp_path: Path) -> None:
    federation = Federation(tmp_path, COUNT)
    nodes = federation.nodes()
    assert not ran(nodes, federation.strategy(colluders=1)).arrays
    assert {(at, type(error)) for at, _, error in nodes.refused} == {("share", PolicyRefused)}


def test_the_same_model_is_answered_once_in_a_run(tmp_path: Path) -> None:
    """A sum was opened: who asks the same again would learn what one client more or less makes of it."""
    federation = Federation(tmp_path, COUNT)
    nodes = federation.nodes()
    assert ran(nodes, federation.strategy()).arrays
    nodes.replied.clear()
    assert not ran(nodes, federation.strategy()).arrays
    assert {(at, type(error)) for at, _, error in nodes.refused} == {("train", ReplayedSession)}
    assert not [at for at, _, _ in nodes.replied if at == "train"]


def test_who_has_given_a_session_up_signs_no_survivors(tmp_path: Path) -> None:
    federation = Federation(tmp_path, COUNT)
    nodes = federation.nodes()

    def between(at: str, number: int, message: Message) -> None:
        if (at, number) == ("agree", VICTIM):
            session = decoded(Consistency, message.content[RECORD]["content"]).survivors.session
            record = {"step": "abort", "content": session, "roster": federation.roster.read_bytes()}
            again = Message(RecordDict({RECORD: ConfigRecord(record)}), metadata=message.metadata)
            nodes.between = nothing
            assert isinstance(answer(nodes, again), Message)
            nodes.between = between

    nodes.between = between
    ran(nodes, federation.strategy())
    assert isinstance(next(error for at, number, error in nodes.refused if at == "agree"), ReplayedSession)
    assert not [at for at, number, _ in nodes.replied if number == VICTIM and at in ("agree", "unmask")]


def test_a_state_that_somebody_alters_or_exchanges_is_not_opened(tmp_path: Path) -> None:
    federation = Federation(tmp_path, COUNT)
    nodes = federation.nodes()

    def between(at: str, number: int, message: Message) -> None:
        if at == "train" and number == VICTIM:
            sealed = nodes.state(VICTIM)[RECORD][STATE]
            nodes.put_back(VICTIM, RecordDict({RECORD: ConfigRecord({STATE: flipped(sealed)})}))
        if at == "train" and number == VICTIM + 1:
            nodes.put_back(number, copied(nodes.state(VICTIM + 2)))

    nodes.between = between
    ran(nodes, federation.strategy())
    why = {number: error for at, number, error in nodes.refused if at == "train"}
    assert isinstance(why[VICTIM], DecodeError)
    assert isinstance(why[VICTIM + 1], ReplayedSession)


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("home", ExperimentError, "whole path"),
        ("authority", BadSignature, "another authority"),
        ("[secure]", PolicyRefused, "no [secure] table"),
        ("", PolicyRefused, "leptonic-node"),
    ],
)
def test_a_node_takes_part_as_its_own_file_says(tmp_path: Path, line: str, error: type[Exception], says: str) -> None:
    federation = Federation(tmp_path, COUNT)
    file = tmp_path / f"node-{VICTIM}.toml"
    lines = file.read_text().splitlines()
    match line:
        case "home":
            lines = ['home = "nodes/here"' if each.startswith("home") else each for each in lines]
        case "authority":
            lines = [f'authority = "{"ab" * 32}"' if each.startswith("authority") else each for each in lines]
        case "[secure]":
            lines = lines[: lines.index("[secure]")]
        case _:
            federation.configs[VICTIM].clear()
    file.write_text("\n".join(lines) + "\n")
    nodes = federation.nodes()
    result = ran(nodes, federation.strategy())
    assert says in str(refusal(nodes, "open"))
    assert isinstance(refusal(nodes, "open"), error)
    assert result.arrays


def test_the_mod_lets_no_other_step_through(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    nodes = federation.nodes(app(secure_aggregation))
    ran(nodes, federation.strategy())
    message = asked(nodes, "open", 0)
    message.content[RECORD] = ConfigRecord({**message.content[RECORD], "step": "steal"})
    assert isinstance(answer(nodes, message), DecodeError)
    message = Message(RecordDict({RECORD: ConfigRecord({"step": "open"})}), metadata=message.metadata)
    assert isinstance(answer(nodes, message), DecodeError)
