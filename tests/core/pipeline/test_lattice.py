"""The plain encoding: means equal exact means within the lattice's step, in any order, bit for bit."""

from itertools import permutations
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from leptonic.algorithms import Algorithm, Trained, algorithm_for
from leptonic.errors import DecodeError, RunError
from leptonic.experiment_file import from_mapping
from leptonic.integers import Lattice, to_fixed
from leptonic.pipeline import (
    Contribution,
    LatticePipeline,
    decode_scalars,
    encode_scalars,
    pipeline_for,
    reference_examples,
)
from leptonic.update import LocalUpdate, Mean, Vector

SIZE = 6
RANGE = 8.0
CAP = 100.0

VECTORS = hnp.arrays(np.float32, SIZE, elements=st.floats(-RANGE, RANGE, width=32))
UPDATES = st.lists(st.tuples(VECTORS, st.integers(1, 100)), min_size=1, max_size=9)


def algorithm(name: str) -> Algorithm:
    return algorithm_for(from_mapping({"name": "x", "algorithm": {"name": name}}))


def pipeline(
    *, clients: int = 9, cap: float | None = CAP, kind: str = "fedavg", sums: tuple[str, ...] = ()
) -> LatticePipeline:
    return LatticePipeline(
        algorithm=algorithm(kind),
        lattice=Lattice(range=RANGE, clients=clients),
        size=SIZE,
        weight_cap=cap,
        sum_names=sums,
    )


def update(vector: Vector, weight: float = 1.0, **sums: float) -> LocalUpdate:
    return LocalUpdate(vectors={"model": vector}, weight=weight, sums=sums)


def summed(pipe: LatticePipeline, contributions: list[Contribution]) -> Contribution:
    total = pipe.zero()
    for contribution in contributions:
        total.add(contribution)
    return total


def mean_of(pipe: LatticePipeline, updates: list[LocalUpdate]) -> Mean:
    return pipe.decode(summed(pipe, [pipe.encode(each) for each in updates]))


def assert_close(actual: Vector, exact: NDArray[np.float64], step: float) -> None:
    """Within ``step`` and the rounding of the result to float32."""
    assert actual.dtype == np.float32
    assert np.all(np.abs(actual - exact) <= step + np.spacing(np.abs(actual)))


@given(updates=UPDATES)
def test_the_weighted_mean_is_exact_within_the_lattice(updates: list[tuple[Vector, int]]) -> None:
    pipe = pipeline()
    weights = np.array([weight for _, weight in updates], dtype=np.float64)
    exact = weights @ np.array([vector for vector, _ in updates], dtype=np.float64) / weights.sum()
    mean = mean_of(pipe, [update(vector, weight) for vector, weight in updates])
    # Each client rounds weight / CAP * value by half a step; the sum is divided by sum(weights) / CAP.
    assert_close(mean.vectors["model"], exact, len(updates) * 0.5 / pipe.lattice.scale / (weights.sum() / CAP) * 1.001)
    assert mean.count == len(updates)
    assert (mean.sums["count"], mean.sums["weight"]) == (len(updates), weights.sum())
    assert (mean.sums["clamped"], mean.sums["capped"]) == (0.0, 0.0)


@given(updates=UPDATES)
def test_the_uniform_mean_ignores_weights(updates: list[tuple[Vector, int]]) -> None:
    pipe = pipeline(cap=None)
    exact = np.mean([vector.astype(np.float64) for vector, _ in updates], axis=0)
    mean = mean_of(pipe, [update(vector, weight) for vector, weight in updates])
    assert_close(mean.vectors["model"], exact, 0.5 / pipe.lattice.scale * 1.001)
    assert mean.sums["weight"] == mean.count == len(updates)


