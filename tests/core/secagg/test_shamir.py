"""Secret sharing: a threshold of shares gives the secret, fewer fit every secret, and false shares are found."""

from collections.abc import Mapping
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.errors import BadShare
from leptonic.secagg.shamir import PRIME, SHARE_BYTES, joined, recovered, split

SECRETS = st.binary(min_size=32, max_size=32)
SECRET = bytes(range(100, 132))


def lagrange(at: int, points: Mapping[int, int]) -> int:
    """The polynomial's value by Lagrange's formula, with one division at the end of each term."""
    total = 0
    for own, value in points.items():
        above, below = value, 1
        for other in points.keys() - {own}:
            above, below = above * (at - other), below * (own - other)
        total += above * pow(below % PRIME, PRIME - 2, PRIME)
    return total % PRIME


def numbers(shares: Mapping[int, bytes]) -> dict[int, int]:
    return {place: int.from_bytes(share, "little") for place, share in shares.items()}


def share(value: int) -> bytes:
    return value.to_bytes(SHARE_BYTES, "little")


def shared(secret: bytes, count: int, threshold: int) -> dict[int, bytes]:
    return dict(enumerate(split(secret, range(1, count + 1), threshold), start=1))


def is_secret(secret: bytes) -> bool:
    return secret == SECRET


def test_the_modulus_is_prime() -> None:
    """Miller-Rabin: a composite number passes for one random base in four at most."""
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    random = Random(1)
    for base in [2, 3, 5, 7, *(random.randrange(2, PRIME - 1) for _ in range(64))]:
        powers = [pow(base, odd << twice, PRIME) for twice in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers
    assert 2**256 < PRIME < 2 ** (8 * SHARE_BYTES)


@given(secret=SECRETS, data=st.data())
@settings(max_examples=50)
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=9, unique=True))
    threshold = data.draw(st.integers(1, len(places)))
    shares = dict(zip(places, split(secret, places, threshold), strict=True))
    for some in combinations(places, threshold):
        given_shares = {place: shares[place] for place in some}
        assert joined(given_shares) == secret == lagrange(0, numbers(given_shares)).to_bytes(32, "little")
    assert joined(shares) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x00" * 31 + b"\xff", b"\xff" + b"\x00" * 31])
@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (3, 2), (7, 7), (100, 67)])
def test_secrets_at_the_ends_of_their_range_come_back(secret: bytes, count: int, threshold: int) -> None:
    shares = shared(secret, count, threshold)
    assert all(len(each) == SHARE_BYTES for each in shares.values())
    assert joined(dict(list(shares.items())[-threshold:])) == secret


def test_a_threshold_of_one_gives_everybody_the_secret() -> None:
    assert split(SECRET, [1, 5], 1) == [SECRET + b"\0"] * 2


def test_shares_lie_on_one_polynomial_of_the_degree_below_the_threshold() -> None:
    points = numbers(shared(SECRET, 9, 4))
    first = {place: points[place] for place in (1, 2, 3, 4)}
    assert {place: lagrange(place, first) for place in points} == points
    fewer = {place: points[place] for place in (1, 2, 3)}
    assert lagrange(4, fewer) != points[4]


def test_fewer_shares_give_another_secret_each_time() -> None:
    wrong = {joined(shared(SECRET, 3, 4)) for _ in range(100)}
    assert len(wrong) == 100
    assert SECRET not in wrong
    ones = sum(secret[0] & 1 for secret in wrong)
    assert 10 < ones < 90


@given(candidate=SECRETS)
def test_fewer_shares_fit_every_secret(candidate: bytes) -> None:
    fewer = shared(SECRET, 3, 4)
    points = numbers(fewer) | {0: int.from_bytes(candidate, "little")}
    assert joined(fewer | {4: share(lagrange(4, points))}) == candidate


