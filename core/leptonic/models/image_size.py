"""The size of the images that a convolutional model is built for, and what is too small for it."""

from leptonic.data.examples import DataSpec
from leptonic.errors import ExperimentError

__all__ = ["image_size"]


def image_size(spec: DataSpec, *, model: str, smallest: int) -> tuple[int, int, int]:
    """Channels, height and width of ``spec``'s images.

    smallest: fewest pixels of a side that the model can take.
    Raises ExperimentError when the examples are not images [C, H, W], or a side is too short.
    """
    if len(spec.input_shape) != 3:
        raise ExperimentError(
            f"model.name = {model!r} needs images [C, H, W], but an example has shape {list(spec.input_shape)}; "
            "use 'logistic' or 'mlp'"
        )
    channels, height, width = spec.input_shape
    if min(height, width) < smallest:
        raise ExperimentError(
            f"model.name = {model!r} needs images of at least {smallest} x {smallest} pixels, "
            f"not {height} x {width}; use 'mlp' or a smaller model of your own"
        )
    return channels, height, width
