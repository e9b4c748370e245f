import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.data.partition import partition
from leptonic.errors import DataError
from leptonic.experiment import ClassesPerClient, Dirichlet, Iid, NaturalPartition, Partition, QuantitySkew, Sampled

LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 600)).astype(np.int64)

SCHEMES: list[Partition] = [
    Iid(scheme="iid"),
    Dirichlet(scheme="dirichlet", alpha=0.5),
    Dirichlet(scheme="dirichlet", alpha=100.0, minimum_examples=50),
    ClassesPerClient(scheme="classes", classes=2),
    ClassesPerClient(scheme="classes", classes=10),
    QuantitySkew(scheme="quantity", alpha=2.0, minimum_examples=5),
]


def counts_of(parts: list[np.ndarray], labels: np.ndarray = LABELS) -> np.ndarray:
    return np.stack([np.bincount(labels[rows], minlength=labels.max() + 1) for rows in parts])


def assert_exact_cover(parts: list[np.ndarray], rows: int) -> None:
    together = np.concatenate(parts)
    assert np.array_equal(np.sort(together), np.arange(rows))
    assert all((np.diff(part) > 0).all() and part.dtype == np.intp and len(part) for part in parts)


@settings(max_examples=60, deadline=None)
@given(scheme=st.sampled_from(SCHEMES), count=st.integers(5, 40), seed=st.integers(0, 2**63 - 1))
def test_every_row_goes_to_exactly_one_client(scheme: Partition, count: int, seed: int) -> None:
    parts = partition(scheme, LABELS, None, count=count, seed=seed)
    assert len(parts) == count
    assert_exact_cover(parts, len(LABELS))
    if isinstance(scheme, Dirichlet | QuantitySkew):
        assert min(len(part) for part in parts) >= scheme.minimum_examples


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides(scheme: Partition) -> None:
    first = partition(scheme, LABELS, None, count=10, seed=1)
    again = partition(scheme, LABELS, None, count=10, seed=1)
    other = partition(scheme, LABELS, None, count=10, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@given(rows=st.integers(1, 200), data=st.data())
def test_iid_sizes_differ_by_at_most_one(rows: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, rows))
    parts = partition(Iid(scheme="iid"), np.zeros(rows, np.int64), None, count=count, seed=3)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert_exact_cover(parts, rows)


def niid_bench_dirichlet(
    labels: np.ndarray, parties: int, beta: float, minimum: int, rng: np.random.Generator
) -> np.ndarray:
    """The class counts of NIID-Bench's noniid-labeldir, transcribed from the published procedure with lists."""
    while True:
        held = [[0] * 10 for _ in range(parties)]
        for kind in range(10):
            size = int((labels == kind).sum())
            proportions = rng.dirichlet(np.repeat(beta, parties))
            proportions = np.array(
                [p * (sum(h) < len(labels) / parties) for p, h in zip(proportions, held, strict=True)]
            )
            proportions = proportions / proportions.sum()
            cuts = [0, *(np.cumsum(proportions) * size).astype(int)[:-1], size]
            for party in range(parties):
                held[party][kind] = cuts[party + 1] - cuts[party]
        if min(sum(h) for h in held) >= minimum:
            return np.array(held)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
def test_dirichlet_counts_are_niid_benchs(alpha: float) -> None:
    """The same random stream gives the reference's counts exactly: the draws come first, the shuffles after."""
    from leptonic.randomness import generator

    scheme = Dirichlet(scheme="dirichlet", alpha=alpha)
    for seed in range(5):
        ours = counts_of(partition(scheme, LABELS, None, count=10, seed=seed))
        assert np.array_equal(ours, niid_bench_dirichlet(LABELS, 10, alpha, 10, generator(seed, "partition")))


def test_dirichlet_skew_falls_with_alpha() -> None:
    """Mean total-variation distance between a client's classes and the even mix."""

    def skew(alpha: float) -> float:
        scheme = Dirichlet(scheme="dirichlet", alpha=alpha)
        counts = counts_of(partition(scheme, LABELS, None, count=10, seed=0)).astype(float)
        shares = counts / counts.sum(axis=1, keepdims=True)
        return float(np.abs(shares - 0.1).sum(axis=1).mean() / 2)

    assert skew(0.05) > 0.6 > skew(0.5) > 0.15 > skew(1000.0)


@settings(max_examples=60, deadline=None)
@given(held=st.integers(1, 10), count=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_classes_per_client(held: int, count: int, seed: int) -> None:
    scheme = ClassesPerClient(scheme="classes", classes=held)
    if held * count < 10:
        with pytest.raises(DataError, match=f"from {-(-10 // count)} to 10"):
            partition(scheme, LABELS, None, count=count, seed=seed)
        return
    parts = partition(scheme, LABELS, None, count=count, seed=seed)
    counts = counts_of(parts)
    assert_exact_cover(parts, len(LABELS))
    assert ((counts > 0).sum(axis=1) == held).all()
    assert all(counts[client, client % 10] > 0 for client in range(count))
    for kind in range(10):
        shares = counts[counts[:, kind] > 0, kind]
        assert shares.sum() == 600
        assert shares.max() - shares.min() <= 1


def test_classes_that_do_not_occur_are_not_dealt() -> None:
    labels = np.repeat([1, 4, 7], 20).astype(np.int64)
    parts = partition(ClassesPerClient(scheme="classes", classes=1), labels, None, count=6, seed=0)
    assert_exact_cover(parts, 60)
    assert [int(labels[part][0]) for part in parts] == [1, 4, 7, 1, 4, 7]
    with pytest.raises(DataError, match="from 1 to 3"):
        partition(ClassesPerClient(scheme="classes", classes=4), labels, None, count=6, seed=0)


def test_more_holders_than_rows_of_a_class() -> None:
    labels = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.int64)
    with pytest.raises(DataError, match="class 0 has 1 examples for 4 clients"):
        partition(ClassesPerClient(scheme="classes", classes=2), labels, None, count=4, seed=0)


