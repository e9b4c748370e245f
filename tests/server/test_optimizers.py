"""Server optimisers: first steps by hand, many steps against the papers' formulas in float64, convergence."""

import math
from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors.numpy import load, save

from leptonic.errors import ExperimentError, RunError
from leptonic.experiment import ServerAdaptive, ServerSgd
from leptonic_server.optimizers import ServerOptimizer, State, optimizer_for

Kind = Literal["adam", "yogi", "adagrad"]
KINDS = get_args(Kind)
Vector = NDArray[np.float32]


def adaptive(kind: Kind, rate: float = 0.5, tau: float = 0.1) -> ServerOptimizer:
    return optimizer_for(ServerAdaptive(name=kind, learning_rate=rate, beta1=0.5, beta2=0.75, tau=tau))


def everyone() -> list[ServerOptimizer]:
    return [
        optimizer_for(ServerSgd(name="sgd")),
        optimizer_for(ServerSgd(name="sgd", learning_rate=0.5, momentum=0.9)),
        *(adaptive(kind) for kind in KINDS),
    ]


def steps(optimizer: ServerOptimizer, vector: Vector, *updates: Vector) -> tuple[State, Vector]:
    state = optimizer.init(len(vector))
    for update in updates:
        state, vector = optimizer.apply(state, vector, update)
    return state, vector


def array(*values: float) -> Vector:
    return np.array(values, dtype=np.float32)


@given(
    vector=hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    update=hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
)
def test_the_default_is_exactly_fedavg(vector: Vector, update: Vector) -> None:
    optimizer = optimizer_for(ServerSgd(name="sgd"))
    state, moved = optimizer.apply(optimizer.init(8), vector, update)
    assert state == {}
    assert moved.tobytes() == (vector + update).tobytes()


def test_momentum_by_hand() -> None:
    optimizer = optimizer_for(ServerSgd(name="sgd", learning_rate=0.5, momentum=0.5))
    state, vector = steps(optimizer, array(1, -1), array(2, 4))
    assert state["momentum"].tolist() == [2, 4]
    assert vector.tolist() == [2, 1]
    state, vector = optimizer.apply(state, vector, array(1, -8))
    assert state["momentum"].tolist() == [2, -6]
    assert vector.tolist() == [3, -2]


