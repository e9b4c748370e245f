"""The experiment file's settings: frozen, validated, the same on both sides.

One class per section; a choice (a model, an algorithm, a partition, ...) is a class of its own, so that a
key which does not belong to the choice is refused. :mod:`leptonic.experiment_file` reads and reports;
this module only says what is allowed. Nothing heavy is imported here.
"""

import difflib
import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, FiniteFloat, Tag, field_validator, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
ENTRY_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
Entry = Annotated[str, Field(pattern=ENTRY_PATTERN)]
"""``package.module:name``, resolved on the machine that runs it, never received from the network."""


TASKS = ("image_classification", "tabular_classification")


class Settings(BaseModel):
    """Base of every section: no unknown keys, no coercion of types, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class CatalogueData(Settings):
    """A data set of the catalogue (``leptonic data list``)."""

    name: Literal["fashion-mnist", "mnist", "digits", "adult"] = Field(
        default="fashion-mnist", description="data set of the catalogue"
    )
    train_examples: PositiveInt | None = Field(
        default=None, description="use only so many training examples (a seeded choice)"
    )


class OwnData(Settings):
    """Data of the owners. What both sides must agree on is declared, never learned from the data."""

    name: Literal["own"]
    shape: list[PositiveInt] = Field(min_length=1, description="shape of one example: [C, H, W] or [features]")
    classes: Annotated[int, Field(ge=2)]
    mean: list[FiniteFloat] = Field(default=[0.0], description="subtracted, per channel or feature")
    std: list[PositiveFloat] = Field(default=[1.0], description="divided by, per channel or feature")
    target: str = Field(default="label", description="column (CSV, Parquet) or array (npz) of the class")
    client: str | None = Field(default=None, description="column or array that names each row's natural client")
    path: str | None = Field(default=None, description="training data for a simulation")
    test_path: str | None = Field(default=None, description="test data for the server's evaluation")

    @model_validator(mode="after")
    def _constants_fit(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(f"{name} needs one value or one for each of the {self.shape[0]} channels")
        return self


Data = Annotated[
    Annotated[CatalogueData, Tag("catalogue")] | Annotated[OwnData, Tag("own")],
    Discriminator(lambda v: "own" if _peek(v, "name") == "own" else "catalogue"),
]


class Logistic(Settings):
    """Multinomial logistic regression."""

    name: Literal["logistic"]


class Mlp(Settings):
    """Fully connected layers with ReLU."""

    name: Literal["mlp"]
    hidden: list[PositiveInt] = [200]


class LeNet(Settings):
    """NIID-Bench's convolutional network: conv 6 and 16 (5x5), fully connected 120 and 84."""

    name: Literal["lenet"]


class Cnn(Settings):
    """Two 5x5 convolutions and one hidden layer, as in the FedAvg paper (1.66 M parameters at default)."""

    name: Literal["cnn"]
    channels: list[PositiveInt] = Field(default=[32, 64], min_length=2, max_length=2)
    hidden: PositiveInt = 512


class ResNet(Settings):
    """Residual network with GroupNorm, for small images."""

    name: Literal["resnet"]
    width: PositiveInt = Field(default=16, multiple_of=4)
    blocks: PositiveInt = Field(default=1, description="residual blocks in each of the three stages")


