"""Bounds: the published tables, the tails they come from, and what no session may be."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from leptonic.errors import BelowThreshold
from leptonic.secagg.bounds import COMPLETE_UP_TO, Bounds, bounds_of, default_colluders

lying_bounds: Callable[..., Bounds] = partial(bounds_of, lying=True)
curious_bounds: Callable[..., Bounds] = partial(bounds_of, lying=False)

# Clients, colluders, t = q = m, drop-outs tolerated, honest inputs in a sum at least.
COMPLETE = [
    (3, 1, 3, 0, 2),
    (4, 1, 3, 1, 2),
    (5, 1, 4, 1, 3),
    (10, 3, 7, 3, 4),
    (20, 6, 14, 6, 8),
    (50, 16, 34, 16, 18),
    (100, 33, 67, 33, 34),
]
# Clients, colluders and as many drop-outs, k, t, w.
REGULAR = [
    (200, 10, 38, 11, 11),
    (200, 20, 70, 21, 21),
    (200, 40, 142, 41, 41),
    (500, 25, 76, 26, 26),
    (500, 50, 126, 51, 41),
    (500, 100, 250, 100, 76),
    (1000, 50, 94, 40, 32),
    (1000, 100, 146, 65, 48),
    (1000, 200, 310, 137, 94),
    (10000, 500, 112, 51, 38),
    (10000, 1000, 178, 83, 58),
    (10000, 2000, 398, 189, 120),
]


@pytest.mark.parametrize(("clients", "colluders", "all_three", "drops", "honest"), COMPLETE)
def test_a_complete_graph_has_the_bounds_of_the_table(
    clients: int, colluders: int, all_three: int, drops: int, honest: int
) -> None:
    assert default_colluders(clients) == colluders
    bounds = lying_bounds(clients, colluders=colluders)
    assert bounds.complete
    assert bounds.neighbours == clients - 1
    assert bounds.threshold == bounds.quorum == bounds.survivors == all_three
    assert (clients - bounds.survivors, bounds.survivors - colluders) == (drops, honest)


@pytest.mark.parametrize(("clients", "corrupt", "k", "threshold", "window"), REGULAR)
def test_a_regular_graph_has_the_bounds_of_the_table(
    clients: int, corrupt: int, k: int, threshold: int, window: int
) -> None:
    quorum = (clients + corrupt) // 2 + 1
    bounds = lying_bounds(clients, colluders=corrupt, dropping=corrupt)
    assert not bounds.complete
    assert (bounds.neighbours, bounds.threshold, bounds.window) == (k, threshold, window)
    assert bounds.quorum == bounds.survivors == quorum


@pytest.mark.parametrize("lying", [True, False])
@pytest.mark.parametrize(("clients", "corrupt"), [(200, 20), (500, 25), (1000, 200), (10000, 500)])
def test_the_tails_are_those_of_scipy(clients: int, corrupt: int, lying: bool) -> None:
    bounds = bounds_of(clients, colluders=corrupt, dropping=corrupt, lying=lying)
    chance = 2.0 ** -(104 if lying else 40)
    for population, drawn, least in (
        (clients - 1, bounds.neighbours, bounds.threshold),
        (clients, bounds.neighbours // 2, bounds.window),
    ):
        assert clients * hypergeom.sf(least - 1, population, corrupt, drawn) <= chance
        assert clients * hypergeom.sf(least - 2, population, corrupt, drawn) > chance
        too_few = clients * hypergeom.cdf(least - 1, population, population - corrupt, drawn)
        assert too_few <= 2.0**-21


@pytest.mark.parametrize(("clients", "corrupt", "k"), [row[:3] for row in REGULAR])
def test_two_neighbours_fewer_are_not_enough(clients: int, corrupt: int, k: int) -> None:
    both = {"colluders": corrupt, "dropping": corrupt}
    assert lying_bounds(clients, **both, neighbours=k) == lying_bounds(clients, **both)
    with pytest.raises(BelowThreshold):
        lying_bounds(clients, **both, neighbours=k - 2)


@pytest.mark.parametrize("neighbours", [1, 2, 69, 68])
def test_too_few_neighbours_are_refused_with_what_to_do(neighbours: int) -> None:
    what = f"{neighbours} neighbours are not enough for 200 clients of whom 20 may collude and 20 drop out"
    with pytest.raises(BelowThreshold, match=f"{what}: take more neighbours"):
        lying_bounds(200, colluders=20, dropping=20, neighbours=neighbours)


@pytest.mark.parametrize("neighbours", [71, 199, 200, 202, 2**64 - 2])
def test_an_odd_number_of_neighbours_or_one_of_all_is_refused(neighbours: int) -> None:
    with pytest.raises(BelowThreshold, match="an even number below the others' number"):
        lying_bounds(200, colluders=20, dropping=20, neighbours=neighbours)


def test_no_graph_is_found_where_too_many_drop_out() -> None:
    with pytest.raises(BelowThreshold, match="no even number of neighbours is enough for 200 clients"):
        lying_bounds(200, colluders=60, dropping=180)


@pytest.mark.parametrize("dropping", [199, 200, 201, 2**64 - 1])
def test_as_many_drop_outs_as_clients_are_refused(dropping: int) -> None:
    with pytest.raises(BelowThreshold):
        lying_bounds(200, colluders=10, dropping=dropping)


@pytest.mark.parametrize("clients", [0, 1, 2])
@pytest.mark.parametrize("lying", [True, False])
def test_fewer_than_three_clients_are_refused(clients: int, lying: bool) -> None:
    with pytest.raises(BelowThreshold, match=f"of {clients} clients: .* take 3 or more"):
        bounds_of(clients, colluders=0, lying=lying)


@pytest.mark.parametrize("lying", [True, False])
def test_three_clients_without_colluders_may_lose_one(lying: bool) -> None:
    bounds = bounds_of(3, colluders=0, lying=lying)
    assert (bounds.threshold, bounds.quorum, bounds.survivors) == (2, 2, 2)


@pytest.mark.parametrize(("clients", "colluders"), [(3, 2), (4, 3), (5, 4), (10, 9), (200, 199), (200, 2**64 - 1)])
@pytest.mark.parametrize("lying", [True, False])
def test_a_sum_with_one_honest_input_or_none_is_refused(clients: int, colluders: int, lying: bool) -> None:
    with pytest.raises(BelowThreshold, match="invite more, or assume fewer"):
        bounds_of(clients, colluders=colluders, lying=lying)


@pytest.mark.parametrize(
    ("clients", "colluders", "threshold", "survivors"),
    [(3, 0, 2, 2), (3, 1, 2, 3), (10, 0, 6, 6), (10, 3, 6, 6), (10, 5, 6, 7), (10, 7, 8, 9), (100, 33, 51, 51)],
)
def test_a_curious_coordinator_needs_fewer(clients: int, colluders: int, threshold: int, survivors: int) -> None:
    bounds = curious_bounds(clients, colluders=colluders)
    assert bounds.complete
    assert (bounds.threshold, bounds.quorum, bounds.survivors) == (threshold, threshold, survivors)


def test_a_curious_coordinator_needs_fewer_neighbours() -> None:
    both = {"colluders": 100, "dropping": 100}
    curious, lying = curious_bounds(1000, **both), lying_bounds(1000, **both)
    assert curious.neighbours < lying.neighbours
    assert curious.threshold < lying.threshold
    assert curious.quorum < lying.quorum


def test_a_minimum_raises_the_survivors_and_nothing_else() -> None:
    assert lying_bounds(10, colluders=3, minimum=7).survivors == 7
    assert lying_bounds(10, colluders=3, minimum=9) == replace(lying_bounds(10, colluders=3), survivors=9)
    with pytest.raises(BelowThreshold, match="11 survivors of 10 clients"):
        lying_bounds(10, colluders=3, minimum=11)


def test_the_complete_graph_ends_where_it_is_said_to() -> None:
    assert lying_bounds(COMPLETE_UP_TO, colluders=12, dropping=12).complete
    assert not lying_bounds(COMPLETE_UP_TO + 1, colluders=12, dropping=12).complete
    assert lying_bounds(100, colluders=5, dropping=5, neighbours=40).neighbours == 40
    assert (default_colluders(128), default_colluders(129)) == (42, 12)


@given(clients=st.integers(3, COMPLETE_UP_TO), share=st.floats(0, 1), lying=st.booleans())
def test_quorums_meet_in_an_honest_client_and_colluders_open_nothing(clients: int, share: float, lying: bool) -> None:
    colluders = int(share * (clients - 2))
    bounds = bounds_of(clients, colluders=colluders, lying=lying)
    assert 2 * bounds.quorum - clients > (colluders if lying else 0)
    assert bounds.threshold > colluders
    assert colluders + 2 <= bounds.survivors <= clients
    assert bounds.quorum <= bounds.survivors


@given(clients=st.integers(3, COMPLETE_UP_TO), share=st.floats(0, 1), lying=st.booleans())
def test_no_quorum_is_left_after_an_abort_and_no_fewer_would_do(clients: int, share: float, lying: bool) -> None:
    """The colluders sign both; the honest who give a session up sign no survivors in it."""
    colluders = int(share * (clients - 2))
    bounds = bounds_of(clients, colluders=colluders, lying=lying)
    assert clients - (bounds.abort_quorum - colluders) == bounds.quorum - 1
    assert 0 < bounds.abort_quorum <= clients


@given(clients=st.integers(4, COMPLETE_UP_TO - 1), share=st.floats(0, 1), lying=st.booleans())
def test_more_colluders_or_clients_never_lower_a_bound(clients: int, share: float, lying: bool) -> None:
    colluders = int(share * (clients - 3))
    less = bounds_of(clients, colluders=colluders, lying=lying)
    for more in (
        bounds_of(clients, colluders=colluders + 1, lying=lying),
        bounds_of(clients + 1, colluders=colluders, lying=lying),
    ):
        assert less.threshold <= more.threshold
        assert less.quorum <= more.quorum
        assert less.survivors <= more.survivors


@pytest.mark.parametrize("clients", [150, 200, 1000])
def test_more_colluders_or_drop_outs_need_more_neighbours(clients: int) -> None:
    grid = [clients * part // 40 for part in range(7)]
    k = {(c, d): lying_bounds(clients, colluders=c, dropping=d).neighbours for c in grid for d in grid}
    for few, many in pairwise(grid):
        assert all(k[few, other] <= k[many, other] for other in grid)
        assert all(k[other, few] <= k[other, many] for other in grid)
