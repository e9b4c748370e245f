"""The draw of a cohort: repeatable, blind to the order of arrival, fair, and never short for no reason."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import comb, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.randomness import generator
from leptonic_server.cohort import choose


def experiment(seed: int = 0, **federation: Any) -> Experiment:
    return from_mapping({"name": "x", "seed": seed, "federation": federation})


def nodes(clients: Any) -> dict[int, int]:
    """Network ids say nothing: they differ from the index, and do not rise with it."""
    return {client: (client * 7919 + 13) % 10_007 for client in clients}


FEDERATIONS = st.integers(1, 30).flatmap(
    lambda clients: st.fixed_dictionaries(
        {
            "clients": st.just(clients),
            "cohort": st.integers(1, clients),
            "over_selection": st.sampled_from([0.0, 0.25, 1.0]),
        }
    )
)


@given(federation=FEDERATIONS, number=st.integers(1, 1000), data=st.data())
def test_invites_reachable_clients_once_and_as_many_as_it_can(
    federation: dict[str, Any], number: int, data: st.DataObject
) -> None:
    made = experiment(**federation)
    clients = federation["clients"]
    online = data.draw(st.sets(st.integers(0, clients - 1)))
    failed = data.draw(st.sets(st.integers(0, clients - 1)))
    chosen = choose(made, number, nodes(online), failed)
    fresh = online - failed
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= online
    if len(fresh) >= made.federation.wanted:
        assert set(chosen) <= fresh
        assert len(chosen) == min(made.federation.invited, len(fresh))
    else:
        assert len(chosen) == min(made.federation.invited, len(online))


def test_clients_that_failed_are_asked_again_only_beside_all_the_others() -> None:
    """ "They are asked again only if there are not enough others": then the others are asked as well."""
    made = experiment(clients=10, cohort=5)
    for number in range(1, 21):
        chosen = choose(made, number, nodes(range(10)), {0, 1, 2, 3, 4, 5, 6})
        assert len(chosen) == 5
        assert {7, 8, 9} <= set(chosen)


@given(federation=FEDERATIONS, number=st.integers(1, 1000), order=st.randoms(use_true_random=False), data=st.data())
def test_the_order_in_which_clients_came_does_not_matter(
    federation: dict[str, Any], number: int, order: Random, data: st.DataObject
) -> None:
    made = experiment(**federation)
    online = sorted(data.draw(st.sets(st.integers(0, federation["clients"] - 1))))
    failed = data.draw(st.sets(st.integers(0, federation["clients"] - 1)))
    expected = choose(made, number, nodes(online), failed)
    order.shuffle(online)
    other_ids = {client: order.randrange(10**9) for client in online}
    assert choose(made, number, other_ids, failed) == expected


def test_a_repeated_round_asks_the_same_clients_and_another_round_others() -> None:
    made = experiment(clients=100, cohort=10)
    everyone = nodes(range(100))
    rounds = [choose(made, number, everyone, set()) for number in range(1, 51)]
    assert rounds == [choose(made, number, everyone, set()) for number in range(1, 51)]
    assert len({tuple(chosen) for chosen in rounds}) == 50
    assert rounds != [choose(experiment(1, clients=100, cohort=10), n, everyone, set()) for n in range(1, 51)]


def test_the_draw_hangs_on_the_seed_and_the_round_not_on_other_settings() -> None:
    everyone = nodes(range(50))
    plain = experiment(clients=50, cohort=5)
    other = from_mapping(
        {"name": "y", "federation": {"clients": 50, "cohort": 5}, "training": {"rounds": 3, "learning_rate": 0.5}}
    )
    assert [choose(plain, n, everyone, set()) for n in (1, 2, 3)] == [
        choose(other, n, everyone, set()) for n in (1, 2, 3)
    ]


def test_everyone_is_asked_in_roster_order_where_the_cohort_is_everyone() -> None:
    assert choose(experiment(clients=12), 4, nodes(range(12)), set()) == list(range(12))


@pytest.mark.parametrize(("over_selection", "invited"), [(0.0, 10), (0.1, 11), (0.25, 12), (0.5, 15), (9.0, 40)])
def test_over_selection_invites_more_than_are_wanted(over_selection: float, invited: int) -> None:
    made = experiment(clients=40, cohort=10, over_selection=over_selection)
    assert len(choose(made, 1, nodes(range(40)), set())) == invited


def test_nobody_online_is_nobody_chosen() -> None:
    assert choose(experiment(clients=3), 1, {}, set()) == []


def test_a_client_that_is_away_is_replaced() -> None:
    made = experiment(clients=20, cohort=5)
    away = choose(made, 7, nodes(range(20)), set())[0]
    chosen = choose(made, 7, nodes(set(range(20)) - {away}), set())
    assert len(chosen) == 5
    assert away not in chosen


@pytest.mark.parametrize(("clients", "cohort"), [(100, 10), (7, 3), (12, 12), (1000, 400)])
def test_with_everyone_online_the_draw_is_numpys_own(clients: int, cohort: int) -> None:
    """What runs of the first version drew: it must not change, or they would not repeat."""
    for number in range(1, 6):
        drawn = generator(3, "cohort", number).choice(clients, size=cohort, replace=False).tolist()
        expected = list(range(clients)) if cohort == clients else drawn
        assert choose(experiment(3, clients=clients, cohort=cohort), number, nodes(range(clients)), set()) == expected


class Half(Mapping[int, int]):
    """The even ones of very many clients, who count how often they are looked at and cannot be listed."""

    def __init__(self, clients: int) -> None:
        self.clients, self.looked = clients, 0

    def __getitem__(self, client: int) -> int:
        self.looked += 1
        if not 0 <= client < self.clients or client % 2:
            raise KeyError(client)
        return client + 2

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("the whole population was looked at")

    def __len__(self) -> int:
        raise AssertionError("the whole population was counted")


def test_of_a_large_population_only_a_few_are_looked_at() -> None:
    online = Half(10**7)
    chosen = choose(experiment(clients=10**7, cohort=100), 1, online, set())
    assert len(set(chosen)) == 100
    assert not any(client % 2 for client in chosen)
    assert online.looked < 400


def test_all_are_found_where_very_few_are_online() -> None:
    for number in range(1, 20):
        assert set(choose(experiment(clients=5000, cohort=50), number, nodes([17, 4711]), set())) == {17, 4711}


def test_of_those_who_are_online_each_is_as_likely_as_every_other() -> None:
    clients, rounds = 20, 4000
    made, online = experiment(clients=clients, cohort=4), nodes(range(0, clients, 2))
    counts = Counter(client for number in range(rounds) for client in choose(made, number, online, set()))
    factor = (1 - 4 / 10) * 10 / 9
    assert chi_square_is_plausible([counts[client] for client in range(0, clients, 2)], rounds * 4 / 10, factor)


def chi_square_is_plausible(observed: list[int], expected: float, variance_factor: float = 1.0) -> bool:
    """Pearson's statistic within five standard deviations of its mean, by the normal approximation."""
    statistic = sum((count - expected) ** 2 / expected for count in observed) / variance_factor
    freedom = len(observed) - 1
    return abs(statistic - freedom) < 5 * sqrt(2 * freedom)