def test_quantity_keeps_the_mix_of_classes() -> None:
    parts = partition(QuantitySkew(scheme="quantity", alpha=0.5), LABELS, None, count=5, seed=0)
    counts = counts_of(parts)
    sizes = counts.sum(axis=1)
    assert sizes.max() > 2 * sizes.min()
    big = counts[sizes > 500]
    # Ten classes with chance 0.1 each: 5 standard deviations of a binomial share.
    assert (np.abs(big / big.sum(axis=1, keepdims=True) - 0.1) < 5 * np.sqrt(0.09 / 500)).all()


@pytest.mark.parametrize(
    "scheme",
    [
        Dirichlet(scheme="dirichlet", alpha=0.01, minimum_examples=50),
        QuantitySkew(scheme="quantity", alpha=0.01, minimum_examples=50),
    ],
)
def test_an_impossible_minimum_ends_with_advice(scheme: Partition) -> None:
    with pytest.raises(DataError, match="raise alpha, lower minimum_examples, or take fewer clients"):
        partition(scheme, LABELS[:600], None, count=10, seed=0)


def test_natural_clients_are_the_largest_keys_then_by_name() -> None:
    keys = np.array(["b", "a", "c", "b", "c", "b", "d"])
    labels = np.zeros(7, np.int64)
    scheme = NaturalPartition(scheme="natural")
    parts = partition(scheme, labels, keys, count=4, seed=0)
    assert [part.tolist() for part in parts] == [[0, 3, 5], [2, 4], [1], [6]]
    assert [part.tolist() for part in partition(scheme, labels, keys, count=2, seed=9)] == [[0, 3, 5], [2, 4]]
    with pytest.raises(DataError, match="only 4 natural clients"):
        partition(scheme, labels, keys, count=5, seed=0)
    with pytest.raises(DataError, match=r"no key of natural clients; set data\.client"):
        partition(scheme, labels, None, count=2, seed=0)


def test_more_clients_than_rows() -> None:
    with pytest.raises(DataError, match=r"federation\.clients = 5: the data has only 4 rows"):
        partition(Iid(scheme="iid"), np.zeros(4, np.int64), None, count=5, seed=0)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any),
    alpha=st.none() | st.floats(1e-3, 1e3),
    client=st.integers(0, 10**6 - 1),
    data=st.data(),
)
def test_sampled_clients_draw_exactly_so_many_different_rows(
    sizes: list[int], alpha: float | None, client: int, data: st.DataObject
) -> None:
    """Also where the classes that a client prefers have not so many."""
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    examples = data.draw(st.integers(1, len(labels)))
    scheme = Sampled(scheme="sampled", examples=examples, alpha=alpha)
    rows = partition(scheme, labels, None, count=10**6, seed=7)[client]
    assert len(rows) == examples
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] <= rows[-1] < len(labels)


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_sampled_clients_draw_by_seed_and_index_alone(alpha: float | None) -> None:
    scheme = Sampled(scheme="sampled", examples=40, alpha=alpha)
    many, few = (partition(scheme, LABELS, None, count=count, seed=1) for count in (1000, 10))
    other = partition(scheme, LABELS, None, count=10, seed=2)
    assert len(many) == 1000
    for client in (9, 0, 4, 9):
        assert np.array_equal(many[client], few[client])
        assert not np.array_equal(many[client], other[client])
    assert not np.array_equal(many[0], many[1])
    assert [rows.tolist() for rows in many[3:9:2]] == [many[client].tolist() for client in (3, 5, 7)]
    assert sum(1 for _ in few) == 10
    for outside in (10, -1):
        with pytest.raises(IndexError):
            few[outside]


def test_sampled_rows_are_uniform_without_skew() -> None:
    clients = partition(Sampled(scheme="sampled", examples=60), LABELS, None, count=2000, seed=3)
    seen = np.bincount(np.concatenate(list(clients)), minlength=len(LABELS))
    # Each row is in a client's draw with chance 0.01: 6 standard deviations for the most extreme of 6000 rows.
    assert np.abs(seen - 20).max() < 6 * np.sqrt(2000 * 0.01 * 0.99)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_sampled_skew_has_the_variance_of_dirichlet_and_multinomial(alpha: float) -> None:
    examples, clients = 50, 2000
    scheme = Sampled(scheme="sampled", examples=examples, alpha=alpha)
    counts = counts_of(list(partition(scheme, LABELS, None, count=clients, seed=5)))
    assert np.abs(counts.mean(axis=0) - examples / 10).max() < 1.0
    # Var of Dirichlet-multinomial: n p (1 - p) (n + A) / (1 + A), A the sum of the ten alphas.
    expected = examples * 0.09 * (examples + 10 * alpha) / (1 + 10 * alpha)
    assert counts.var(axis=0).mean() == pytest.approx(expected, rel=0.1)


def test_a_million_sampled_clients_cost_nothing_until_they_are_asked() -> None:
    tracemalloc.start()
    clients = partition(Sampled(scheme="sampled", alpha=0.5), LABELS, None, count=10**6, seed=0)
    held, _ = tracemalloc.get_traced_memory()
    assert [len(clients[index]) for index in range(0, 10**6, 10**4)] == [60] * 100
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * LABELS.nbytes + 100_000
    assert after - held < 100_000


def test_sampled_clients_cannot_hold_more_than_there_is() -> None:
    with pytest.raises(DataError, match=r"examples = 61: the data has only 60 rows"):
        partition(Sampled(scheme="sampled", examples=61), LABELS[:60], None, count=5, seed=0)