def test_each_sharing_is_another() -> None:
    assert not set(split(SECRET, [1, 2, 3], 2)) & set(split(SECRET, [1, 2, 3], 2))


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_secrets_of_another_length_are_not_split(secret: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        split(secret, [1, 2], 2)


@pytest.mark.parametrize(("places", "threshold"), [([0, 1], 2), ([1, 1], 2), ([1, 2**32], 2), ([-1], 1), ([1, 2], 0)])
def test_places_that_are_zero_twice_or_too_large_are_refused(places: list[int], threshold: int) -> None:
    with pytest.raises(ValueError, match="different places"):
        split(SECRET, places, threshold)


@pytest.mark.parametrize("bad", [share(PRIME), share(PRIME + 1), b"\xff" * 33, b"", bytes(32), bytes(34)])
def test_a_share_outside_the_field_is_refused(bad: bytes) -> None:
    with pytest.raises(BadShare, match="no element of the field"):
        joined(shared(SECRET, 3, 2) | {2: bad})
    assert recovered(shared(SECRET, 5, 2) | {2: bad}, 2, is_secret) == (SECRET, {2})


def test_the_largest_element_of_the_field_is_a_share() -> None:
    assert joined({1: share(PRIME - 1), 2: share(PRIME - 2)}) == bytes(32)


def test_an_outcome_of_more_than_32_bytes_is_no_secret() -> None:
    for value in (2**256, PRIME - 1):
        with pytest.raises(BadShare, match="no secret of 32 bytes"):
            joined({1: share(value), 2: share(value)})


def altered(shares: dict[int, bytes], *false: int) -> dict[int, bytes]:
    """False by what lies on no polynomial of a low degree."""
    return shares | {place: share((numbers(shares)[place] + 7**place) % PRIME) for place in false}


@pytest.mark.parametrize("false", [(), (1,), (7,), (1, 2), (3, 6), (6, 7)])
def test_false_shares_are_named(false: tuple[int, ...]) -> None:
    assert recovered(altered(shared(SECRET, 7, 3), *false), 3, is_secret) == (SECRET, set(false))


@pytest.mark.parametrize("false", [(5, 6, 7), (4, 5, 6, 7)])
def test_of_more_than_can_be_told_apart_nobody_is_named(false: tuple[int, ...]) -> None:
    assert recovered(altered(shared(SECRET, 7, 3), *false), 3, is_secret) == (SECRET, set())


@given(data=st.data())
@settings(max_examples=60)
def test_as_many_false_shares_as_half_of_those_beyond_the_threshold_are_found(data: st.DataObject) -> None:
    threshold, more = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 8))
    shares = shared(SECRET, threshold + more, threshold)
    false = data.draw(st.sets(st.sampled_from(list(shares)), max_size=more // 2))
    lies = {place: share(data.draw(st.integers(0, PRIME - 1))) for place in false}
    told = dict(data.draw(st.permutations([*(shares | lies).items()])))
    secret, found = recovered(told, threshold, is_secret)
    assert secret == SECRET
    assert found == {place for place in false if lies[place] != shares[place]}


def test_shares_outside_the_field_are_named_beside_false_ones() -> None:
    shares = altered(shared(SECRET, 7, 3), 1) | {2: share(PRIME), 6: b""}
    assert recovered(shares, 3, is_secret) == (SECRET, {1, 2, 6})


def test_a_first_outcome_that_is_no_secret_does_not_end_the_search() -> None:
    shares = shared(SECRET, 5, 2)
    points = {0: 2**256, 2: numbers(shares)[2]}
    assert recovered(shares | {1: share(lagrange(1, points))}, 2, is_secret) == (SECRET, {1})


@pytest.mark.parametrize("false", [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7)])
def test_too_many_false_shares_are_refused(false: tuple[int, ...]) -> None:
    with pytest.raises(BadShare, match="7 shares, of which 3"):
        recovered(altered(shared(SECRET, 7, 3), *false), 3, is_secret)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_shares_are_refused(count: int) -> None:
    with pytest.raises(BadShare, match=f"{count} shares, of which 3"):
        recovered(shared(SECRET, count, 3), 3, is_secret)


@pytest.mark.parametrize(("count", "threshold", "false"), [(20, 14, (1,)), (20, 14, (1, 7, 20)), (100, 67, range(16))])
def test_false_shares_of_many_are_found_wherever_they_lie(count: int, threshold: int, false: tuple[int, ...]) -> None:
    places = {1 + place % count for place in false}
    assert recovered(altered(shared(SECRET, count, threshold), *places), threshold, is_secret) == (SECRET, places)


def test_two_false_shares_that_cancel_do_not_blame_the_others() -> None:
    """Two who know whose shares are taken first can err so that the secret is right and the polynomial is not."""
    shares = shared(SECRET, 11, 7)
    nothing = dict.fromkeys(range(1, 8), 0)
    first, second = lagrange(0, nothing | {1: 1}), lagrange(0, nothing | {2: 1})
    values = numbers(shares)
    shares[1], shares[2] = share((values[1] + second) % PRIME), share((values[2] - first) % PRIME)
    assert joined({place: shares[place] for place in range(1, 8)}) == SECRET
    assert recovered(shares, 7, is_secret) == (SECRET, {1, 2})


def test_a_secret_that_fits_nothing_is_never_given() -> None:
    with pytest.raises(BadShare):
        recovered(shared(SECRET, 4, 2), 2, lambda secret: False)