class OwnModel(Settings):
    """A model factory of your own: ``package.module:factory``, called as factory(spec, **options)."""

    name: Entry
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _have_a_canonical_form(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("options are finite numbers, strings, booleans, lists and tables of these") from None
        return options


Model = Annotated[
    Annotated[Logistic, Tag("logistic")]
    | Annotated[Mlp, Tag("mlp")]
    | Annotated[LeNet, Tag("lenet")]
    | Annotated[Cnn, Tag("cnn")]
    | Annotated[ResNet, Tag("resnet")]
    | Annotated[OwnModel, Tag("own")],
    Discriminator(lambda v: "own" if ":" in str(_peek(v, "name")) else _peek(v, "name")),
]


class Iid(Settings):
    """Every client draws from the same distribution; sizes differ by at most one."""

    scheme: Literal["iid"]


class Dirichlet(Settings):
    """Label skew: each class is divided by a draw from Dirichlet(alpha)."""

    scheme: Literal["dirichlet"]
    alpha: PositiveFloat = 0.5
    minimum_examples: PositiveInt = Field(default=10, description="draw again until each client has so many")


class ClassesPerClient(Settings):
    """Label skew: each client holds exactly so many classes."""

    scheme: Literal["classes"]
    classes: PositiveInt = 2


class QuantitySkew(Settings):
    """Size skew: client sizes by a draw from Dirichlet(alpha), labels IID."""

    scheme: Literal["quantity"]
    alpha: PositiveFloat = 0.5
    minimum_examples: PositiveInt = 10


class NaturalPartition(Settings):
    """One client per value of the data's own key (person, device, hospital, ...), largest first."""

    scheme: Literal["natural"]


Partition = Annotated[
    Iid | Dirichlet | ClassesPerClient | QuantitySkew | NaturalPartition, Field(discriminator="scheme")
]


class Task(Settings):
    """What is learned."""

    kind: str = Field(
        default="image_classification",
        description="image_classification, tabular_classification, or package.module:factory",
    )

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind in TASKS or re.fullmatch(ENTRY_PATTERN, kind):
            return kind
        close = difflib.get_close_matches(kind, TASKS, n=1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        raise ValueError(f"not known{meant}; allowed: {', '.join(TASKS)}, package.module:factory")


class Federation(Settings):
    """Who takes part, and how long a round waits."""

    clients: PositiveInt = Field(default=10, description="clients in all")
    cohort: PositiveInt | None = Field(default=None, description="updates wanted per round; default: all clients")
    over_selection: NonNegativeFloat = Field(default=0.0, description="fraction invited beyond the cohort")
    minimum: PositiveInt | None = Field(
        default=None, description="fewest updates that make a round; default: half of the cohort, rounded up"
    )
    deadline: PositiveFloat = Field(default=600.0, description="seconds a round waits for its cohort")
    attempts: PositiveInt = Field(default=3, description="tries of one round before the run stops")
    partition: Partition = Iid(scheme="iid")

    @property
    def wanted(self) -> int:
        """Updates wanted per round."""
        return self.cohort or self.clients

    @property
    def invited(self) -> int:
        """Clients asked per round."""
        return min(self.clients, self.wanted + int(self.wanted * self.over_selection))

    @property
    def needed(self) -> int:
        """Fewest updates that make a round."""
        return self.minimum or (self.wanted + 1) // 2


class Schedule(Settings):
    """Learning rate over rounds: linear warm-up, then the chosen decay."""

    kind: Literal["constant", "cosine", "step", "exponential"] = "constant"
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    every: PositiveInt = Field(default=10, description="rounds between steps (step only)")
    factor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="multiplier per step, or per round (exponential)"
    )
    floor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="smallest fraction of the rate (cosine)"
    )


class Training(Settings):
    """Local work of a client in one round."""

    rounds: PositiveInt = 10
    local_epochs: PositiveInt | None = Field(default=None, description="passes over the data; default 1")
    local_steps: PositiveInt | None = Field(default=None, description="optimiser steps, instead of local_epochs")
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.01
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0
    schedule: Schedule = Schedule()
    accumulation_steps: PositiveInt = Field(default=1, description="micro-batches per optimiser step")
    gradient_clip_norm: PositiveFloat | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    threads: PositiveInt = Field(default=1, description="intra-op threads; part of what makes runs repeat")

    @model_validator(mode="after")
    def _one_measure_of_work(self) -> Self:
        if self.local_epochs is not None and self.local_steps is not None:
            raise ValueError("local_epochs and local_steps exclude each other: set one")
        if self.optimizer != "sgd" and self.momentum:
            raise ValueError(f"momentum belongs to sgd, not {self.optimizer}: leave it out")
        if self.schedule.warmup_rounds >= self.rounds:
            raise ValueError(
                f"schedule.warmup_rounds = {self.schedule.warmup_rounds} leaves none of {self.rounds} rounds"
            )
        return self


class FedAvg(Settings):
    """Federated averaging (McMahan et al. 2017, arXiv 1602.05629)."""

    name: Literal["fedavg"]


class FedProx(Settings):
    """FedAvg with a proximal term mu/2 ||w - w_global||^2 (Li et al. 2020, arXiv 1812.06127)."""

    name: Literal["fedprox"]
    mu: NonNegativeFloat = 0.01


class Scaffold(Settings):
    """Control variates against client drift (Karimireddy et al. 2020, arXiv 1910.06378)."""

    name: Literal["scaffold"]


