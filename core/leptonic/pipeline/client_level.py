"""What both encodings of client-level privacy share: one vector, every client of weight 1, and nothing else of it."""

from abc import ABC
from dataclasses import dataclass

from leptonic.errors import DecodeError
from leptonic.pipeline.base import Pipeline
from leptonic.pipeline.contribution import Contribution
from leptonic.privacy.client_level import ClientPlan

__all__ = ["ClientLevelPipeline"]


@dataclass(frozen=True)
class ClientLevelPipeline(Pipeline, ABC):
    """An encoding that bounds what a whole client can change. plan: the run's."""

    plan: ClientPlan

    @property
    def names(self) -> tuple[str, ...]:
        """That a client took part, and no more: whatever depends on its data would need noise too."""
        return ("count",)

    def check(self, contribution: Contribution, *, clients: int = 1) -> None:
        """Raise DecodeError unless so many clients can have contributed this."""
        if (count := self.sums(contribution)["count"]) != clients:
            raise DecodeError(f"the contribution of {clients} clients counts {count:g}")
