"""What the accuracy benchmark trains: each line of its table as an experiment, beside what was published."""

from dataclasses import dataclass, field
from typing import Any

DELTA, EPSILON = 1e-5, 3.0
EXAMPLES = 60_000
FEDERATED = {"rounds": 20, "local_epochs": 2, "schedule": {"kind": "cosine", "floor": 0.1}}


@dataclass(frozen=True)
class Line:
    """One model on one data set, with one client or with several.

    features: of the data. training: of the experiment. published: accuracy in percent, how it differs, and the noise
    multiplier that was used for it. target: accuracy in percent, of a mean over 5 seeds.
    """

    data: str
    model: str
    features: str
    training: dict[str, Any] = field(hash=False)
    clients: int = 1
    published: float | None = None
    published_as: str = "published"
    published_noise: float | None = None
    target: float | None = None

    @property
    def name(self) -> str:
        """As it is called on the command line."""
        model = {"tanh_cnn": "cnn", "logistic": "scattering"}[self.model]
        return f"{self.data}-{model}" + (f"-{self.clients}-clients" if self.clients > 1 else "")

    def settings(self, *, epsilon: float, seed: int, quick: bool = False) -> dict[str, Any]:
        """The experiment that is simulated, as a file says it; a quick one sees a fortieth of the data twice."""
        training = {"momentum": 0.9, **self.training}
        data: dict[str, Any] = {"name": self.data, "features": self.features}
        if quick:
            data["train_examples"] = EXAMPLES // 40
            batch = min(training["batch_size"], EXAMPLES // 80 // self.clients)
            training |= {"rounds": 1, "local_epochs": 2, "batch_size": batch}
        return {
            "name": f"dp-{self.name}",
            "seed": seed,
            "data": data,
            "model": {"name": self.model},
            "federation": {"clients": self.clients},
            "training": training,
            "privacy": {"unit": "example", "epsilon": epsilon, "delta": DELTA, "clip_norm": 0.1},
            "evaluation": {"batch_size": 1000},
            "outputs": {"report": False, "tensorboard": False},
            "simulation": {"engine": "sequential"},
        }


LINES = (
    Line(
        data="mnist",
        model="tanh_cnn",
        features="scaled",
        training={"rounds": 1, "local_epochs": 40, "batch_size": 512, "learning_rate": 0.5},
        published=98.1,
        published_noise=1.23,
        target=98.0,
    ),
    Line(
        data="fashion-mnist",
        model="tanh_cnn",
        features="scaled",
        training={"rounds": 1, "local_epochs": 40, "batch_size": 2048, "learning_rate": 4.0},
        published=86.0,
        published_noise=2.15,
        target=86.0,
    ),
    Line(
        data="fashion-mnist",
        model="logistic",
        features="scattering",
        training={"rounds": 1, "local_epochs": 40, "batch_size": 8192, "learning_rate": 16.0},
        published=89.7,
        published_noise=4.05,
        target=89.0,
    ),
    Line(
        data="mnist",
        model="logistic",
        features="scattering",
        training={"rounds": 1, "local_epochs": 40, "batch_size": 8192, "learning_rate": 16.0},
        published=98.7,
        published_as="published, normalised by noised statistics of the data",
    ),
    Line(
        data="mnist",
        model="tanh_cnn",
        features="scaled",
        training={**FEDERATED, "batch_size": 512, "learning_rate": 4.0},
        clients=10,
    ),
    Line(
        data="fashion-mnist",
        model="tanh_cnn",
        features="scaled",
        training={**FEDERATED, "batch_size": 512, "learning_rate": 8.0},
        clients=10,
    ),
    Line(
        data="fashion-mnist",
        model="logistic",
        features="scattering",
        training={**FEDERATED, "batch_size": 820, "learning_rate": 16.0},
        clients=10,
    ),
)