class FedNova(Settings):
    """Normalised averaging for unequal local work (Wang et al. 2020, arXiv 2007.07481)."""

    name: Literal["fednova"]


class FedDyn(Settings):
    """Dynamic regularisation (Acar et al. 2021, arXiv 2111.04263)."""

    name: Literal["feddyn"]
    alpha: PositiveFloat = 0.01


Algorithm = Annotated[FedAvg | FedProx | Scaffold | FedNova | FedDyn, Field(discriminator="name")]


class ServerSgd(Settings):
    """new = old + learning_rate * (momentum buffer of the mean update); momentum gives FedAvgM."""

    name: Literal["sgd"]
    learning_rate: PositiveFloat = 1.0
    momentum: Fraction = 0.0


class ServerAdaptive(Settings):
    """FedAdam, FedYogi, FedAdagrad (Reddi et al. 2021, arXiv 2003.00295)."""

    name: Literal["adam", "yogi", "adagrad"]
    learning_rate: PositiveFloat = 0.01
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    tau: PositiveFloat = Field(default=1e-3, description="degree of adaptivity, added to the root")


ServerOptimizer = Annotated[ServerSgd | ServerAdaptive, Field(discriminator="name")]


class MeanRule(Settings):
    """The (weighted) mean: the only rule whose sum can be hidden from the server."""

    rule: Literal["mean"]
    weighting: Literal["examples", "uniform"] = "examples"
    weight_cap: PositiveInt | None = Field(
        default=None,
        description="largest weight of a client; default: 16 times the mean size of a catalogue partition",
    )
    range: PositiveFloat = Field(default=8.0, description="updates are clamped to +-range before quantisation")


class MedianRule(Settings):
    """Coordinate-wise median (Yin et al. 2018, arXiv 1803.01498)."""

    rule: Literal["median"]
    range: PositiveFloat = 8.0


class TrimmedMeanRule(Settings):
    """Coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498)."""

    rule: Literal["trimmed_mean"]
    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(default=0.1, description="fraction cut at each end")
    range: PositiveFloat = 8.0


class KrumRule(Settings):
    """Krum; with select > 1 Multi-Krum (Blanchard et al. 2017, arXiv 1703.02757)."""

    rule: Literal["krum"]
    byzantine: Annotated[int, Field(ge=0)] = Field(default=1, description="lying clients to survive")
    select: PositiveInt = Field(default=1, description="updates averaged; more than 1 is Multi-Krum")
    range: PositiveFloat = 8.0


class GeometricMedianRule(Settings):
    """Geometric median by smoothed Weiszfeld steps (Pillutla et al. 2022, arXiv 1912.13445)."""

    rule: Literal["geometric_median"]
    iterations: PositiveInt = 32
    smoothing: PositiveFloat = 1e-6
    range: PositiveFloat = 8.0


Aggregation = Annotated[
    MeanRule | MedianRule | TrimmedMeanRule | KrumRule | GeometricMedianRule, Field(discriminator="rule")
]


class Privacy(Settings):
    """Example-level differential privacy: DP-SGD on each client, against everyone who gets its updates."""

    unit: Literal["example"]
    epsilon: PositiveFloat = Field(description="target for the whole run, per client")
    delta: Annotated[float, Field(gt=0, lt=1)]
    clip_norm: PositiveFloat = Field(default=1.0, description="bound on each example's gradient norm")


class Evaluation(Settings):
    """Where and how often the global model is evaluated."""

    on: list[Literal["server", "clients"]] = ["server"]
    every: PositiveInt = Field(default=1, description="rounds between evaluations; the last round always is")
    holdout: Fraction = Field(default=0.0, description="fraction of each client's data kept for evaluation")
    batch_size: PositiveInt = 512


class Outputs(Settings):
    """What a run leaves behind. Not part of the experiment's hash."""

    directory: str = "runs"
    report: bool = True
    tensorboard: bool = True


class Simulation(Settings):
    """How a simulation executes. Not part of the experiment's hash."""

    engine: Literal["sequential"] = "sequential"
    seeded_noise: bool = Field(
        default=False,
        description="draw privacy noise from the seed: repeatable, protects nobody, marked in the output",
    )