@given(updates=UPDATES, order=st.randoms(use_true_random=False))
def test_the_sum_is_bit_equal_in_any_order(updates: list[tuple[Vector, int]], order: Random) -> None:
    pipe = pipeline(sums=("train_loss",))
    parts = [pipe.encode(update(vector, weight, train_loss=weight / 7)) for vector, weight in updates]
    forwards = summed(pipe, parts).to_bytes()
    order.shuffle(parts)
    assert summed(pipe, parts).to_bytes() == forwards


@pytest.mark.parametrize("kind", ["fedavg", "scaffold", "fednova"])
@pytest.mark.parametrize("cap", [CAP, None])
@given(updates=UPDATES, seed=st.integers(0, 2**31))
def test_encoding_a_sum_is_summing_what_is_encoded(
    kind: str, cap: float | None, updates: list[tuple[Vector, int]], seed: int
) -> None:
    """To the last bit: clamped entries, capped weights and segments of equal weight as well."""
    random = np.random.default_rng(seed)
    names = (*algorithm(kind).sums, "train_loss")
    pipe = pipeline(kind=kind, cap=cap, sums=names)
    made = [
        LocalUpdate(
            vectors={
                segment.name: vector * random.normal(1.0, 0.5, SIZE).astype(np.float32)
                for segment in pipe.algorithm.segments
            },
            weight=2.0 * weight,
            sums=dict.fromkeys(names, weight / 7),
        )
        for vector, weight in updates
    ]
    assert pipe.encode_sum(made).to_bytes() == summed(pipe, [pipe.encode(each) for each in made]).to_bytes()


@given(updates=UPDATES)
@pytest.mark.parametrize("kind", ["fedavg", "scaffold"])
def test_what_is_encoded_into_given_memory_is_what_travels(kind: str, updates: list[tuple[Vector, int]]) -> None:
    pipe = pipeline(kind=kind, sums=algorithm(kind).sums)
    for vector, weight in updates:
        vectors = {segment.name: vector * index for index, segment in enumerate(pipe.algorithm.segments, start=1)}
        made = LocalUpdate(vectors, weight=2.0 * weight, sums=dict.fromkeys(pipe.sum_names, 0.5))
        room = memoryview(bytearray(b"x" * pipe.encoded_length))
        pipe.encode_into(room, made)
        assert room == pipe.encode(made).to_bytes()


SHARES = st.lists(st.floats(0.0, 1.0), min_size=9, max_size=9)


@given(updates=UPDATES, shares=SHARES, order=st.randoms(use_true_random=False), cap=st.sampled_from([CAP, None]))
def test_the_mean_of_discounted_updates_is_exact_within_the_lattice_in_any_order(
    updates: list[tuple[Vector, int]], shares: list[float], order: Random, cap: float | None
) -> None:
    pipe = pipeline(cap=cap)
    parts = list(zip(updates, shares, strict=False))
    encoded = [pipe.discounted(pipe.encode(update(vector, weight)), share) for (vector, weight), share in parts]
    mean = pipe.decode(summed(pipe, encoded))
    weights = [weight if cap else 1 for _, weight in updates]
    exact = np.average([share * vector.astype(np.float64) for (vector, _), share in parts], axis=0, weights=weights)
    # A step of rounding for each update: half by encoding, half by discounting.
    assert_close(mean.vectors["model"], exact, len(updates) / pipe.lattice.scale * (cap or 1.0) / sum(weights))
    order.shuffle(encoded)
    assert pipe.decode(summed(pipe, encoded)).vectors["model"].tobytes() == mean.vectors["model"].tobytes()


@pytest.mark.parametrize("cap", [CAP, None])
def test_a_whole_share_changes_no_bit_and_sums_are_never_discounted(cap: float | None) -> None:
    pipe = pipeline(cap=cap, sums=("loss",))
    encoded = pipe.encode(update(np.linspace(-9, 9, SIZE, dtype=np.float32), 70.0, loss=2.5))
    assert pipe.discounted(encoded, 1.0).to_bytes() == encoded.to_bytes()
    half = pipe.decode(pipe.discounted(encoded, 0.5))
    assert half.sums == pipe.decode(encoded).sums
    with pytest.raises(RunError, match="must be in"):
        pipe.discounted(encoded, 1.5)


