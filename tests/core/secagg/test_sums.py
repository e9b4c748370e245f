"""The sum is exact, word for word, whoever drops out and wherever, down to the threshold; beneath it nothing opens."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.secagg.members import Update, name_of
from tests.core.secagg.parties import FIRST_RECORD, Cast, Step, assert_exact

from leptonic.errors import BelowThreshold, ReplayedSession
from leptonic.integers import from_fixed, to_fixed
from leptonic.secagg.expansion import Here
from leptonic.secagg.standing import Policy

STAYS = 6
"""After the last step: who stays to the end."""
Schedule = dict[bytes, Step]


def fate(drops: Mapping[bytes, Step], size: int, colluders: int) -> int:
    """The step at which a session must fail, by the specification's bounds; STAYS if it ends in a sum."""

    def there(step: int) -> int:
        return size - sum(at <= step for at in drops.values())

    cohort = there(Step.ADVERTISE)
    quorum = (cohort + colluders) // 2 + 1
    needed = max(quorum, colluders + 2)
    if cohort < max(3, needed):
        return Step.ADVERTISE
    for step in (Step.SHARE, Step.MASK):
        if there(step) < needed:
            return step
    if there(Step.AGREE) < quorum:
        return Step.AGREE
    # Shares are needed of a key for each who dropped, of a seed for each survivor who fell silent.
    missing = there(Step.UNMASK) < there(Step.SHARE)
    return Step.UNMASK if missing and there(Step.UNMASK) < quorum else STAYS


def check(cast: Cast, drops: Schedule, colluders: int, payload: bytes) -> None:
    """A session with these drop-outs ends as the specification says."""
    play, failing = cast.play(payload), fate(drops, len(cast.names), colluders)
    if failing == STAYS:
        opened = play.run(drops)
        assert_exact(cast, opened, {name for name in cast.names if drops.get(name, STAYS) > Step.MASK})
        assert opened.suspects == frozenset()
        return
    play.until(Step(failing), drops)
    with pytest.raises(BelowThreshold):
        play.step(Step(failing), [name for name, at in drops.items() if at == failing])


def schedules(size: int, colluders: int) -> Iterator[Schedule]:
    """Every pattern of drop-outs, but for what comes after the session has failed."""
    seen = set()
    for pattern in itertools.product((*Step, STAYS), repeat=size):
        drops = {name_of(number): Step(at) for number, at in enumerate(pattern) if at != STAYS}
        failing = fate(drops, size, colluders)
        told = tuple((name, at) for name, at in drops.items() if at <= failing)
        if told not in seen:
            seen.add(told)
            yield dict(told)


@pytest.mark.parametrize(("size", "colluders", "opened"), [(3, 0, 13), (3, 1, 1), (4, 1, 21)])
def test_every_pattern_of_drop_outs_ends_in_the_exact_sum_or_below_the_threshold(
    size: int, colluders: int, opened: int
) -> None:
    cast = Cast(size, colluders=colluders, policy=Policy(survivors=2, colluders=colluders))
    ends = []
    for number, drops in enumerate(schedules(size, colluders)):
        check(cast, drops, colluders, b"model %d" % number)
        ends.append(fate(drops, size, colluders))
    assert ends.count(STAYS) == opened
    assert set(ends) >= {Step.ADVERTISE, Step.SHARE, Step.MASK, Step.AGREE, STAYS}


def test_every_pattern_that_five_can_bear_ends_in_the_exact_sum() -> None:
    cast = Cast(5)
    borne = [drops for drops in schedules(5, 1) if fate(drops, 5, 1) == STAYS]
    assert len(borne) == 116
    for number, drops in enumerate(borne):
        check(cast, drops, 1, b"model %d" % number)


def test_every_kind_of_pattern_that_five_cannot_bear_is_below_the_threshold() -> None:
    cast = Cast(5)
    kinds = {tuple(sorted(drops.values())): drops for drops in schedules(5, 1) if fate(drops, 5, 1) != STAYS}
    for number, drops in enumerate(kinds.values()):
        check(cast, drops, 1, b"model %d" % number)


def drop_outs(size: int, most: int) -> st.SearchStrategy[Schedule]:
    return st.dictionaries(
        st.sampled_from([name_of(number) for number in range(size)]), st.sampled_from(Step), max_size=most
    )


