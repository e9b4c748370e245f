"""The node file: what a data owner decides for their own node. Nothing in it comes from the network."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from leptonic.errors import ExperimentError
from leptonic.experiment import Entry, PositiveFloat, PositiveInt, Settings
from leptonic.privacy.ledger import Limits

__all__ = ["LedgerSettings", "NodeSettings", "SecureConditions", "node_settings", "read_node_file"]


class SecureConditions(Settings):
    """``[secure]``: what an owner asks of secure aggregation, whatever the coordinator says."""

    federation: str = Field(min_length=1, max_length=64, description="name of the federation, as in its roster")
    authority: str = Field(pattern=r"^[0-9a-f]{64}$", description="public key that signs the federation's roster")
    required: bool = Field(default=True, description="join no run whose updates are not aggregated securely")
    minimum_cohort: PositiveInt = Field(default=3, description="fewest clients in a cohort, and in a sum")
    minimum_threshold: PositiveInt = Field(default=2, description="fewest shares that open a secret")
    colluders: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="fewest colluders assumed; default: a third of a cohort, a tenth beyond 128"
    )
    curious: bool = Field(default=False, description="whether the coordinator may be assumed to keep to the protocol")
    peers: list[str] = Field(default=[], description="clients who must be in every sum")


class LedgerSettings(Settings):
    """``[ledger]``: how much of the data's privacy an owner gives away, to whom it may be for, and under which name."""

    lineage: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="name of the data, which stays when they change; default: the node's name"
    )
    unit: Literal["example", "client"] = Field(
        default="example",
        description="whose privacy the limits bound: one example's, or that of all of this node's data",
    )
    delta: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="at which every limit holds; below 1 / number of examples"
    )
    trust_coordinator: bool = Field(
        default=False, description="whether noise counts that a coordinator promises to add; without, it is none"
    )
    max_epsilon: PositiveFloat | None = Field(default=None, description="most of all runs together, whatever the data")
    max_epsilon_lineage: PositiveFloat | None = Field(default=None, description="most of all runs on this data")
    max_epsilon_run: PositiveFloat | None = Field(default=None, description="most of one run")
    purposes: dict[str, PositiveFloat] | None = Field(
        default=None, description="most of all runs on this data for a purpose; runs for others are refused"
    )

    @model_validator(mode="after")
    def _has_a_delta(self) -> Self:
        limits = (self.max_epsilon, self.max_epsilon_lineage, self.max_epsilon_run, self.purposes)
        if self.delta is None and any(limit is not None for limit in limits):
            raise ValueError("delta: a limit on epsilon says nothing without one; set it below 1 / number of examples")
        return self


class NodeSettings(Settings):
    """One node: where it connects, what it is called, where its data are, what it may run."""

    server: str = Field(description="HOST:PORT of the coordinator's link")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="name in the federation")
    data: str = Field(description="IDX folder, .npz, .csv, .parquet, or folder of images")
    home: str | None = Field(default=None, description="folder for key and state; default: nodes/NAME")
    device: str | None = Field(default=None, description="overrides training.device on this machine")
    insecure: bool = Field(default=False, description="connect without TLS; loopback addresses only")
    allow: list[Entry] = Field(default=[], description="package.module:name that an experiment may use here")
    public_size: PositiveInt | None = Field(
        default=None, description="declared number of examples, which anybody may learn; example-level privacy needs it"
    )

    secure: SecureConditions | None = Field(
        default=None, description="conditions for secure aggregation; without them no such run is joined"
    )
    ledger: LedgerSettings = Field(
        default=LedgerSettings(), description="limits on what is spent; without them it is only written down"
    )

    @property
    def folder(self) -> Path:
        """The node's home."""
        return Path(self.home) if self.home else Path("nodes") / self.name

    @property
    def lineage(self) -> str:
        """The owner's name for the data."""
        return self.ledger.lineage or self.name

    @property
    def limits(self) -> Limits:
        """The owner's limits."""
        own = self.ledger
        return Limits(
            unit=own.unit,
            delta=own.delta,
            total=own.max_epsilon,
            lineage=own.max_epsilon_lineage,
            run=own.max_epsilon_run,
            purposes=own.purposes,
        )


def read_node_file(path: Path) -> NodeSettings:
    """Read a node file (TOML). Raises ExperimentError naming file, key and value."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExperimentError(f"{path}: cannot be read as a node file: {error}") from None
    return node_settings(content, source=f"{path}: ")


def node_settings(content: Mapping[str, Any], *, source: str = "") -> NodeSettings:
    """Check a node's settings. Raises ExperimentError naming key and value, behind ``source``."""
    try:
        return NodeSettings.model_validate(content)
    except ValidationError as error:
        lines = [_describe(detail) for detail in error.errors()]
        allowed = ", ".join(sorted(NodeSettings.model_fields))
        raise ExperimentError("\n".join(f"{source}{line}" for line in (*lines, f"settings are: {allowed}"))) from None


def _describe(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{key}: required, but not given"
    return f"{key} = {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
