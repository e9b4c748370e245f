"""The flat vector: exact round trips, a layout that both sides can compare, and refusals."""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from safetensors.numpy import load, save
from torch import nn

from leptonic.errors import DecodeError, ExperimentError
from leptonic.parameters import Layout, from_vector, layout_of, state_dict_of, to_vector, vector_of

Shape = tuple[int, ...]
SHAPES = st.lists(st.sampled_from([(), (1,), (5,), (5, 123, 1), (2, 3), (0,), (1, 1, 1, 2)]), min_size=1, max_size=6)


class Bare(nn.Module):
    """Parameters of any shapes, without layers."""

    def __init__(self, *shapes: Shape) -> None:
        super().__init__()
        self.parts = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in shapes)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 3))


def test_layout_of_a_known_model() -> None:
    layout = layout_of(small())
    assert layout.names == ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
    assert layout.shapes == ((2, 1, 3, 3), (2,), (2,), (2,), (3, 8), (3,))
    assert layout.offsets == (0, 18, 20, 22, 24, 48)
    assert layout.size == 51


def test_hash_is_over_the_canonical_content() -> None:
    text = b'{"float32":[["a",[2,3]],["b",[]]]}'
    assert Layout(("a", "b"), ((2, 3), ())).hash == hashlib.sha256(text).hexdigest()


def test_hash_tells_names_shapes_and_order_apart() -> None:
    layouts = [
        Layout(("a", "b"), ((2,), (3,))),
        Layout(("b", "a"), ((3,), (2,))),
        Layout(("a", "c"), ((2,), (3,))),
        Layout(("a", "b"), ((3,), (2,))),
        Layout(("a", "b"), ((2, 1), (3,))),
    ]
    assert len({layout.hash for layout in layouts}) == len(layouts)


@given(shapes=SHAPES, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_round_trips_are_exact(shapes: list[Shape], seed: int) -> None:
    model, layout = Bare(*shapes), Layout(tuple(f"parts.{i}" for i in range(len(shapes))), tuple(shapes))
    assert layout_of(model) == layout
    assert layout.size == sum(math.prod(shape) for shape in shapes)
    vector = np.random.default_rng(seed).standard_normal(layout.size).astype(np.float32)
    from_vector(model, vector)
    assert to_vector(model).tobytes() == vector.tobytes()
    named = state_dict_of(layout, vector)
    assert {name: value.shape for name, value in named.items()} == dict(zip(layout.names, shapes, strict=True))
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), named[name])
    assert vector_of(layout, dict(reversed(named.items()))).tobytes() == vector.tobytes()
    assert vector_of(layout, load(save(named))).tobytes() == vector.tobytes()


def test_agrees_with_torch() -> None:
    model = small()
    reference = nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    assert np.array_equal(to_vector(model), reference)


def test_to_vector_copies() -> None:
    model = Bare((3,))
    vector = to_vector(model)
    vector[:] = 7
    assert np.array_equal(to_vector(model), np.zeros(3))


@pytest.mark.parametrize("arrange", ["read-only", "strided", "reversed"])
def test_from_vector_neither_keeps_nor_changes_what_it_is_given(arrange: str) -> None:
    vector = np.arange(8, dtype=np.float32)
    given_ = {
        "read-only": vector,
        "strided": np.repeat(vector, 2)[::2],
        "reversed": vector[::-1].copy()[::-1],
    }[arrange]
    if arrange == "read-only":
        given_.flags.writeable = False
    model = Bare((2, 3), (), (1,))
    from_vector(model, given_)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert np.array_equal(given_, np.arange(8))
    assert np.array_equal(to_vector(model), np.arange(1, 9))


def test_from_vector_copies_in_place_and_keeps_requires_grad() -> None:
    model = small()
    before = [(parameter, parameter.data_ptr()) for parameter in model.parameters()]
    from_vector(model, np.ones(51, np.float32))
    for (old, address), new in zip(before, model.parameters(), strict=True):
        assert old is new
        assert new.data_ptr() == address
        assert new.requires_grad
        assert new.grad_fn is None


@pytest.mark.parametrize("bad", [np.zeros(50, np.float32), np.zeros((51, 1), np.float32), np.zeros(51)])
def test_a_vector_that_does_not_fit_changes_nothing(bad: np.ndarray) -> None:
    model = small()
    before = to_vector(model)
    with pytest.raises(DecodeError, match=r"does not fit the model, which has \(51,\) float32"):
        from_vector(model, bad)
    with pytest.raises(DecodeError, match=r"\(51,\)"):
        state_dict_of(layout_of(model), bad)
    assert np.array_equal(to_vector(model), before)


def test_a_wrong_state_dict_is_refused() -> None:
    layout = Layout(("a", "b"), ((2,), ()))
    right = {"a": np.zeros(2, np.float32), "b": np.array(1, np.float32)}
    assert np.array_equal(vector_of(layout, right), [0, 0, 1])
    with pytest.raises(DecodeError, match=r"missing \['b'\], unknown \['c'\]"):
        vector_of(layout, {"a": right["a"], "c": right["b"]})
    with pytest.raises(DecodeError, match=r"'b' is \(1,\) float32, the model has \(\) float32"):
        vector_of(layout, right | {"b": np.zeros(1, np.float32)})
    with pytest.raises(DecodeError, match=r"'a' is \(2,\) float64"):
        vector_of(layout, {"a": np.zeros(2), "b": right["b"]})  # type: ignore[dict-item]


def test_opacus_wrapping_does_not_show() -> None:
    model = small()
    wrapped = GradSampleModule(small())
    assert layout_of(wrapped) == layout_of(model)
    assert layout_of(wrapped).hash == layout_of(model).hash
    from_vector(wrapped, to_vector(model))
    assert np.array_equal(to_vector(wrapped), to_vector(model))


def test_only_trainable_parameters_travel() -> None:
    model = small()
    model[0].requires_grad_(False)
    assert layout_of(model).names[0] == "1.weight"
    from_vector(model, np.zeros(31, np.float32))
    assert to_vector(model[0].requires_grad_(True)).any()
    with pytest.raises(ExperimentError, match="no trainable parameters"):
        layout_of(model.requires_grad_(False))


def test_running_statistics_are_refused_with_advice() -> None:
    with pytest.raises(ExperimentError, match=r"buffer '1.running_mean'.*GroupNorm"):
        layout_of(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))


def test_constants_and_counters_are_no_state_to_average() -> None:
    model = Bare((2,))
    model.register_buffer("positions", torch.arange(3.0), persistent=False)
    model.register_buffer("steps", torch.tensor(0))
    assert layout_of(model).size == 2


def test_half_precision_parameters_are_refused() -> None:
    with pytest.raises(ExperimentError, match=r"'weight' is torch.bfloat16.*training.precision"):
        layout_of(nn.Linear(2, 2).bfloat16())
    assert layout_of(nn.Linear(2, 2).double()).size == 6


def test_importing_models_tasks_and_parameters_does_not_import_torch() -> None:
    code = "import sys, leptonic.models, leptonic.tasks, leptonic.parameters; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
