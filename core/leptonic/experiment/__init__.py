"""The experiment file's settings: frozen, validated, the same on both sides.

One class per section; a choice (a model, an algorithm, a partition, ...) is a class of its own, so that a
key which does not belong to the choice is refused. :mod:`leptonic.experiment_file` reads and reports;
this module only says what is allowed. Nothing heavy is imported here.
"""

from leptonic.experiment.aggregation import (
    Aggregation,
    GeometricMedianRule,
    KrumRule,
    MeanRule,
    MedianRule,
    TrimmedMeanRule,
)
from leptonic.experiment.algorithm import (
    Algorithm,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    Scaffold,
    ServerAdaptive,
    ServerOptimizer,
    ServerSgd,
)
from leptonic.experiment.data import CatalogueData, Data, OwnData, Task
from leptonic.experiment.federation import (
    ClassesPerClient,
    Dirichlet,
    Federation,
    Iid,
    NaturalPartition,
    Partition,
    QuantitySkew,
    Sampled,
)
from leptonic.experiment.model import Cnn, LeNet, Logistic, Mlp, Model, OwnModel, ResNet, TanhCnn
from leptonic.experiment.privacy import Privacy
from leptonic.experiment.running import Evaluation, Outputs, Simulation
from leptonic.experiment.scenario import (
    ALittleIsEnough,
    Asynchronous,
    Attack,
    Availability,
    DropOuts,
    GaussianUpdate,
    InnerProduct,
    LabelFlip,
    Liars,
    Scale,
    Scenario,
    SignFlip,
    Stragglers,
)
from leptonic.experiment.secure_aggregation import SecureAggregation
from leptonic.experiment.settings import (
    ENTRY_PATTERN,
    Entry,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from leptonic.experiment.training import Schedule, Training
from leptonic.experiment.whole import Experiment

__all__ = [
    "ALittleIsEnough",
    "Aggregation",
    "Algorithm",
    "Asynchronous",
    "Attack",
    "Availability",
    "CatalogueData",
    "ClassesPerClient",
    "Cnn",
    "Data",
    "Dirichlet",
    "DropOuts",
    "ENTRY_PATTERN",
    "Entry",
    "Evaluation",
    "Experiment",
    "FedAvg",
    "FedDyn",
    "FedNova",
    "FedProx",
    "Federation",
    "Fraction",
    "GaussianUpdate",
    "GeometricMedianRule",
    "Iid",
    "InnerProduct",
    "KrumRule",
    "LabelFlip",
    "LeNet",
    "Liars",
    "Logistic",
    "MeanRule",
    "MedianRule",
    "Mlp",
    "Model",
    "NaturalPartition",
    "NonNegativeFloat",
    "Outputs",
    "OwnData",
    "OwnModel",
    "Partition",
    "PositiveFloat",
    "PositiveInt",
    "Privacy",
    "QuantitySkew",
    "ResNet",
    "Sampled",
    "Scaffold",
    "Scale",
    "Scenario",
    "Schedule",
    "SecureAggregation",
    "ServerAdaptive",
    "ServerOptimizer",
    "ServerSgd",
    "Settings",
    "SignFlip",
    "Simulation",
    "Stragglers",
    "TanhCnn",
    "Task",
    "Training",
    "TrimmedMeanRule",
]
