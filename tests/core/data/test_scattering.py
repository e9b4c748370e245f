"""Scattering against its definition: filters in closed form, convolutions by hand, and what the transform promises."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from leptonic.data import catalogue
from leptonic.data.examples import Examples
from leptonic.data.scattering import Scattering, features_of, normalised
from leptonic.errors import ExperimentError
from leptonic.experiment import CatalogueData, OwnData

SIZES = [(28, 28), (32, 32), (8, 8), (19, 23), (64, 48)]
Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
def test_wavelets_have_zero_mean_and_the_average_keeps_it(size: tuple[int, int]) -> None:
    transform = Scattering(*size)
    assert max(float(wave[:, 0, 0].abs().max()) for wave in transform.waves) < 1e-15
    assert float(transform.low[0, 0]) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("size", SIZES)
def test_no_frequency_leaves_with_more_energy_than_it_came_with(size: tuple[int, int]) -> None:
    """Littlewood-Paley for real images: |phi|^2 + 1/2 sum(|psi(w)|^2 + |psi(-w)|^2) <= 1, so Sx moves at most as x."""
    transform = Scattering(*size)
    total = transform.low.square()
    for wave in transform.waves:
        total = total + (wave.square() + wave.flip((1, 2)).roll((1, 1), (1, 2)).square()).sum(dim=0) / 2
    assert float(total.max()) <= 1 + 1e-12
    assert float(total.min()) > 0.1  # and none is lost, the highest diagonal ones least


def test_wavelets_in_closed_form() -> None:
    """The Fourier transform of a Gaussian wave is a Gaussian, repeated every 2 pi since the wave has pixels."""
    transform = Scattering(28, 28)
    side = 36
    steps = 2 * np.pi * np.fft.fftfreq(side)
    shifts = 2 * np.pi * np.arange(-3, 4)
    vertical, horizontal = np.meshgrid(*[(steps[:, None] + shifts).ravel()] * 2, indexing="ij")
    for scale in (0, 1):
        deviation, frequency = 0.8 * 2**scale, 0.75 * np.pi / 2**scale
        for angle in range(8):
            turn = angle * np.pi / 8
            along = horizontal * np.cos(turn) + vertical * np.sin(turn)
            across = vertical * np.cos(turn) - horizontal * np.sin(turn)

            def bell(middle: float, along: Real = along, across: Real = across, deviation: float = deviation) -> Real:
                values = np.exp(-(deviation**2) * ((along - middle) ** 2 + (2 * across) ** 2) / 2)
                return np.asarray(values.reshape(side, 7, side, 7).sum(axis=(1, 3)))

            wave, around = bell(frequency), bell(0.0)
            expected = wave - around * wave[0, 0] / around[0, 0]
            np.testing.assert_allclose(transform.waves[scale][angle].numpy(), expected, atol=1e-12)


def morlet(scale: int, angle: int, reach: int = 24) -> Complex:
    """A wavelet by its definition on (2 reach + 1)^2 pixels, its middle in the middle."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    turn, deviation, frequency = angle * np.pi / 8, 0.8 * 2**scale, 0.75 * np.pi / 2**scale
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    bell = np.exp(-(along**2 + across**2 / 4) / (2 * deviation**2))
    wave = bell * np.exp(1j * frequency * along)
    return np.asarray((wave - bell * wave.sum() / bell.sum()) * 0.5 / (2 * np.pi * deviation**2))


def convolved(values: Complex | Real, kernel: Complex | Real) -> Complex:
    """A periodic convolution by its definition."""
    reach, side = len(kernel) // 2, len(values)
    offsets = np.arange(-reach, reach + 1) % side
    once = np.zeros(values.shape, np.complex128)
    np.add.at(once, np.ix_(offsets, offsets), kernel)
    total = np.zeros(values.shape, np.complex128)
    for row in range(side):
        for column in range(side):
            total += once[row, column] * np.roll(values, (row, column), (0, 1))
    return total


def averaged(values: Real, step: int, places: int) -> Real:
    """The Gaussian mean around every fourth pixel but those of the margin, of every step-th pixel."""
    side = len(values)
    found = np.empty((places, places))
    offsets = np.arange(-2 * side, 2 * side + 1, step)
    bell = np.exp(-(offsets**2) / (2 * 1.6**2))
    bell /= bell.sum()
    for row in range(places):
        for column in range(places):
            rows, columns = (4 * (row + 1) + offsets) % side, (4 * (column + 1) + offsets) % side
            found[row, column] = bell @ values[np.ix_(rows, columns)] @ bell
    return found


