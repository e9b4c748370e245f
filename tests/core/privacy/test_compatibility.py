import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.privacy.compatibility import check_losses, check_model, made_up

torch.set_num_threads(1)
PROBE = torch.rand((2, 4), generator=torch.Generator().manual_seed(0))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.relu(self.layer(x)))


class Unused(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Centred(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(dim=0))


class CentredUnseen(Twice):
    """Mixes where no derivative shows it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.detach().mean(dim=0))


class Viewing(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).view(len(x), -1)


class Scaled(Twice):
    """A constant in a buffer, beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.scale)


class Counting(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        self.scale += x.mean()
        return super().forward(x)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(4, 2),
        nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 2)),
        Scaled(),
    ],
)
def test_good_models_pass_and_are_left_alone(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    model.eval()
    check_model(model, PROBE)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), r"1 \(BatchNorm1d\).*GroupNorm"),
        (
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False)),
            r"1 \(BatchNorm1d\)",
        ),
        (nn.Sequential(nn.LSTM(4, 4)), r"0 \(LSTM\)"),
        (nn.Sequential(nn.MultiheadAttention(4, 2)), r"0 \(MultiheadAttention\)"),
        (nn.Sequential(nn.InstanceNorm1d(4, affine=True, track_running_stats=True)), "buffers"),
        (tied(), "1.weight is tied to 0.weight"),
        (nn.ReLU(), "no trainable parameter"),
    ],
)
def test_what_the_modules_show_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_model(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice(), r"layer \(Linear\): called 2 times"),
        (Unused(), "called 0 times"),
        (Centred(), "depends on another example"),
        (CentredUnseen(), "depends on another example"),
        (Viewing(), "empty batch.*flatten"),
        (Counting(), "buffer scale changes"),
    ],
)
def test_what_a_run_shows_is_refused(model: nn.Module, message: str) -> None:
    check_model(model)
    with pytest.raises(PrivacyError, match=message):
        check_model(model, PROBE)


def test_a_changed_buffer_is_put_back() -> None:
    model = Counting()
    with pytest.raises(PrivacyError):
        check_model(model, PROBE)
    assert model.scale.item() == 2.0


class TimeFirst(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.expand(3, *x.shape))[0]


class Placed(Twice):
    """Looks places up once for all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.places(torch.arange(4)).sum(dim=0))


@pytest.mark.parametrize("model", [TimeFirst(), Placed()])
def test_layers_whose_first_axis_is_not_the_examples_are_refused(model: nn.Module) -> None:
    with pytest.raises(PrivacyError, match="first axis is not the examples"):
        check_model(model, PROBE)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale_grad_by_freq": True}, "mixes the examples"), ({"max_norm": 1.0}, "changes weights")],
)
def test_embeddings_that_look_at_the_batch_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_model(nn.Sequential(nn.Embedding(4, 3, **options)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.output = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x[:, None])[0][:, -1])


def test_an_lstm_passes_where_it_can_be_clipped() -> None:
    check_model(Recurrent(), PROBE, lstm=True)
    with pytest.raises(PrivacyError, match="LSTM"):
        check_model(Recurrent(), PROBE)


class Words(nn.Module):
    """Looks words up, and may centre them over the batch."""

    def __init__(self, *, centred: bool) -> None:
        super().__init__()
        self.words, self.output, self.centred = nn.Embedding(5, 4), nn.Linear(4, 2), centred

    def forward(self, x: Tensor) -> Tensor:
        own = self.words(x)
        return self.output((own - own.mean(dim=0) if self.centred else own).mean(dim=1))


def test_models_of_integers_are_run_as_well() -> None:
    probe = made_up((3,), torch.int64)
    check_model(Words(centred=False), probe)
    with pytest.raises(PrivacyError, match="depends on another example"):
        check_model(Words(centred=True), probe)


class MixedInTraining(Words):
    """Centres over the batch in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        self.centred = self.training
        return super().forward(x)


class AlwaysRandom(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.dropout(x))


class Merging(Twice):
    """Changes its weights where it is told to evaluate, as adapters do."""

    def train(self, mode: bool = True) -> "Merging":
        if not mode:
            with torch.no_grad():
                self.layer.weight += 1.0
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Squeezed(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0].squeeze()


def test_models_are_tried_as_in_training_and_as_in_evaluation_and_stay_as_they_were() -> None:
    with pytest.raises(PrivacyError, match="depends on another example"):
        check_model(MixedInTraining(centred=False), made_up((3,), torch.int64))
    check_model(AlwaysRandom(), PROBE)
    merging = Merging()
    before = merging.layer.weight.clone()
    check_model(merging, PROBE)
    assert torch.equal(merging.layer.weight, before)
    assert merging.training
    with pytest.raises(PrivacyError, match="one row for each"):
        check_model(Squeezed(), PROBE)


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(output, labels, reduction="none")


def weighted_by_batch(output: Tensor, labels: Tensor) -> Tensor:
    """Class weights 1 and 5, normalised over the batch."""
    weights = 1.0 + 4.0 * labels
    return cross_entropy(output, labels) * weights * len(labels) / weights.sum()


def less_the_mean(output: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(output - output.mean(dim=0), labels)


def with_detached_scale(output: Tensor, labels: Tensor) -> Tensor:
    losses = cross_entropy(output, labels)
    return losses / losses.detach().sum()


def test_losses_of_single_examples_pass_and_those_that_couple_a_batch_are_refused() -> None:
    outputs, labels = torch.randn((4, 2), generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 0])
    for size in (1, 4):
        check_losses(cross_entropy, outputs[:size], labels[:size])
    check_losses(cross_entropy, 1e30 * outputs, labels)
    for coupled in (weighted_by_batch, less_the_mean, with_detached_scale):
        with pytest.raises(PrivacyError, match="depends on the other examples"):
            check_losses(coupled, outputs, labels)
    with pytest.raises(PrivacyError, match=r"losses have the shape \(\)"):
        check_losses(F.cross_entropy, outputs, labels)


def in_place(output: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(output.clamp_(-3.0, 3.0), labels)


def random_losses(output: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(F.dropout(output), labels)


def test_losses_may_be_in_place_or_random_and_must_be_of_the_output() -> None:
    outputs, labels = torch.randn((4, 2), generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 0])
    for losses in (in_place, random_losses):
        check_losses(losses, outputs, labels)
    with pytest.raises(PrivacyError, match="do not depend on the model's output"):
        check_losses(lambda output, labels: labels.float(), outputs, labels)
    for unfit in ((outputs, outputs), outputs.long()):
        with pytest.raises(PrivacyError, match="no single tensor"):
            check_losses(cross_entropy, unfit, labels)  # type: ignore[arg-type]
