"""The zoo against published and counted parameter numbers, shapes, seeds and refusals."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from leptonic import experiment, models
from leptonic.data.examples import DataSpec
from leptonic.errors import ExperimentError
from leptonic.models.cnn import Cnn
from leptonic.models.layered import Layered
from leptonic.parameters import layout_of, to_vector

GREY = DataSpec(shape=(1, 28, 28), classes=10)
COLOUR = DataSpec(shape=(3, 32, 32), classes=7)
ODD = DataSpec(shape=(2, 19, 23), classes=3)
TABLE = DataSpec(shape=(13,), classes=2)
NAMES = ["logistic", "mlp", "lenet", "cnn", "tanh_cnn", "resnet"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_of(spec: DataSpec, seed: int = 0, **settings: Any) -> nn.Module:
    """Built as from an experiment file, through validation."""
    checked: experiment.Model = TypeAdapter(experiment.Model).validate_python(settings)
    return models.build(checked, spec, seed)


def digest(model: nn.Module) -> str:
    return hashlib.sha256(to_vector(model).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"name": "logistic"}, 784 * 10 + 10),
        ({"name": "mlp"}, 784 * 200 + 200 + 200 * 10 + 10),
        ({"name": "mlp", "hidden": [200, 200]}, 199_210),  # the 2NN of the FedAvg paper
        ({"name": "mlp", "hidden": []}, 7_850),
        ({"name": "lenet"}, 44_426),
        ({"name": "cnn"}, 1_663_370),  # the CNN of the FedAvg paper
        ({"name": "tanh_cnn"}, 26_010),  # arXiv 2011.11660
        ({"name": "cnn", "channels": [4, 6], "hidden": 9}, 26 * 4 + 101 * 6 + 295 * 9 + 100),
    ],
)
def test_parameter_counts_on_28_by_28(settings: dict[str, Any], count: int) -> None:
    assert layout_of(model_of(GREY, **settings)).size == count
    assert sum(parameter.numel() for parameter in model_of(GREY, **settings).parameters()) == count


@pytest.mark.parametrize(("width", "blocks"), [(16, 1), (8, 3), (4, 2)])
def test_resnet_parameter_count(width: int, blocks: int) -> None:
    w, c, k = width, COLOUR.shape[0], COLOUR.classes
    stem = 9 * c * w
    first_of_stage = sum(
        2 * i + 9 * i * o + 2 * o + 9 * o * o + (0 if i == o else i * o)
        for i, o in [(w, w), (w, 2 * w), (2 * w, 4 * w)]
    )
    others = (blocks - 1) * sum(2 * (2 * o + 9 * o * o) for o in (w, 2 * w, 4 * w))
    head = 2 * 4 * w + 4 * w * k + k
    model = model_of(COLOUR, name="resnet", width=width, blocks=blocks)
    assert layout_of(model).size == stem + first_of_stage + others + head


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [GREY, COLOUR, ODD])
def test_output_shape_and_gradient_flow(name: str, spec: DataSpec) -> None:
    model = model_of(spec, name=name)
    output = model(torch.randn(5, *spec.shape, generator=torch.Generator().manual_seed(1)))
    assert output.shape == (5, spec.classes)
    output.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_a_batch_do_not_meet(name: str) -> None:
    model = model_of(GREY, name=name)
    batch = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    one_by_one = torch.cat([model(batch[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(model(batch), one_by_one)


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_depend_on_the_seed_alone(name: str) -> None:
    first = digest(model_of(GREY, seed=3, name=name))
    torch.rand(17)
    assert digest(model_of(GREY, seed=3, name=name)) == first
    assert digest(model_of(GREY, seed=4, name=name)) != first


def test_the_global_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    model_of(GREY, name="lenet")
    with pytest.raises(ExperimentError):
        model_of(TABLE, name="lenet")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_many_clients_run_as_one_tensor_program(name: str) -> None:
    clients = [model_of(GREY, seed=seed, name=name) for seed in (1, 2)]
    parameters, buffers = stack_module_state(clients)
    batch = torch.randn(2, 3, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    together = vmap(lambda p, b, x: functional_call(clients[0], (p, b), (x,)))(parameters, buffers, batch)
    apart = torch.stack([client(x) for client, x in zip(clients, batch, strict=True)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_tables(name: str) -> None:
    assert model_of(TABLE, name=name)(torch.zeros(4, 13)).shape == (4, 2)


@pytest.mark.parametrize("name", ["lenet", "cnn", "tanh_cnn", "resnet"])
def test_image_models_refuse_tables(name: str) -> None:
    with pytest.raises(ExperimentError, match=rf"model.name = '{name}' needs images \[C, H, W\].*\[13\].*'mlp'"):
        model_of(TABLE, name=name)


@pytest.mark.parametrize(("name", "smallest"), [("lenet", 16), ("cnn", 4), ("tanh_cnn", 16), ("resnet", 4)])
def test_smallest_images(name: str, smallest: int) -> None:
    fits = DataSpec(shape=(1, smallest, smallest + 3), classes=2)
    assert model_of(fits, name=name)(torch.zeros(1, *fits.shape)).shape == (1, 2)
    with pytest.raises(ExperimentError, match=f"at least {smallest} x {smallest} pixels, not 28 x {smallest - 1}"):
        model_of(DataSpec(shape=(1, 28, smallest - 1), classes=2), name=name)


OWN = """
import torch
from torch import nn

def factory(spec, depth=1):
    return nn.Sequential(nn.Flatten(), *[nn.Linear(spec.shape[0], spec.shape[0]) for _ in range(depth)])

def text(spec):
    return "model"

def normalised(spec):
    return nn.Sequential(nn.Linear(spec.shape[0], 4), nn.BatchNorm1d(4))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "modelstest_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "modelstest_own"


@pytest.mark.parametrize("name", ["logistic", "mlp", "lenet", "cnn"])
def test_a_layered_model_states_all_of_its_layers_in_order(name: str) -> None:
    model = model_of(GREY, name=name)
    assert isinstance(model, Layered)
    stated = [parameter for layer in (*model.convolutions, *model.linears) for parameter in layer.parameters()]
    assert list(map(id, stated)) == list(map(id, model.parameters()))


def test_a_layered_model_is_the_chain_of_its_layers() -> None:
    """The FedAvg paper's CNN, written out, to the bit."""
    model, images = model_of(GREY, name="cnn"), torch.rand(4, 1, 28, 28)
    assert isinstance(model, Cnn)
    x = F.relu(F.max_pool2d(model.convolution1(images), 2))
    x = F.relu(F.max_pool2d(model.convolution2(x), 2))
    assert torch.equal(model(images), model.output(F.relu(model.hidden(x.flatten(1)))))


def test_own_model(own: str) -> None:
    model = model_of(TABLE, seed=5, name=f"{own}:factory", options={"depth": 3})
    assert layout_of(model).size == 3 * (13 * 13 + 13)
    assert digest(model_of(TABLE, seed=5, name=f"{own}:factory", options={"depth": 3})) == digest(model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "returned a str; return a torch.nn.Module"),
        ("normalised", "running_mean.*GroupNorm"),
        ("factry", "did you mean 'factory'"),
    ],
)
def test_own_models_that_cannot_be_used(own: str, name: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        model_of(TABLE, name=f"{own}:{name}")


def test_own_model_with_an_option_it_does_not_know(own: str) -> None:
    with pytest.raises(ExperimentError, match=r"model.name = 'modelstest_own:factory': the call failed.*'width'"):
        model_of(TABLE, name=f"{own}:factory", options={"width": 3})
