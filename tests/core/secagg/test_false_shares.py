"""Clients that release false shares or seeds: the sum is exact as long as true ones suffice, and liars are named."""

from collections.abc import Callable, Collection
from math import prod

import pytest
from tests.core.secagg.lies import dealt
from tests.core.secagg.members import digest
from tests.core.secagg.parties import Answer, Cast, Play, Step, assert_exact

from leptonic.errors import BadShare, BelowThreshold, LeptonicError
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Released, SharesReleased
from leptonic.secagg.shamir import PRIME, SHARE_BYTES, recovered, split

ShareLie = Callable[[bytes], bytes]

LIES: dict[str, ShareLie] = {
    "another": lambda share: digest(share) + b"\0",
    "zero": lambda share: bytes(SHARE_BYTES),
    "outside the field": lambda share: b"\xff" * SHARE_BYTES,
}


def released(play: Play, name: bytes, lie: ShareLie | None = None, seed: bytes | None = None) -> Answer:
    """What a client releases, but for a lie in each of its shares, or for another seed."""
    honest = decoded(SharesReleased, play.ask(Step.UNMASK, name).content)
    shares = tuple(Released(each.client, lie(each.share) if lie else each.share) for each in honest.shares)
    return Answer(encoded(SharesReleased(honest.session, name, shares, honest.seed if seed is None else seed)))


def unmask(play: Play, liars: Collection[bytes], lie: ShareLie, silent: Collection[bytes] = ()) -> None:
    for name in play.present:
        if name not in silent:
            play.take(Step.UNMASK, name, released(play, name, lie if name in liars else None))
    play.close(Step.UNMASK)


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("liar", [0, 4, 8])
def test_a_false_share_of_a_dropped_key_is_found_out(liar: int, kind: str) -> None:
    # 9 shares, of which 7 are needed: half of the others may be false.
    cast = Cast(10, colluders=3)
    play = cast.play().until(Step.UNMASK, {cast.names[9]: Step.MASK})
    unmask(play, [cast.names[liar]], LIES[kind])
    assert_exact(cast, play.result, cast.names[:9])
    assert play.result.suspects == {(cast.names[9], cast.names[liar])}


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("liars", [(0, 1), (3, 5), (7, 8)])
def test_two_false_shares_of_nine_open_the_exact_sum_or_nothing(liars: tuple[int, ...], kind: str) -> None:
    cast = Cast(10, colluders=3)
    play = cast.play().until(Step.UNMASK, {cast.names[9]: Step.MASK})
    try:
        unmask(play, [cast.names[liar] for liar in liars], LIES[kind])
    except BadShare:
        assert not hasattr(play, "result")
    else:
        assert_exact(cast, play.result, cast.names[:9])
        assert play.result.suspects <= {(cast.names[9], cast.names[liar]) for liar in liars}


def test_enough_colluders_can_have_an_honest_neighbour_suspected_and_change_nothing() -> None:
    # Which is why nobody is punished on suspicion. What they add to their shares is a polynomial that is zero at 0 and
    # at all honest places but the victim's: the shares lie on another curve through the same key, all but the victim's.
    cast = Cast(10, colluders=3)
    dropped, victim = cast.names[9], cast.names[3]
    play = cast.play().until(Step.UNMASK, {dropped: Step.MASK})

    def moved(place: int, share: bytes) -> bytes:
        move = place * prod(place - other for other in range(5, 10))
        return ((int.from_bytes(share, "little") + move) % PRIME).to_bytes(SHARE_BYTES, "little")

    for place, name in enumerate(play.present, 1):
        lie = (lambda share, place=place: moved(place, share)) if place <= 3 else None
        play.take(Step.UNMASK, name, released(play, name, lie))
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names[:9])
    assert play.result.suspects == {(dropped, victim)}


@pytest.mark.parametrize("bit", [0, 2, 254, 255])
def test_a_false_share_that_moves_a_key_only_where_its_public_key_does_not_show_it_is_found_out(bit: int) -> None:
    # X25519 ignores bits 0 to 2, 254 and 255 of a key: what another share gives there has the same public key, and
    # those whose true shares do not lie on that curve would be taken for the liars.
    cast = Cast(10, colluders=3)
    liar, dropped = cast.names[0], cast.names[9]
    play = cast.play().until(Step.SHARE)
    key = int.from_bytes(play.sessions[dropped].state._masks, "little")
    play.step(Step.SHARE)
    play.step(Step.MASK, [dropped])
    play.step(Step.AGREE)
    # The weight of place 1 where the shares at places 1 to 7 are joined is 7.
    move = ((key ^ 1 << bit) - key) * pow(7, -1, PRIME)
    unmask(play, [liar], lambda share: ((int.from_bytes(share, "little") + move) % PRIME).to_bytes(33, "little"))
    assert_exact(cast, play.result, cast.names[:9])
    assert play.result.suspects == {(dropped, liar)}


@pytest.mark.parametrize("number", [0, 4, 9])
def test_a_false_share_of_a_silent_survivors_seed_is_found_out(number: int) -> None:
    cast = Cast(10, colluders=3)
    play = cast.play().until(Step.UNMASK)
    unmask(play, [cast.names[number]], LIES["another"], silent=[cast.names[2]])
    assert_exact(cast, play.result, cast.names)
    assert play.result.suspects == {(cast.names[2], cast.names[number])}