@given(drops=drop_outs(10, 5))
@settings(max_examples=15)
def test_ten_with_any_drop_outs(drops: Schedule) -> None:
    check(Cast(10, colluders=3), drops, 3, b"model")


@given(drops=drop_outs(20, 8))
@settings(max_examples=5)
def test_twenty_with_any_drop_outs(drops: Schedule) -> None:
    check(Cast(20, colluders=6), drops, 6, b"model")


@pytest.mark.parametrize("words", [1, 5, 123])
@pytest.mark.parametrize("bits", [8, 16, 20, 24, 31, 32])
def test_sums_of_signed_words_of_any_width(bits: int, words: int) -> None:
    cast = Cast(4, bits=bits, words=words, seed=bits)
    dropping = cast.names[2]
    opened = cast.play().run({dropping: Step.MASK})
    assert_exact(cast, opened, set(cast.names) - {dropping})


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("bits", [8, 16, 20, 24, 31, 32])
def test_everybody_at_either_end_does_not_wrap(bits: int, sign: int) -> None:
    cast, bound = Cast(4, bits=bits), (2 ** (bits - 1) - 1) // 4
    for client in cast.clients.values():
        client.update = Update(np.full(21, sign * bound, np.int64), np.array([sign * 2**60, sign], np.int64))
    opened = cast.play().run()
    assert_exact(cast, opened, cast.names)
    assert opened.words.view(np.int32).tolist() == [4 * sign * bound] * 21


def test_weights_and_metrics_come_back_to_their_last_step() -> None:
    cast = Cast(5, sums=3)
    reals = [[weight, -weight / 3, 2.0**-20 * weight] for weight in (1.0, 600.0, 13.0, 0.5, 77.0)]
    for client, values in zip(cast.clients.values(), reals, strict=True):
        client.update = Update(client.update.words, to_fixed(values).view(np.int64))
    opened = cast.play().run({cast.names[1]: Step.MASK})
    rows = [to_fixed(values).view(np.int64).tolist() for number, values in enumerate(reals) if number != 1]
    assert (from_fixed(opened.sums) * 2**20).tolist() == [sum(column) for column in zip(*rows, strict=True)]


def test_a_masked_input_that_came_too_late_is_not_in_the_sum_and_its_client_helps_to_open_it() -> None:
    cast = Cast(4)
    late, play = cast.names[1], cast.play().until(Step.MASK)
    for name in cast.names:
        answer = play.ask(Step.MASK, name)
        if name != late:
            play.take(Step.MASK, name, answer)
    play.close(Step.MASK)
    play.step(Step.AGREE)
    assert [play.sessions[name].state.counted for name in cast.names] == [True, False, True, True]
    play.step(Step.UNMASK)
    assert_exact(cast, play.result, set(cast.names) - {late})


def test_nobody_needs_to_be_waited_for_once_shares_and_seeds_are_there() -> None:
    cast = Cast(4)
    play = cast.play().until(Step.UNMASK, {cast.names[3]: Step.MASK})
    for name in cast.names[:3]:
        assert not play.unmasking.complete
        play.take(Step.UNMASK, name, play.ask(Step.UNMASK, name))
    assert play.unmasking.complete
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names[:3])


def test_a_sum_that_lacked_shares_opens_when_they_come() -> None:
    cast = Cast(5)
    play = cast.play().until(Step.UNMASK, {cast.names[4]: Step.MASK})
    for name in cast.names[:3]:
        play.take(Step.UNMASK, name, play.ask(Step.UNMASK, name))
    with pytest.raises(BelowThreshold):
        play.close(Step.UNMASK)
    play.take(Step.UNMASK, cast.names[3], play.ask(Step.UNMASK, cast.names[3]))
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names[:4])


def test_sums_of_nothing_are_opened_too() -> None:
    cast = Cast(4, words=0, sums=1)
    assert_exact(cast, cast.play().run(), cast.names)
    cast = Cast(4, words=3, sums=0)
    assert_exact(cast, cast.play().run({cast.names[0]: Step.UNMASK}), cast.names)


def test_opening_a_sum_once_more_does_not_change_it() -> None:
    cast = Cast(4)
    play = cast.play()
    opened = play.run({cast.names[0]: Step.MASK})
    with suppress(ReplayedSession):
        play.unmasking.open(Here(), FIRST_RECORD)
    assert_exact(cast, opened, cast.names[1:])
