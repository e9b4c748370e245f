"""Scattering features: what an image looks like at several scales and angles, by fixed wavelets.

Nothing is learned, so they cost no privacy, and a linear model of them does better under differential privacy than a
network of the pixels. Called where examples become tensors (:mod:`leptonic.data.examples`), once for each example.
Source: Mallat 2012, arXiv 1101.2286; Bruna and Mallat 2013, arXiv 1203.1513; as features for private training,
Tramer and Boneh 2021, arXiv 2011.11660.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ANGLES", "COEFFICIENTS", "STRIDE", "Scattering", "features_of", "normalised"]

SCALES, ANGLES = 2, 8
STRIDE = 2**SCALES
"""Pixels between the places at which coefficients are taken."""
COEFFICIENTS = 1 + SCALES * ANGLES + math.comb(SCALES, 2) * ANGLES**2
"""At each place: 81."""

GROUP = 3
"""Neighbouring coefficients that are normalised together; 27 groups."""
FLOOR = 1e-5
"""Added to a group's variance, for pixels in 0..1: what is fainter than its root counts for less."""
LATTICE = 2.0**-12
"""Features are rounded to multiples of it."""
CHUNK = 32
"""Images at a time, so that intermediate results stay in the cache."""

_WIDTH, _FREQUENCY, _SLANT = 0.8, 0.75 * math.pi, 4.0 / ANGLES
"""Of the finest wavelet: standard deviation in pixels along the wave, its frequency, and along over across."""


