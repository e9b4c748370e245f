"""Robust aggregation rules: one vector of a round's updates, even if some clients lie.

Called by the coordinator at the end of a round. A rule needs every single update in the clear, so it does not
go together with secure aggregation. The mean is no rule here: it is summed as integers while updates arrive.
"""

from leptonic import experiment
from leptonic_server.rules.geometric_median import GeometricMedian
from leptonic_server.rules.krum import Krum
from leptonic_server.rules.median import Median
from leptonic_server.rules.rule import Combined, Rule
from leptonic_server.rules.trimmed_mean import TrimmedMean

__all__ = ["rule_for", "Rule", "Combined"]


def rule_for(settings: experiment.Aggregation) -> Rule | None:
    """The rule that ``[aggregation]`` asks for, or None for the mean."""
    match settings:
        case experiment.MeanRule():
            return None
        case experiment.MedianRule():
            return Median()
        case experiment.TrimmedMeanRule():
            return TrimmedMean(settings.trim)
        case experiment.KrumRule():
            return Krum(settings.byzantine, settings.select)
        case experiment.GeometricMedianRule():
            return GeometricMedian(settings.iterations, settings.smoothing)
