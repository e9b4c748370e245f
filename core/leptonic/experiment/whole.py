"""The experiment: all sections together, and what both sides must share of them."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, model_validator

from leptonic.experiment.aggregation import Aggregation, MeanRule
from leptonic.experiment.algorithm import Algorithm, FedAvg, ServerOptimizer, ServerSgd
from leptonic.experiment.combinations import check
from leptonic.experiment.data import CatalogueData, Data, Task
from leptonic.experiment.federation import Federation
from leptonic.experiment.model import LeNet, Model, OwnModel
from leptonic.experiment.privacy import Privacy
from leptonic.experiment.running import Evaluation, Outputs, Simulation
from leptonic.experiment.scenario import Scenario
from leptonic.experiment.secure_aggregation import SecureAggregation
from leptonic.experiment.settings import Settings
from leptonic.experiment.training import Training
from leptonic.secagg.bounds import bounds_of

__all__ = ["Experiment"]


class Experiment(Settings):
    """One experiment: what is trained, by whom, under which protections."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
    purpose: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", max_length=64)] | None = Field(
        default=None, description="what the model is for; data owners can set a budget for each purpose"
    )
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
    secure_aggregation: SecureAggregation | None = None
    evaluation: Evaluation = Evaluation()
    outputs: Outputs = Outputs()
    simulation: Simulation = Simulation()
    scenario: Scenario | None = None

    @property
    def canonical(self) -> bytes:
        """The content that both sides must share, as canonical JSON; outputs and engine left out.

        A scenario belongs to it where there is one; without one the content is a deployment's.
        """
        left_out: dict[str, bool | set[str]] = {"outputs": True, "simulation": True}
        # Without what came later, the content is what it was: runs that began before go on.
        if self.purpose is None:
            left_out["purpose"] = True
        if self.data.features == "scaled":
            left_out["data"] = {"features"}
        if self.scenario is None:
            left_out["scenario"] = True
        elif self.scenario.asynchronous is None:
            left_out["scenario"] = {"asynchronous"}
        if self.secure_aggregation is None:
            left_out["secure_aggregation"] = True
        content = self.model_dump(mode="json", exclude=left_out)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of :attr:`canonical`, hexadecimal."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def own_code(self) -> list[str]:
        """What it names by ``package.module:name``: runs only where somebody allows it."""
        entries = [self.task.kind] if ":" in self.task.kind else []
        return [*entries, self.model.name] if isinstance(self.model, OwnModel) else entries

    @property
    def summed(self) -> int:
        """The most updates that are summed for one step of the server."""
        asynchronous = self.scenario.asynchronous if self.scenario else None
        return asynchronous.buffer if asynchronous else self.federation.invited

    @cached_property
    def needed(self) -> int:
        """Fewest updates that make a round: as the file says, and as many as secure aggregation needs.

        Raises BelowThreshold where no cohort of the invited size can be summed securely.
        """
        secure, invited = self.secure_aggregation, self.federation.invited
        if secure is None:
            return self.federation.needed
        bounds = bounds_of(
            invited,
            colluders=secure.colluding(invited),
            lying=secure.adversary == "lying",
            neighbours=0 if secure.neighbours == "auto" else secure.neighbours,
            dropping=secure.dropping(invited),
            minimum=self.federation.minimum or 0,
        )
        return bounds.survivors

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check(self)
        return self