def features_of(images: Tensor) -> Tensor:
    """The normalised features of each image, by itself: (n, C, H, W) float32 -> (n, 81 C, H // 4, W // 4) float32.

    Computed in float64 and rounded to a lattice that is coarse beside its rounding, so that an example has the same
    features to the last bit whatever examples it stands among.
    """
    count, channels, height, width = images.shape
    transform = _transform(height, width)
    found = torch.empty(count, channels * COEFFICIENTS, height // STRIDE, width // STRIDE)
    for part, out in zip(images.split(CHUNK), found.split(CHUNK), strict=True):
        coefficients = normalised(transform(part.double().flatten(0, 1)))
        out.copy_(coefficients.div_(LATTICE).round_().mul_(LATTICE).view(out.shape))
    return found


def normalised(coefficients: Tensor) -> Tensor:
    """Each group of 3 neighbouring coefficients of an image with mean 0 and variance 1 over its places.

    coefficients: (n, 81, h, w), of which an image's own values are all that its features depend on.
    """
    return F.group_norm(coefficients, COEFFICIENTS // GROUP, eps=FLOOR)


@lru_cache(maxsize=8)
def _transform(height: int, width: int) -> "Scattering":
    return Scattering(height, width)


class Scattering:
    """The transform of images of one size, continued beyond their borders by reflection.

    With x the image, psi_(j,a) the wavelet of scale 2^j and angle a, phi the Gaussian of the largest scale, * a
    convolution: x * phi; |x * psi_(j,a)| * phi; ||x * psi_(0,a)| * psi_(1,b)| * phi. That is 1 + 16 + 64
    coefficients, by ascending scale, then angle, each at every fourth pixel. Where psi_(1,b) is the last wavelet, phi
    averages every second pixel.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        # A multiple of the stride, with a margin of one stride at least on each side.
        self.grid = tuple(STRIDE * (-(-side // STRIDE) + 2) for side in (height, width))
        self.low = _response(_gaussian(self.grid))
        self.waves = [torch.stack([_wavelet(self.grid, j, angle) for angle in range(ANGLES)]) for j in range(SCALES)]
        # Of the coarse wavelets a quarter of the frequencies after another, which will be added.
        self._quarters = [part.to(torch.complex128) / 4 for part in _quartered(self.waves[1])]
        inner = (height // STRIDE, width // STRIDE)
        self._average = [
            tuple(_averaging(side, places, step) for side, places in zip(self.grid, inner, strict=True))
            for step in (1, 2)
        ]

    def __call__(self, images: Tensor) -> Tensor:
        """Coefficients (n, 81, H // 4, W // 4) of images (n, H, W), float64."""
        return self.of_grid(self.continued(images))

    def continued(self, images: Tensor) -> Tensor:
        """Images (n, H, W) with reflected margins, as large as the grid."""
        below, right = (side - STRIDE - inner for side, inner in zip(self.grid, (self.height, self.width), strict=True))
        return F.pad(images[:, None], (STRIDE, right, STRIDE, below), mode="reflect")[:, 0]

    def of_grid(self, images: Tensor) -> Tensor:
        """As a call, of images as large as the grid, (n, *grid), which are taken to be periodic."""
        spectrum = torch.fft.fft2(images)[:, None]
        fine = _modulus(torch.fft.ifft2(spectrum * self.waves[0]))
        parts = [self._averaged(images[:, None], 1), self._averaged(fine, 1), self._coarse(spectrum)]
        spectra = torch.fft.fft2(fine)
        parts += [self._coarse(spectra[:, angle : angle + 1]) for angle in range(ANGLES)]
        return torch.cat(parts, dim=1)

    def _coarse(self, spectrum: Tensor) -> Tensor:
        """|y * psi_(1,b)| * phi for all b, of spectra (n, 1, *grid). Returns (n, 8, h, w).

        y * psi_(1,b) has only half of the frequencies, so that every second pixel says nearly all of it.
        """
        parts = _quartered(spectrum)
        folded = parts[0] * self._quarters[0]
        for part, response in zip(parts[1:], self._quarters[1:], strict=True):
            folded.addcmul_(part, response)
        return self._averaged(_modulus(torch.fft.ifft2(folded)), 2)

    def _averaged(self, values: Tensor, step: int) -> Tensor:
        """The average y * phi at every fourth pixel, of y at every step-th: (n, k, *grid / step) -> (n, k, h, w)."""
        down, across = self._average[step - 1]
        return down @ values @ across.T


def _wavelet(grid: tuple[int, ...], scale: int, angle: int) -> Tensor:
    """The response at each frequency of a Morlet wavelet: a wave under a Gaussian, less what makes its mean zero."""
    turned, deviation = angle * math.pi / ANGLES, _WIDTH * 2**scale
    y, x = _places(grid)
    along, across = x * math.cos(turned) + y * math.sin(turned), y * math.cos(turned) - x * math.sin(turned)
    bell = torch.exp(-(along.square() + (_SLANT * across).square()) / (2 * deviation**2))
    wave = torch.polar(bell, _FREQUENCY / 2**scale * along)
    wave = wave - bell * (wave.sum() / bell.sum())
    return _response(_periodic(wave, grid) * (_SLANT / (2 * math.pi * deviation**2)))


def _gaussian(grid: tuple[int, ...]) -> Tensor:
    """The average phi, (*grid), summing to 1."""
    rows, columns = (_bell(side) for side in grid)
    return rows[:, None] * columns


def _bell(side: int) -> Tensor:
    """One dimension of phi, from its middle on: (side,)."""
    deviation = _WIDTH * 2 ** (SCALES - 1)
    places = _places((side,))[0]
    bell = _periodic(torch.exp(-places.square() / (2 * deviation**2)), (side,))
    return bell / bell.sum()


def _averaging(side: int, places: int, step: int) -> Tensor:
    """The weights of phi around each place, for every step-th pixel of a grid's side: (places, side / step)."""
    bell = _bell(side)
    rows = torch.stack([bell.roll(STRIDE * (place + 1)) for place in range(places)])[:, ::step]
    return (rows / rows.sum(dim=1, keepdim=True)).contiguous()


def _places(grid: tuple[int, ...]) -> list[Tensor]:
    """Coordinates of the pixels of five periods in each dimension, those of the middle one beginning at 0."""
    axes = [torch.arange(-2 * side, 3 * side, dtype=torch.float64) for side in grid]
    return list(torch.meshgrid(*axes, indexing="ij"))


def _periodic(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The sum of the five periods in each dimension: two are ten deviations of the widest Gaussian or more."""
    for dimension, side in enumerate(grid):
        values = values.unflatten(dimension, (5, side)).sum(dim=dimension)
    return values


def _response(filter_: Tensor) -> Tensor:
    """Of a filter that is the conjugate of its own reflection: real."""
    response: Tensor = torch.fft.fft2(filter_).real
    return response.contiguous()


def _quartered(spectra: Tensor) -> list[Tensor]:
    """The quarters (k, side / 2, side / 2) of (k, side, side)."""
    return [part for half in spectra.chunk(2, dim=-2) for part in half.chunk(2, dim=-1)]


def _modulus(values: Tensor) -> Tensor:
    """Absolute values of complex ones, some times as fast as abs(), which minds values beyond 1e150."""
    squares = values.real.square().addcmul_(values.imag, values.imag)
    return squares.sqrt_()
