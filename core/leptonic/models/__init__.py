"""The model zoo: builds the network that an experiment names, the same on every machine.

Built-in models keep to what per-example gradients allow (no BatchNorm, no module called twice, no in-place
operation), so that every one of them trains under Opacus as it is. torch is imported only when building.
"""

from typing import TYPE_CHECKING

from leptonic import entry, experiment
from leptonic.data.examples import DataSpec
from leptonic.errors import ExperimentError
from leptonic.randomness import torch_stream

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build"]


def build(settings: experiment.Model, spec: DataSpec, seed: int) -> "nn.Module":
    """The model for data of this kind, on the CPU, with initial weights that depend on ``seed`` alone.

    The network takes (n, *spec.input_shape) float32 and returns (n, spec.classes) float32 logits. torch's global
    generator is on the stream ("initialisation",) meanwhile and is left as it was found.
    Raises ExperimentError when the model does not fit the data, or an own factory gives no usable module.
    """
    with torch_stream(seed, "initialisation"):
        if isinstance(settings, experiment.OwnModel):
            return _own(settings, spec)
        return _built_in(settings, spec)


def _built_in(
    settings: experiment.Logistic
    | experiment.Mlp
    | experiment.LeNet
    | experiment.Cnn
    | experiment.TanhCnn
    | experiment.ResNet,
    spec: DataSpec,
) -> "nn.Module":
    from leptonic.models.cnn import Cnn
    from leptonic.models.lenet import LeNet
    from leptonic.models.logistic import Logistic
    from leptonic.models.mlp import Mlp
    from leptonic.models.resnet import ResNet
    from leptonic.models.tanh_cnn import TanhCnn

    match settings:
        case experiment.Logistic():
            return Logistic(spec)
        case experiment.Mlp(hidden=hidden):
            return Mlp(spec, hidden=hidden)
        case experiment.LeNet():
            return LeNet(spec)
        case experiment.Cnn(channels=channels, hidden=width):
            return Cnn(spec, channels=channels, hidden=width)
        case experiment.TanhCnn():
            return TanhCnn(spec)
        case experiment.ResNet(width=width, blocks=blocks):
            return ResNet(spec, width=width, blocks=blocks)


def _own(settings: experiment.OwnModel, spec: DataSpec) -> "nn.Module":
    from torch import nn

    from leptonic.parameters import layout_of

    model = entry.call(settings.name, spec, what="model.name", options=settings.options)
    if not isinstance(model, nn.Module):
        raise ExperimentError(
            f"model.name = {settings.name!r}: the factory returned a {type(model).__name__}; return a torch.nn.Module"
        )
    layout_of(model)  # refuses what cannot be averaged before any client is asked
    return model
