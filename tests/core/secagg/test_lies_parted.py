"""A coordinator that tells honest clients different things: whatever its colluders sign, one part at most opens."""

import itertools
from collections.abc import Iterator

import pytest
from tests.core.secagg.lies import agreement, commitments, headers, quorum, reheaded, survivors, work
from tests.core.secagg.members import digest, key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step

from leptonic.errors import BadSignature, BelowThreshold, InconsistentCohort, ProtocolError
from leptonic.secagg.binding import signed
from leptonic.secagg.encoding import decoded
from leptonic.secagg.messages import Signed, SurvivorSet

Part = tuple[bytes, ...]


def halves(size: int, colluders: int) -> Iterator[tuple[Part, Part, Part]]:
    """Every way to part the honest clients in two, and the colluders: the last ones."""
    names = [name_of(number) for number in range(size)]
    honest, colluding = names[: size - colluders], tuple(names[size - colluders :])
    for count in range(len(honest) // 2 + 1):
        for one in itertools.combinations(honest, count):
            yield one, tuple(name for name in honest if name not in one), colluding


def collected(play: Play, part: Part, colluding: Part, lie: bytes, statement: SurvivorSet) -> dict[bytes, bytes]:
    """The signatures that a part gives to what it is told, and the colluders'."""
    signatures = {name: decoded(Signed, play.ask(Step.AGREE, name, lie).content).signature for name in part}
    return signatures | {name: signed(key_of(name), statement) for name in colluding}


def opens(play: Play, part: Part, lie: bytes) -> bool:
    """Whether clients release shares for these signatures; all of them do, or none."""
    released = []
    for name in part:
        try:
            released.append(bool(play.ask(Step.UNMASK, name, lie).content))
        except BelowThreshold:
            released.append(False)
    assert len(set(released)) <= 1
    return any(released)


@pytest.mark.parametrize(("size", "colluders"), [(4, 1), (5, 1), (6, 2), (7, 1)])
def test_of_two_sets_of_survivors_one_at_most_is_opened(size: int, colluders: int) -> None:
    cast, needed = Cast(size, colluders=colluders), (size + colluders) // 2 + 1
    for number, (one, other, colluding) in enumerate(halves(size, colluders)):
        play = cast.play(b"model %d" % number).until(Step.AGREE)
        everybody = headers(play)
        # The other part is told that a client did not survive whose input the first part is told is counted.
        told = [
            survivors(play, everybody),
            survivors(play, {name: each for name, each in everybody.items() if name != cast.names[0]}),
        ]
        opened = []
        for part, lie in zip((one, other), told, strict=True):
            statement = agreement(lie, play.summing.view)
            opened.append(opens(play, part, quorum(statement, collected(play, part, colluding, lie, statement))))
        assert opened != [True, True]
        assert opened == [len(part) + colluders >= needed for part in (one, other)]


def test_signatures_of_two_sets_do_not_add_up() -> None:
    play = Cast(5).play().until(Step.AGREE)
    names, everybody = play.cast.names, headers(play)
    whole = survivors(play, everybody)
    lacking = survivors(play, {name: each for name, each in everybody.items() if name != names[0]})
    view = play.summing.view
    both = collected(play, names[:2], (), whole, agreement(whole, view))
    both |= collected(play, names[2:4], names[4:], lacking, agreement(lacking, view))
    for lie, part in ((whole, names[:2]), (lacking, names[2:4])):
        for name in part:
            with pytest.raises(BadSignature):
                play.ask(Step.UNMASK, name, quorum(agreement(lie, view), both))


def parted(play: Play, one: Part, lie: str) -> None:
    """Everybody masks; those of one part were told of other sharers, another payload or another record."""
    without = {name: each for name, each in commitments(play).items() if name != play.cast.names[-2]}
    for name in play.cast.names:
        content, payload = play.message(Step.MASK, name), play.payload
        if name in one:
            if lie == "sharers":
                content = work(play, name, without)
            elif lie == "record":
                content = work(play, name, commitments(play), record=digest(b"another record"))
            else:
                payload = digest(b"another payload")
        play.train(name, content, payload=payload)
        play.mask(name)


@pytest.mark.parametrize("lie", ["sharers", "payload", "record"])
def test_of_two_views_one_at_most_is_opened(lie: str) -> None:
    cast = Cast(5)
    honest, colluder = cast.names[:4], cast.names[4]
    for count in (1, 2, 3):
        play, parts = cast.play(b"model %d" % count).until(Step.MASK), (honest[:count], honest[count:])
        parted(play, parts[0], lie)
        opened = []
        for part in parts:
            view = headers(play)[part[0]].header.view
            # The colluder says whatever fits.
            counted = {name: headers(play)[name] for name in part} | {colluder: reheaded(play, colluder, view=view)}
            told = survivors(play, counted)
            try:
                signatures = collected(play, part, (colluder,), told, agreement(told, view))
            except BelowThreshold:
                opened.append(False)
            else:
                opened.append(opens(play, part, quorum(agreement(told, view), signatures)))
        assert opened == [len(part) == 3 for part in parts]


@pytest.mark.parametrize("lie", ["sharers", "payload", "record"])
def test_survivors_of_two_views_are_signed_by_nobody(lie: str) -> None:
    play = Cast(5).play().until(Step.MASK)
    honest = play.cast.names[:4]
    parted(play, honest[:2], lie)
    told = survivors(play, headers(play))
    for name in honest:
        before = list(play.cast.clients[name].journal.notes)
        with pytest.raises(InconsistentCohort):
            play.ask(Step.AGREE, name, told)
        assert play.cast.clients[name].journal.notes == before


def test_a_real_coordinator_adds_nothing_of_another_view() -> None:
    play = Cast(6).play().until(Step.MASK)
    parted(play, play.cast.names[:1], "payload")
    with pytest.raises(InconsistentCohort):
        play.take(Step.MASK, play.cast.names[0], play.answers[Step.MASK][play.cast.names[0]])
    for name in play.cast.names[1:]:
        play.take(Step.MASK, name, play.answers[Step.MASK][name])
    play.close(Step.MASK)
    assert play.cast.names[0] not in play.agreeing.survivors


def test_a_client_that_was_told_of_other_survivors_cannot_be_talked_into_the_true_ones() -> None:
    play = Cast(5).play().until(Step.AGREE)
    victim = play.cast.names[1]
    lacking = survivors(play, {name: each for name, each in headers(play).items() if name != play.cast.names[0]})
    first = play.ask(Step.AGREE, victim, lacking)
    with pytest.raises(ProtocolError):
        play.ask(Step.AGREE, victim)
    assert play.ask(Step.AGREE, victim, lacking) == first
    assert [note[0] for note in play.cast.clients[victim].journal.notes].count("agree") == 1
    assert decoded(Signed, first.content).client == victim
