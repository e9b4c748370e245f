"""Graphs: neighbours are mutual, as many as announced, and depend on nothing that anybody chose."""

import hashlib
import struct
from collections.abc import Collection
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import BelowThreshold, DecodeError, InconsistentCohort
from leptonic.secagg.binding import hashed
from leptonic.secagg.bounds import Bounds, bounds_of
from leptonic.secagg.graph import Graph, graph_of
from leptonic.secagg.messages import CohortList, Named, Open, SessionSettings

SESSION = b"\x05" * 32


def names(count: int) -> tuple[bytes, ...]:
    return tuple(sorted(b"client %d" % number for number in range(count)))


def bounds(count: int, neighbours: int) -> Bounds:
    return Bounds(clients=count, neighbours=neighbours, threshold=2, quorum=2, abort_quorum=2, survivors=3, window=1)


def ring(count: int, neighbours: int, session: bytes = SESSION) -> Graph:
    return Graph(session, names(count), bounds(count, neighbours))


def complete(count: int) -> Graph:
    return Graph(SESSION, names(count), bounds_of(count, colluders=0, lying=True))


def opening(**changes: int) -> Open:
    numbers = {"words": 5, "sums": 1, "bits": 32, "invited": 300, "lying": 1, "colluders": 3}
    settings = SessionSettings(**{**numbers, "neighbours": 0, "dropping": 0, "minimum": 0, **changes})
    return Open(
        federation=b"federation",
        run=b"run",
        round=1,
        phase=0,
        serial=1,
        experiment=bytes(32),
        roster=bytes(32),
        settings=settings,
    )


def cohort(clients: Collection[bytes]) -> CohortList:
    return CohortList(hashed(opening()), tuple(Named(client, bytes(32)) for client in clients))


def test_everybody_is_a_neighbour_in_a_complete_graph() -> None:
    graph = complete(7)
    for client in graph.clients:
        assert graph.neighbours(client) == tuple(other for other in graph.clients if other != client)


@given(count=st.integers(5, 30), half=st.integers(1, 13))
def test_neighbours_are_mutual_ascending_and_as_many_as_announced(count: int, half: int) -> None:
    half = min(half, (count - 2) // 2)
    graph = ring(count, 2 * half)
    around = {client: graph.neighbours(client) for client in graph.clients}
    for client, others in around.items():
        assert len(set(others)) == 2 * half
        assert client not in others
        assert list(others) == sorted(others)
        assert all(client in around[other] for other in others)


def test_neighbours_are_those_within_half_of_them_on_the_ring() -> None:
    graph = ring(20, 6)
    for at, client in enumerate(graph.ring):
        near = {graph.ring[(at + step) % 20] for step in (-3, -2, -1, 1, 2, 3)}
        assert set(graph.neighbours(client)) == near


def test_the_ring_is_in_the_order_of_hashes_of_session_and_client() -> None:
    def by_hand(client: bytes) -> bytes:
        body = b"".join(struct.pack("<I", len(each)) + each for each in (SESSION, client))
        return hashlib.sha256(b"leptonic-secagg/1/graph\0" + body).digest()

    assert ring(50, 6).ring == tuple(sorted(names(50), key=by_hand))


def test_the_ring_does_not_depend_on_the_order_of_the_list() -> None:
    graph, shuffled = ring(50, 6), list(names(50))
    Random(3).shuffle(shuffled)
    other = Graph(SESSION, tuple(shuffled), graph.bounds)
    assert other.ring == graph.ring
    assert all(other.neighbours(client) == graph.neighbours(client) for client in shuffled)


def test_another_session_has_another_ring() -> None:
    rings = {ring(50, 6, bytes([number]) * 32).ring for number in range(20)}
    assert len(rings) == 20
    assert all(sorted(each) == list(names(50)) for each in rings)


def test_a_place_is_one_more_than_the_rank() -> None:
    for graph in (ring(20, 6), complete(20)):
        assert [graph.place(client) for client in sorted(graph.clients)] == list(range(1, 21))


@given(count=st.integers(4, 24), half=st.integers(1, 11), data=st.data())
def test_the_thinnest_window_is_the_fewest_in_any_half_neighbourhood(
    count: int, half: int, data: st.DataObject
) -> None:
    half = min(half, (count - 2) // 2)
    graph = ring(count, 2 * half)
    survivors = data.draw(st.sets(st.sampled_from(graph.clients)))
    windows = [{graph.ring[(start + step) % count] for step in range(half)} for start in range(count)]
    assert graph.thinnest_window(survivors) == min(len(window & survivors) for window in windows)


def test_a_ring_that_is_cut_has_an_empty_window_wherever_the_cut_lies() -> None:
    graph = ring(20, 6)
    for start in range(20):
        gone = {graph.ring[(start + step) % 20] for step in range(3)}
        assert graph.thinnest_window(set(graph.clients) - gone) == 0


def test_all_survivors_are_in_the_one_window_of_a_complete_graph() -> None:
    graph = complete(7)
    assert graph.thinnest_window(graph.clients[:4]) == 4


def test_a_cohorts_graph_has_its_hash_for_session_and_the_bounds_of_the_settings() -> None:
    graph = graph_of(opening(), cohort(names(10)))
    assert graph.session == hashed(cohort(names(10)))
    assert (graph.clients, graph.bounds) == (names(10), bounds_of(10, colluders=3, lying=True))
    settings = {"lying": 0, "colluders": 20, "dropping": 10, "minimum": 150}
    regular = graph_of(opening(**settings), cohort(names(200)))
    assert regular.bounds == bounds_of(200, colluders=20, lying=False, dropping=10, minimum=150)
    fixed = graph_of(opening(neighbours=80, dropping=10), cohort(names(200)))
    assert fixed.bounds.neighbours == len(fixed.neighbours(names(200)[7])) == 80


def test_who_joins_decides_the_session() -> None:
    sessions = {graph_of(opening(), cohort(names(count))).session for count in range(5, 10)}
    changed = CohortList(hashed(opening()), tuple(Named(client, b"\x01" * 32) for client in names(5)))
    assert len(sessions | {graph_of(opening(), changed).session}) == 6


def test_a_cohort_of_more_than_were_invited_is_refused() -> None:
    assert graph_of(opening(invited=5), cohort(names(5))).clients == names(5)
    with pytest.raises(InconsistentCohort, match="a cohort of 6, and sums have room for 5"):
        graph_of(opening(invited=5), cohort(names(6)))


def test_a_cohort_that_is_too_small_is_refused() -> None:
    for few, colluders in ((0, 0), (2, 0), (4, 3)):
        with pytest.raises(BelowThreshold):
            graph_of(opening(colluders=colluders), cohort(names(few)))


@pytest.mark.parametrize("clients", [names(5)[::-1], names(5) + names(5)[-1:]])
def test_a_cohort_out_of_order_or_with_somebody_twice_is_refused(clients: tuple[bytes, ...]) -> None:
    with pytest.raises(DecodeError):
        graph_of(opening(), cohort(clients))


def test_everybody_finds_the_same_graph_and_it_is_found_once() -> None:
    def cohort(digest: bytes) -> CohortList:
        return CohortList(bytes(32), tuple(Named(client, digest) for client in names(40)))

    found = graph_of(opening(), cohort(bytes(32)))
    assert graph_of(opening(), cohort(bytes(32))) is found
    other = graph_of(opening(), cohort(b"\x01" * 32))
    assert other.session != found.session
    assert graph_of(opening(colluders=4), cohort(bytes(32))).bounds != found.bounds