# beta1 = 1/2, beta2 = 3/4, tau = 1/10, rate = 1/2; updates 1 and then -2, from v = 1/100 and m = 0.
BY_HAND = {
    "adam": (0.75 * 0.01 + 0.25, 0.75 * (0.75 * 0.01 + 0.25) + 0.25 * 4),
    "yogi": (0.01 + 0.25, 0.01 + 0.25 + 0.25 * 4),
    "adagrad": (1.01, 5.01),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_adaptive_steps_by_hand(kind: Kind) -> None:
    first_root, second_root = (math.sqrt(v) for v in BY_HAND[kind])
    one = 3 + 0.5 * 0.5 / (first_root + 0.1)
    two = one + 0.5 * (0.25 - 1) / (second_root + 0.1)
    state, vector = steps(adaptive(kind), array(3), array(1))
    assert vector[0] == pytest.approx(one, rel=1e-6)
    assert state["first"][0] == 0.5
    state, vector = steps(adaptive(kind), array(3), array(1), array(-2))
    assert vector[0] == pytest.approx(two, rel=1e-6)
    assert state["first"][0] == -0.75
    assert state["second"][0] == pytest.approx(BY_HAND[kind][1], rel=1e-6)


def test_yogi_shrinks_additively_where_adam_shrinks_by_a_factor() -> None:
    # With v = tau^2 = 1 and an update of 1/2: yogi takes off (1 - beta2) / 4, adam comes to 3/4 + 1/16.
    assert steps(adaptive("yogi", tau=1.0), array(0), array(0.5))[0]["second"][0] == 1 - 0.25 * 0.25
    assert steps(adaptive("adam", tau=1.0), array(0), array(0.5))[0]["second"][0] == 0.75 + 0.25 * 0.25


def reference(kind: str, vector: Vector, updates: list[Vector]) -> NDArray[np.float64]:
    """Algorithm 2 of Reddi et al. in float64, entry by entry."""
    moved = []
    for entry, x in enumerate(vector.tolist()):
        m, v = 0.0, 0.1**2
        for update in updates:
            delta = float(update[entry])
            m = 0.5 * m + 0.5 * delta
            if kind == "adagrad":
                v = v + delta**2
            elif kind == "adam":
                v = 0.75 * v + 0.25 * delta**2
            else:
                v = v - 0.25 * delta**2 * ((v > delta**2) - (v < delta**2))
            x = x + 0.5 * m / (math.sqrt(v) + 0.1)
        moved.append(x)
    return np.array(moved)


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_follow_the_paper(kind: Kind) -> None:
    draws = np.random.default_rng(3)
    vector = draws.standard_normal(50).astype(np.float32)
    updates = [draws.standard_normal(50).astype(np.float32) for _ in range(20)]
    _, moved = steps(adaptive(kind), vector, *updates)
    np.testing.assert_allclose(moved, reference(kind, vector, updates), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimizer", everyone(), ids=repr)
def test_a_quadratic_is_minimised(optimizer: ServerOptimizer) -> None:
    target = array(1, -2, 3, 0.5)
    vector, state = np.zeros(4, dtype=np.float32), optimizer.init(4)
    for _ in range(300):
        state, vector = optimizer.apply(state, vector, array(0.3) * (target - vector))
    np.testing.assert_allclose(vector, target, atol=1e-3)


@pytest.mark.parametrize("optimizer", everyone(), ids=repr)
def test_a_saved_state_continues_bit_for_bit(optimizer: ServerOptimizer) -> None:
    draws = np.random.default_rng(5)
    updates = [draws.standard_normal(9).astype(np.float32) for _ in range(4)]
    state, vector = steps(optimizer, np.zeros(9, dtype=np.float32), *updates[:3])
    _, expected = optimizer.apply(state, vector, updates[3])
    _, resumed = optimizer.apply(load(save(state)), vector, updates[3])
    assert resumed.tobytes() == expected.tobytes()
    assert all(value.dtype == np.float32 for value in state.values())
    assert expected.dtype == np.float32


@pytest.mark.parametrize("optimizer", everyone(), ids=repr)
def test_inputs_are_never_modified(optimizer: ServerOptimizer) -> None:
    state, vector, update = optimizer.init(3), array(1, 2, 3), array(4, 5, 6)
    for value in (*state.values(), vector, update):
        value.flags.writeable = False
    moved_state, moved = optimizer.apply(state, vector, update)
    assert not any(np.shares_memory(moved, value) for value in (vector, update))
    assert not any(np.shares_memory(moved_state[name], value) for name, value in state.items())


def test_momentum_does_not_alias_the_update() -> None:
    optimizer = optimizer_for(ServerSgd(name="sgd", momentum=0.5))
    update = array(1, 2)
    state, _ = steps(optimizer, array(0, 0), update)
    assert not np.shares_memory(state["momentum"], update)


def test_a_state_of_other_settings_is_refused() -> None:
    momentum = optimizer_for(ServerSgd(name="sgd", momentum=0.5))
    with pytest.raises(RunError, match=r"\['first', 'second'\], but it needs \['momentum'\]"):
        momentum.apply(adaptive("adam").init(2), array(0, 0), array(1, 1))


def test_sizes_that_do_not_fit_are_refused() -> None:
    optimizer = adaptive("adam")
    with pytest.raises(RunError, match="'update' is"):
        optimizer.apply(optimizer.init(2), array(0, 0), array(1))
    with pytest.raises(RunError, match="'first' is"):
        optimizer.apply(optimizer.init(1), array(0, 0), array(1, 1))


def test_a_tau_that_float32_cannot_square_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"server_optimizer\.tau = 1e-20"):
        adaptive("adam", tau=1e-20)