def test_every_client_is_as_likely_as_every_other() -> None:
    clients, cohort, rounds = 20, 6, 4000
    made, everyone = experiment(clients=clients, cohort=cohort), nodes(range(clients))
    drawn = [choose(made, number, everyone, set()) for number in range(rounds)]
    counts = Counter(client for chosen in drawn for client in chosen)
    # Without replacement the counts vary less: by (1 - cohort/clients) clients/(clients - 1).
    factor = (1 - cohort / clients) * clients / (clients - 1)
    assert chi_square_is_plausible([counts[c] for c in range(clients)], rounds * cohort / clients, factor)


def test_every_cohort_is_as_likely_as_every_other() -> None:
    clients, cohort, rounds = 7, 3, 7000
    made, everyone = experiment(5, clients=clients, cohort=cohort), nodes(range(clients))
    counts = Counter(frozenset(choose(made, number, everyone, set())) for number in range(rounds))
    cohorts = comb(clients, cohort)
    assert len(counts) == cohorts
    assert chi_square_is_plausible(list(counts.values()), rounds / cohorts)


def test_every_client_is_as_likely_to_be_asked_first() -> None:
    """Who is asked first answers first, and with over-selection is counted rather."""
    clients, rounds = 10, 5000
    made, everyone = experiment(9, clients=clients, cohort=4, over_selection=0.5), nodes(range(clients))
    first = Counter(choose(made, number, everyone, set())[0] for number in range(rounds))
    assert chi_square_is_plausible([first[c] for c in range(clients)], rounds / clients)


def test_rounds_are_independent() -> None:
    """Of the clients of one round, as many are in the next as chance would have."""
    clients, cohort, rounds = 40, 10, 3000
    made, everyone = experiment(3, clients=clients, cohort=cohort), nodes(range(clients))
    drawn = [set(choose(made, number, everyone, set())) for number in range(rounds)]
    shared = sum(len(a & b) for a, b in pairwise(drawn)) / (rounds - 1)
    mean = cohort * cohort / clients  # hypergeometric
    variance = mean * (1 - cohort / clients) * (clients - cohort) / (clients - 1)
    assert abs(shared - mean) < 5 * sqrt(variance / (rounds - 1))


def in_turns(*, rounds: int = 10, seed: int = 0, **federation: Any) -> Experiment:
    return from_mapping(
        {
            "name": "x",
            "seed": seed,
            "federation": federation,
            "training": {"rounds": rounds},
            "aggregation": {"rule": "mean", "weighting": "uniform"},
            "privacy": {"unit": "client", "mechanism": "server", "epsilon": 1.0, "delta": 1e-3},
        }
    )


@given(clients=st.integers(3, 60), share=st.integers(1, 100), rounds=st.integers(1, 40), seed=st.integers(0, 9))
def test_under_client_level_privacy_all_take_turns(clients: int, share: int, rounds: int, seed: int) -> None:
    """Nobody is asked more often, or sooner again, than its noise was calibrated for."""
    cohort = max(1, clients * share // 100)
    made = in_turns(clients=clients, cohort=cohort, rounds=rounds, seed=seed)
    online = {client: client for client in range(clients)}
    asked: dict[int, list[int]] = {client: [] for client in range(clients)}
    for number in range(1, rounds + 1):
        chosen = choose(made, number, online, set())
        assert len(chosen) == len(set(chosen)) == cohort
        for client in chosen:
            asked[client].append(number)
    assert max(map(len, asked.values())) <= made.federation.turns(rounds)
    gaps = [later - sooner for turns in asked.values() for sooner, later in pairwise(turns)]
    assert min(gaps, default=clients) >= clients // cohort


def test_under_client_level_privacy_nobody_takes_the_turn_of_another() -> None:
    made = in_turns(clients=10, cohort=4)
    everyone = {client: client for client in range(10)}
    turn = choose(made, 1, everyone, set())
    away = {client: client for client in everyone if client != turn[0]}
    assert choose(made, 1, away, set()) == turn[1:]
    # Who has failed is asked again only where there are not enough others.
    assert choose(made, 1, everyone, {turn[1]}) == [turn[0], *turn[2:]]
    assert choose(made, 1, everyone, set(turn[:3])) == turn