def test_the_lattice_of_an_asynchronous_step_has_room_for_its_buffer() -> None:
    scenario = {"asynchronous": {"concurrency": 9, "buffer": 4}}
    assert pipeline_for(experiment(scenario=scenario), 10).lattice.clients == 4


def test_every_order_and_every_bracketing_of_four_gives_the_same_bits() -> None:
    pipe = pipeline()
    random = np.random.default_rng(0)
    parts = [pipe.encode(update(random.normal(size=SIZE).astype(np.float32), w)) for w in (1, 33, 100, 7)]
    results = {summed(pipe, list(order)).to_bytes() for order in permutations(parts)}
    results.add(summed(pipe, [summed(pipe, parts[:2]), summed(pipe, parts[2:])]).to_bytes())
    assert len(results) == 1


def test_the_sum_does_not_wrap_when_every_invited_client_is_at_the_edge() -> None:
    pipe = pipeline(clients=7)
    for edge in (RANGE, -RANGE):
        mean = mean_of(pipe, [update(np.full(SIZE, edge, dtype=np.float32), CAP)] * 7)
        assert mean.vectors["model"] == pytest.approx(np.full(SIZE, edge), rel=1e-6)


def test_control_variates_are_averaged_uniformly_beside_a_weighted_model() -> None:
    pipe = pipeline(kind="scaffold")
    random = np.random.default_rng(1)
    vectors = random.normal(size=(3, 2, SIZE)).astype(np.float32)
    weights = [10.0, 20.0, 70.0]
    updates = [
        LocalUpdate(vectors={"model": model, "control": control}, weight=weight)
        for (model, control), weight in zip(vectors, weights, strict=True)
    ]
    mean = mean_of(pipe, updates)
    assert mean.vectors["model"] == pytest.approx(np.average(vectors[:, 0], axis=0, weights=weights), abs=1e-6)
    assert mean.vectors["control"] == pytest.approx(np.mean(vectors[:, 1], axis=0), abs=1e-6)


def test_weights_above_the_cap_are_clamped_and_counted() -> None:
    pipe = pipeline()
    one, two = np.full(SIZE, 1, dtype=np.float32), np.full(SIZE, 4, dtype=np.float32)
    mean = mean_of(pipe, [update(one, 50), update(two, 1e6)])
    assert mean.vectors["model"] == pytest.approx(np.full(SIZE, (50 * 1 + 100 * 4) / 150), abs=1e-6)
    assert (mean.sums["weight"], mean.sums["capped"]) == (150.0, 1.0)
    assert [pipe.weight_of(w) for w in (1.0, 100.0, 101.0)] == [1.0, 100.0, 100.0]
    assert pipeline(cap=None).weight_of(1e6) == 1.0


def test_values_outside_the_range_are_clamped_and_counted() -> None:
    pipe = pipeline()
    wild = np.array([9, -9, 8, -8, 0, 1e30], dtype=np.float32)
    mean = mean_of(pipe, [update(wild, 10), update(np.zeros(SIZE, dtype=np.float32), 10)])
    assert mean.vectors["model"] == pytest.approx(np.array([4, -4, 4, -4, 0, 4]), abs=1e-6)
    assert mean.sums["clamped"] == 3.0


