"""Which of Flower's strategies need no more than the weighted mean of their clients' replies."""

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy

from leptonic.errors import ExperimentError

__all__ = ["summable"]

_SUMMABLE = (FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi)
"""Strategies whose ``aggregate_train`` does: it takes the mean first, and goes on from there."""
_FEWEST = 3
"""Of a sum of two, each learns the other's update."""


def summable(strategy: Strategy, *, clear_evaluation: bool) -> FedAvg:
    """The same strategy. Raises ExperimentError that says what to do where its rounds cannot be summed securely."""
    name = type(strategy).__name__
    if not isinstance(strategy, FedAvg) or _aggregator(type(strategy)) not in map(_aggregator, _SUMMABLE):
        allowed = ", ".join(each.__name__ for each in _SUMMABLE)
        raise ExperimentError(
            f"{name} looks at single replies, or may do so, which secure aggregation hides: take {allowed}, FedProx, "
            "or a subclass that leaves aggregate_train as it is (override that of SecureAggregation instead)"
        )
    if strategy.train_metrics_aggr_fn is not _stock_metrics():
        raise ExperimentError(
            f"{name} has a train_metrics_aggr_fn of its own, which would look at single clients' metrics: leave it "
            "out, and name the metrics whose weighted means are wanted, SecureAggregation(..., metrics=[...])"
        )
    if strategy.fraction_train > 0 and strategy.min_train_nodes < _FEWEST:
        raise ExperimentError(
            f"{name}(min_train_nodes={strategy.min_train_nodes}): of a sum of two each learns the other's update; "
            f"set min_train_nodes and min_available_nodes to {_FEWEST} or more, and to one more for each that may drop "
            "out"
        )
    if strategy.fraction_evaluate > 0 and not clear_evaluation:
        raise ExperimentError(
            f"{name}(fraction_evaluate={strategy.fraction_evaluate:g}): clients' evaluations come in the clear, one by "
            "one: set fraction_evaluate=0.0, or SecureAggregation(..., clear_evaluation=True), which each node's "
            "owner has to allow as well"
        )
    return strategy


def _aggregator(kind: type[Strategy]) -> object:
    return kind.aggregate_train


def _stock_metrics() -> object:
    return FedAvg().train_metrics_aggr_fn