class Experiment(Settings):
    """One experiment: what is trained, by whom, under which protections."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: Data = CatalogueData()
    task: Task = Task()
    model: Model = LeNet(name="lenet")
    federation: Federation = Federation()
    training: Training = Training()
    algorithm: Algorithm = FedAvg(name="fedavg")
    server_optimizer: ServerOptimizer = ServerSgd(name="sgd")
    aggregation: Aggregation = MeanRule(rule="mean")
    privacy: Privacy | None = None
    evaluation: Evaluation = Evaluation()
    outputs: Outputs = Outputs()
    simulation: Simulation = Simulation()

    @property
    def canonical(self) -> bytes:
        """The content that both sides must share, as canonical JSON; outputs and engine left out."""
        content = self.model_dump(mode="json", exclude={"outputs", "simulation"})
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @property
    def hash(self) -> str:
        """SHA-256 of :attr:`canonical`, hexadecimal."""
        return hashlib.sha256(self.canonical).hexdigest()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for rule in (_federation_fits, _rule_fits, _privacy_fits, _evaluation_fits, _data_fits):
            rule(self)
        return self


def _federation_fits(experiment: Experiment) -> None:
    federation = experiment.federation
    if federation.wanted > federation.clients:
        raise ValueError(
            f"federation.cohort = {federation.cohort} is more than federation.clients = {federation.clients}"
        )
    if federation.needed > federation.wanted:
        raise ValueError(f"federation.minimum = {federation.minimum} is more than the cohort of {federation.wanted}")


def _rule_fits(experiment: Experiment) -> None:
    rule, algorithm, cohort = experiment.aggregation, experiment.algorithm.name, experiment.federation.needed
    if rule.rule != "mean" and algorithm not in ("fedavg", "fedprox"):
        raise ValueError(
            f"algorithm.name = '{algorithm}' needs exact sums: "
            f"aggregation.rule = '{rule.rule}' works with fedavg and fedprox"
        )
    if isinstance(rule, TrimmedMeanRule) and rule.trim and cohort < 3:
        raise ValueError(f"aggregation.trim = {rule.trim} needs federation.minimum >= 3, not {cohort}")
    if isinstance(rule, KrumRule):
        if cohort < 2 * rule.byzantine + 3:
            raise ValueError(
                f"aggregation.byzantine = {rule.byzantine} needs federation.minimum >= {2 * rule.byzantine + 3}, "
                f"not {cohort}"
            )
        if rule.select > cohort - rule.byzantine:
            raise ValueError(
                f"aggregation.select = {rule.select} must be at most minimum - byzantine = {cohort - rule.byzantine}"
            )
    if algorithm in ("scaffold", "feddyn") and experiment.server_optimizer != ServerSgd(name="sgd"):
        raise ValueError(
            f"algorithm.name = '{algorithm}' has its own server step: leave [server_optimizer] out (sgd with rate 1)"
        )
    if algorithm in ("scaffold", "feddyn", "fednova") and experiment.training.optimizer != "sgd":
        raise ValueError(f"algorithm.name = '{algorithm}' is defined for training.optimizer = 'sgd'")


def _privacy_fits(experiment: Experiment) -> None:
    if experiment.privacy is None:
        return
    training = experiment.training
    if "clients" in experiment.evaluation.on:
        raise ValueError(
            "privacy.unit: client-side evaluation would release unaccounted metrics; use evaluation.on = ['server']"
        )
    if training.gradient_clip_norm is not None:
        raise ValueError(
            "training.gradient_clip_norm: with [privacy] each example is clipped by privacy.clip_norm; leave it out"
        )
    if training.accumulation_steps != 1 or training.precision != "float32":
        raise ValueError("training: [privacy] needs accumulation_steps = 1 and precision = 'float32'")


def _evaluation_fits(experiment: Experiment) -> None:
    if ("clients" in experiment.evaluation.on) != (experiment.evaluation.holdout > 0):
        raise ValueError("evaluation: on = [..., 'clients'] and holdout > 0 go together")


def _data_fits(experiment: Experiment) -> None:
    data, rule = experiment.data, experiment.aggregation
    if (
        isinstance(data, OwnData)
        and isinstance(rule, MeanRule)
        and rule.weighting == "examples"
        and rule.weight_cap is None
    ):
        raise ValueError(
            "aggregation.weight_cap: with data.name = 'own' state the largest client's size, or weighting = 'uniform'"
        )


def _peek(value: Any, key: str) -> Any:
    """The key of a mapping or of a settings object: pydantic's discriminators see both."""
    return value.get(key) if isinstance(value, dict) else getattr(value, key, None)