def test_a_silent_survivors_seed_is_rebuilt_from_shares() -> None:
    cast = Cast(10, colluders=3)
    silent = {name: Step.UNMASK for name in cast.names[:3]}
    opened = cast.play().run(silent)
    assert_exact(cast, opened, cast.names)
    assert opened.suspects == frozenset()


@pytest.mark.parametrize("liars", [(17, 18), (0, 1), (0, 18), (5, 9)])
def test_of_twenty_any_two_that_lie_are_found_out(liars: tuple[int, ...]) -> None:
    # 19 shares, of which 14 are needed.
    cast = Cast(20, colluders=6)
    play = cast.play().until(Step.UNMASK, {cast.names[19]: Step.MASK})
    false = frozenset(cast.names[number] for number in liars)
    unmask(play, false, LIES["another"])
    assert_exact(cast, play.result, cast.names[:19])
    assert play.result.suspects == {(cast.names[19], liar) for liar in false}


@pytest.mark.parametrize("liar", [25, 49])
def test_of_fifty_one_that_lies_is_found_out_wherever_it_stands(liar: int) -> None:
    secret, places = bytes(range(32)), range(1, 50)
    shares = dict(zip(places, split(secret, places, 34), strict=True))
    shares[liar] = LIES["another"](shares[liar])
    assert recovered(shares, 34, lambda found: found == secret) == (secret, {liar})


def test_more_false_shares_than_can_be_left_out_open_nothing() -> None:
    cast = Cast(10, colluders=3)
    play = cast.play().until(Step.UNMASK, {cast.names[9]: Step.MASK})
    with pytest.raises(BadShare, match="client-0009"):
        unmask(play, cast.names[:3], LIES["another"])
    assert not hasattr(play, "result")


@pytest.mark.parametrize("drops", [0, 1])
def test_a_wrong_own_seed_is_replaced_by_the_one_that_was_shared(drops: int) -> None:
    cast = Cast(10, colluders=3)
    play = cast.play().until(Step.UNMASK, dict.fromkeys(cast.names[9 : 9 + drops], Step.MASK))
    liar = cast.names[4]
    for name in play.present:
        play.take(Step.UNMASK, name, released(play, name, seed=bytes(32) if name == liar else None))
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names[: 10 - drops])
    assert play.result.suspects == {(liar, liar)}


@pytest.mark.parametrize("length", [1, 5, 31])
def test_a_seed_of_another_length_does_not_keep_the_sum_shut(length: int) -> None:
    cast = Cast(5)
    play, liar = cast.play().until(Step.UNMASK), cast.names[0]
    for name in cast.names[1:]:
        play.take(Step.UNMASK, name, play.ask(Step.UNMASK, name))
    try:
        play.take(Step.UNMASK, liar, released(play, liar, seed=bytes(length)))
    except LeptonicError:  # Refused at once: as if it were silent.
        suspects = set[tuple[bytes, bytes]]()
    else:
        suspects = {(liar, liar)}
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names)
    assert play.result.suspects == suspects


def test_a_wrong_seed_that_too_few_shares_can_replace_opens_nothing_until_they_come() -> None:
    cast = Cast(4)
    play, (liar, other, *rest) = cast.play().until(Step.UNMASK), cast.names
    play.take(Step.UNMASK, liar, released(play, liar, seed=bytes(32)))
    for name in rest:
        play.take(Step.UNMASK, name, play.ask(Step.UNMASK, name))
    with pytest.raises(BelowThreshold):
        play.close(Step.UNMASK)
    play.take(Step.UNMASK, other, play.ask(Step.UNMASK, other))
    play.close(Step.UNMASK)
    assert_exact(cast, play.result, cast.names)
    assert play.result.suspects == {(liar, liar)}


def test_who_deals_shares_of_another_secret_and_drops_out_opens_nothing() -> None:
    cast = Cast(5)
    dealer, play = cast.names[2], cast.play().until(Step.SHARE)
    places = [play.sharing.graph.place(name) for name in cast.names if name != dealer]
    garbage = dict(zip((name for name in cast.names if name != dealer), split(bytes(32), places, 4), strict=True))
    for name in cast.names:
        if name != dealer:
            play.take(Step.SHARE, name, play.ask(Step.SHARE, name))
    play.take(Step.SHARE, dealer, dealt(play, dealer, lambda other, shares: (garbage[other], shares[1])))
    play.close(Step.SHARE)
    play.step(Step.MASK, [dealer])
    play.step(Step.AGREE)
    with pytest.raises(BadShare, match=dealer.decode()):
        play.step(Step.UNMASK)


def test_who_dealt_a_false_share_is_suspected_with_who_released_it() -> None:
    # Else a client that deals one false share and drops out has somebody else taken for the liar.
    cast = Cast(10, colluders=3)
    dealer, victim, play = cast.names[9], cast.names[8], cast.play().until(Step.SHARE)
    for name in cast.names[:9]:
        play.take(Step.SHARE, name, play.ask(Step.SHARE, name))
    lie = dealt(play, dealer, lambda other, shares: (bytes(SHARE_BYTES), shares[1]) if other == victim else shares)
    play.take(Step.SHARE, dealer, lie)
    play.close(Step.SHARE)
    play.step(Step.MASK, [dealer])
    play.step(Step.AGREE)
    play.step(Step.UNMASK)
    assert_exact(cast, play.result, cast.names[:9])
    assert play.result.suspects == {(dealer, victim)}