def test_sums_add_up_by_name_and_absent_ones_are_zero() -> None:
    pipe = pipeline(sums=("work", "train_loss"))
    zero = np.zeros(SIZE, dtype=np.float32)
    mean = mean_of(pipe, [update(zero, 3, train_loss=0.5, work=2.25), update(zero, 4, train_loss=-1.5)])
    expected = {"count": 2.0, "weight": 7.0, "clamped": 0.0, "capped": 0.0, "work": 2.25, "train_loss": -1.0}
    assert dict(mean.sums) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    vector = np.array([0, 0, bad, 0, 0, 0], dtype=np.float32)
    with pytest.raises(RunError):
        pipeline().encode(update(vector))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("-inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(RunError):
        pipeline().encode(update(np.zeros(SIZE, dtype=np.float32), weight))


def test_encoding_leaves_the_update_as_it_was() -> None:
    vector = np.array([9, 1, 2, 3, 4, 5], dtype=np.float32)
    pipeline().encode(update(vector, 50))
    assert vector.tolist() == [9, 1, 2, 3, 4, 5]


@given(updates=UPDATES)
def test_bytes_round_trip(updates: list[tuple[Vector, int]]) -> None:
    pipe = pipeline(sums=("work",))
    for vector, weight in updates:
        contribution = pipe.encode(update(vector, weight, work=-weight / 3))
        content = contribution.to_bytes()
        assert len(content) == 4 * SIZE + 8 * 5
        for buffer in (content, memoryview(content)):
            back = pipe.from_bytes(buffer)
            assert (back.words == contribution.words).all()
            assert (back.scalars == contribution.scalars).all()
            assert back.to_bytes() == content


def test_the_bytes_are_little_endian_words_then_scalars() -> None:
    pipe = LatticePipeline(
        algorithm=algorithm("fedavg"),
        lattice=Lattice(range=1.0, clients=2**31 - 1),
        size=2,
        weight_cap=None,
        sum_names=(),
    )
    content = pipe.encode(update(np.array([1.0, -1.0], dtype=np.float32))).to_bytes()
    one = (2**20).to_bytes(8, "little")
    assert content == b"\x01\0\0\0" + b"\xff\xff\xff\xff" + one + one + bytes(16)


@given(length=st.integers(0, 200))
def test_bytes_of_any_other_length_are_refused(length: int) -> None:
    pipe = pipeline()
    expected = len(pipe.zero().to_bytes())
    if length == expected:
        return
    with pytest.raises(DecodeError, match=str(expected)):
        pipe.from_bytes(bytes(length))


def test_zero_is_neutral_and_has_no_mean() -> None:
    pipe = pipeline(sums=("work",))
    contribution = pipe.encode(update(np.full(SIZE, 1.5, dtype=np.float32), 12, work=4.0))
    assert summed(pipe, [contribution]).to_bytes() == contribution.to_bytes()
    with pytest.raises(DecodeError):
        pipe.decode(pipe.zero())


def test_a_sum_without_weight_has_no_mean() -> None:
    with pytest.raises(DecodeError):
        mean_of(pipeline(), [update(np.ones(SIZE, dtype=np.float32), 0.0)])


@pytest.mark.parametrize(
    ("scalars", "why"),
    [
        ([-1.0, 1.0, 0.0, 0.0], "a negative count"),
        ([1.0, -1.0, 0.0, 0.0], "a negative weight"),
        ([0.5, 1.0, 0.0, 0.0], "half a client"),
        ([1.5, 1.0, 0.0, 0.0], "one client and a half"),
        ([2.0, 3 * CAP, 0.0, 0.0], "a weight above the cap of each client"),
        ([10.0, 1.0, 0.0, 0.0], "more clients than the lattice was made for"),
        ([2.0, 2.0, -1.0, 0.0], "a negative number of clamped values"),
        ([2.0, 2.0, 0.0, 3.0], "more capped clients than clients"),
    ],
)
def test_scalars_that_no_clients_can_sum_to_are_refused(scalars: list[float], why: str) -> None:
    """decode: "Raises DecodeError if the scalars cannot be a sum"; one liar must not pass for many."""
    pipe = pipeline()
    forged = Contribution(words=np.zeros(SIZE, dtype=np.uint32), scalars=to_fixed(scalars))
    with pytest.raises(DecodeError):
        pipe.decode(forged)


def test_contributions_of_other_layouts_do_not_add() -> None:
    with pytest.raises(RunError):
        pipeline().zero().add(pipeline(kind="scaffold").zero())
    with pytest.raises(RunError):
        pipeline().zero().add(pipeline(sums=("work",)).zero())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_scalars_travel_as_bytes_and_add(values: list[float]) -> None:
    words = decode_scalars(encode_scalars(values), len(values))
    assert words.dtype == np.uint64
    assert words.tolist() == to_fixed(values).tolist()
    with pytest.raises(DecodeError):
        decode_scalars(encode_scalars(values), len(values) + 1)
    with pytest.raises(DecodeError):
        decode_scalars(encode_scalars(values)[:-1], len(values))


def experiment(**sections: Any) -> Any:
    return from_mapping({"name": "x", "data": {"name": "digits", "train_examples": 1000}, **sections})


def test_the_experiment_fixes_the_lattice_the_cap_and_the_sums() -> None:
    pipe = pipeline_for(experiment(federation={"clients": 20, "cohort": 10, "over_selection": 0.5}), 4)
    assert pipe.lattice == Lattice(range=8.0, clients=15)  # invited, not wanted: late ones may all arrive
    assert pipe.weight_cap == 16 * 50.0
    assert pipe.sum_names == ("train_loss", "train_correct", "train_examples")
    assert pipeline_for(experiment(algorithm={"name": "fednova"}), 4).sum_names[0] == "work"


def test_the_cap_follows_the_rule() -> None:
    stated = experiment(aggregation={"rule": "mean", "weight_cap": 70})
    uniform = experiment(aggregation={"rule": "mean", "weighting": "uniform"})
    median = experiment(aggregation={"rule": "median", "range": 2.0})
    assert pipeline_for(stated, 4).weight_cap == 70.0
    assert pipeline_for(uniform, 4).weight_cap is None
    assert pipeline_for(median, 4).weight_cap is None
    assert pipeline_for(median, 4).lattice.range == 2.0


def test_under_privacy_no_metric_is_summed() -> None:
    private = experiment(privacy={"unit": "example", "epsilon": 8.0, "delta": 1e-5})
    assert pipeline_for(private, 4).sum_names == ()


def test_reference_examples_are_the_mean_clients() -> None:
    assert reference_examples(experiment(federation={"clients": 8})) == 125
    assert reference_examples(experiment(federation={"clients": 5000})) == 1
    own = from_mapping(
        {
            "name": "x",
            "data": {"name": "own", "shape": [3], "classes": 2},
            "task": {"kind": "tabular_classification"},
            "aggregation": {"rule": "mean", "weight_cap": 300},
        }
    )
    assert reference_examples(own) == 300
    assert pipeline_for(own, 4).weight_cap == 300.0


def test_fednova_survives_the_lattice_with_unequal_work() -> None:
    """tau_eff times the mean of normalised changes, in float64, against contribute, encode, decode and step."""
    nova = algorithm("fednova")
    pipe = pipeline(kind="fednova", sums=("work",))
    from leptonic.algorithms import Work

    random = np.random.default_rng(2)
    deltas = random.normal(0, 0.05, (3, SIZE)).astype(np.float32)
    weights, steps = np.array([10.0, 100.0, 45.0]), np.array([1, 9, 40])
    updates = []
    for delta, weight, taken in zip(deltas, weights, steps, strict=True):
        work = Work(steps=int(taken), reference_steps=7, learning_rate=0.1, momentum=0.0)
        made = nova.contribute(Trained(delta, weight=float(weight), work=work, sent={}, state={}))
        updates.append(LocalUpdate(vectors=made.vectors, weight=float(weight), sums=made.sums))
    _, change = nova.step({}, mean_of(pipe, updates), clients=3)
    shares = weights / weights.sum()
    exact = (shares @ steps) * (shares @ (deltas.astype(np.float64) / steps[:, None]))
    assert change == pytest.approx(exact, abs=1e-6)
