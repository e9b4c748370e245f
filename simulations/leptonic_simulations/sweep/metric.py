"""By what the cells of a sweep are compared; imported by the command line at its start, and so by itself."""

from enum import StrEnum

__all__ = ["Metric"]


class Metric(StrEnum):
    """What is compared: accuracy and loss are those of the last round, on the server's test data."""

    ACCURACY = "accuracy"
    BEST_ACCURACY = "best_accuracy"
    LOSS = "loss"

    @property
    def minimised(self) -> bool:
        """Whether less is better."""
        return self is Metric.LOSS
