"""Takes contributions one by one and gives their mean: streaming for the mean, whole for robust rules."""

from typing import Protocol

import numpy as np

from leptonic.pipeline import Contribution, Pipeline
from leptonic.update import Mean
from leptonic_server.rules import Rule

__all__ = ["Accumulator", "EachUpdate", "StreamingSum", "accumulator_for"]


class Accumulator(Protocol):
    """The sum of one round."""

    def add(self, client: int, contribution: Contribution) -> None:
        """Take one contribution."""
        ...

    def result(self) -> Mean:
        """The mean of what was taken; needs at least one contribution."""
        ...


def accumulator_for(pipeline: Pipeline, rule: Rule | None) -> Accumulator:
    """A fresh accumulator. rule: None for the mean."""
    return StreamingSum(pipeline) if rule is None else EachUpdate(pipeline, rule)


class StreamingSum:
    """One vector in memory, whatever the cohort."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._total = pipeline.zero()

    def add(self, client: int, contribution: Contribution) -> None:
        """Add one contribution; it need not be kept."""
        self._total.add(contribution)

    def result(self) -> Mean:
        """The mean of what was added."""
        return self._pipeline.decode(self._total)


class EachUpdate:
    """What robust rules need: every single update in memory. In the clear only."""

    def __init__(self, pipeline: Pipeline, rule: Rule) -> None:
        self._pipeline, self._rule = pipeline, rule
        self._updates: dict[int, Contribution] = {}

    def add(self, client: int, contribution: Contribution) -> None:
        """Keep a copy of one contribution, whose memory may be used again."""
        self._updates[client] = contribution.copy()

    def result(self) -> Mean:
        """The rule's combination, in roster order, so that the order of arrival does not matter."""
        means = [self._pipeline.decode(self._updates[client]) for client in sorted(self._updates)]
        combined = self._rule.combine(np.stack([mean.vectors["model"] for mean in means]))
        sums = {name: sum(mean.sums[name] for mean in means) for name in means[0].sums}
        return Mean(vectors={"model": combined.vector}, sums=sums, count=len(means))
