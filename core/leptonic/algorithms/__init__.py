"""Federated algorithms, one file each, both halves together."""

from leptonic.algorithms.base import Algorithm, Contributed, Correction, Trained, Work
from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.algorithms.feddyn import DynamicRegularisation
from leptonic.algorithms.fednova import NormalisedAveraging
from leptonic.algorithms.fedprox import Proximal
from leptonic.algorithms.scaffold import ControlVariates
from leptonic.experiment import Experiment, FedDyn, FedNova, FedProx, Scaffold

__all__ = ["Algorithm", "Contributed", "Correction", "Trained", "Work", "algorithm_for"]


def algorithm_for(experiment: Experiment) -> Algorithm:
    """The algorithm that an experiment names."""
    match experiment.algorithm:
        case FedProx(mu=mu):
            return Proximal(mu=mu)
        case Scaffold():
            return ControlVariates()
        case FedNova():
            return NormalisedAveraging()
        case FedDyn(alpha=alpha):
            return DynamicRegularisation(alpha=alpha)
        case _:
            return FederatedAveraging()