def test_the_coefficients_of_a_small_image_by_hand() -> None:
    picture = images(1, 8, 8)
    whole = np.pad(picture[0].numpy(), 4, mode="reflect")
    expected = [averaged(whole, 1, 2)]
    fine = [np.abs(convolved(whole, morlet(0, angle))) for angle in range(8)]
    coarse = [np.abs(convolved(whole, morlet(1, angle))) for angle in range(8)]
    expected += [averaged(values, 1, 2) for values in fine] + [averaged(values, 2, 2) for values in coarse]
    for values in fine[:3]:
        expected += [averaged(np.abs(convolved(values, morlet(1, angle))), 2, 2) for angle in range(8)]
    found = Scattering(8, 8)(picture)[0]
    assert found.shape == (81, 2, 2)
    np.testing.assert_allclose(found[: len(expected)].numpy(), expected, rtol=1e-9, atol=1e-12)
    # To average every second pixel is nearly to average them all.
    every = np.array([averaged(values, 1, 2) for values in coarse])
    assert np.linalg.norm(found[9:17].numpy() - every) < 0.05 * np.linalg.norm(every)


def test_distances_do_not_grow() -> None:
    """An image's coefficients stand for 16 pixels each: their distance, times 4, is at most that of the images."""
    transform = Scattering(28, 28)
    first, second = images(20, 28, 28), images(20, 28, 28, seed=2)
    second[10:] = first[10:] + 0.1 * second[10:]  # some of them near to one another
    apart = transform.continued(first - second).flatten(1).norm(dim=1)
    moved = 4 * (transform(first) - transform(second)).flatten(1).norm(dim=1)
    assert (moved <= 1.001 * apart).all()
    energy = 4 * transform(first).flatten(1).norm(dim=1)
    assert (energy <= 1.001 * transform.continued(first).flatten(1).norm(dim=1)).all()


def test_an_image_that_moves_by_the_stride_moves_its_coefficients() -> None:
    picture = torch.zeros(1, 28, 28, dtype=torch.float64)
    picture[0, 5:13, 5:15] = images(8, 10)  # reaches the margins neither before nor after
    transform = Scattering(28, 28)
    here, there = transform(picture), transform(picture.roll((4, 8), (1, 2)))
    torch.testing.assert_close(there[:, :, 1:, 2:], here[:, :, :-1, :-2], rtol=0, atol=1e-12)


def test_a_flat_image_has_its_mean_alone() -> None:
    found = Scattering(28, 28)(torch.full((1, 28, 28), 0.7, dtype=torch.float64))[0]
    torch.testing.assert_close(found[0], torch.full((7, 7), 0.7, dtype=torch.float64))
    assert float(found[1:].abs().max()) < 1e-15
    assert float(features_of(torch.full((1, 1, 28, 28), 0.7))[0, 3:].abs().max()) == 0.0


@pytest.mark.parametrize(("channels", "size", "shape"), [(1, (28, 28), (81, 7, 7)), (3, (19, 23), (243, 4, 5))])
def test_shapes_are_those_that_models_are_built_for(
    channels: int, size: tuple[int, int], shape: tuple[int, ...]
) -> None:
    settings = OwnData(name="own", shape=[channels, *size], classes=2, features="scattering")
    assert catalogue.spec_of(settings).input_shape == shape
    assert features_of(images(2, channels, *size).float()).shape == (2, *shape)


def test_the_channels_of_a_picture_are_transformed_one_by_one() -> None:
    colour = images(2, 3, 16, 16).float()
    apart = torch.cat([features_of(colour[:, channel : channel + 1]) for channel in range(3)], dim=1)
    assert torch.equal(features_of(colour), apart)


def test_features_of_an_image_are_its_own_to_the_last_bit() -> None:
    pictures = images(70, 1, 28, 28).float()
    together = features_of(pictures)
    assert torch.equal(features_of(pictures[41:42]), together[41:42])
    assert torch.equal(features_of(pictures.flip(0)), together.flip(0))
    torch.set_num_threads(2)
    assert torch.equal(features_of(pictures), together)


def test_groups_of_three_are_normalised() -> None:
    coefficients = images(2, 81, 4, 4)
    groups = normalised(coefficients).view(2, 27, 3 * 16)
    torch.testing.assert_close(groups.mean(dim=2), torch.zeros(2, 27, dtype=torch.float64))
    variance = coefficients.view(2, 27, 3 * 16).var(dim=2, correction=0)
    torch.testing.assert_close(groups.var(dim=2, correction=0), variance / (variance + 1e-5))


def test_nothing_of_the_data_set_is_used() -> None:
    """Of a catalogue's data neither mean nor deviation, which were computed from its examples."""
    examples = Examples(np.random.default_rng(1).integers(0, 256, (3, 1, 28, 28), np.uint8), np.zeros(3, np.int64))
    spec = catalogue.spec_of(CatalogueData(name="mnist", features="scattering"))
    assert (spec.mean, spec.std) == ((0.0,), (1.0,))
    found, _ = examples.tensors(spec)
    assert torch.equal(found, features_of(torch.from_numpy(examples.features / np.float32(255))))


@pytest.mark.parametrize("shape", [[13], [1, 28, 7], [1, 5, 28]])
def test_what_has_no_scattering_features(shape: list[int]) -> None:
    settings = OwnData(name="own", shape=shape, classes=2, features="scattering")
    with pytest.raises(ExperimentError, match=r"data.features = 'scattering' needs images \[C, H, W\].*8 x 8"):
        catalogue.spec_of(settings)
