import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from leptonic import parameters
from leptonic.data.examples import DataSpec
from leptonic.device import placed
from leptonic.models.cnn import Cnn


def test_a_placed_model_is_the_same_model() -> None:
    """Its vector, its outputs and its gradients, against the model as it was built."""
    torch.manual_seed(0)
    built = Cnn(DataSpec(shape=(1, 28, 28), classes=10), channels=(4, 8), hidden=16)
    model = placed(copy.deepcopy(built), torch.device("cpu"))
    assert model.convolution2.weight.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(parameters.to_vector(model), parameters.to_vector(built))
    images, labels = torch.rand(6, 1, 28, 28), torch.arange(6)
    gradients = []
    for each in (built, model):
        F.cross_entropy(each(images), labels).backward()
        gradients.append(torch.cat([p.grad.reshape(-1) for p in each.parameters() if p.grad is not None]))
    torch.testing.assert_close(model(images), built(images), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_a_convolution_of_grey_images_makes_maps_with_channels_last() -> None:
    model = placed(Cnn(DataSpec(shape=(1, 28, 28), classes=10), channels=(4, 8), hidden=16), torch.device("cpu"))
    assert isinstance(model, Cnn)
    maps = model.convolution1(torch.rand(6, 1, 28, 28))
    assert maps.stride() == (4 * 28 * 28, 1, 28 * 4, 4)


def test_a_vector_is_laid_into_a_placed_model_as_it_was() -> None:
    model = placed(Cnn(DataSpec(shape=(1, 8, 8), classes=3), channels=(2, 3), hidden=4), torch.device("cpu"))
    vector = np.arange(parameters.layout_of(model).size, dtype=np.float32)
    parameters.from_vector(model, vector)
    assert np.array_equal(parameters.to_vector(model), vector)


def test_a_model_of_volumes_is_left_as_it_is() -> None:
    model = placed(nn.Sequential(nn.Conv3d(2, 3, 3), nn.Linear(4, 2)), torch.device("cpu"))
    assert all(parameter.is_contiguous() for parameter in model.parameters())
