"""The node file: what a data owner decides for their own node. Nothing in it comes from the network."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from leptonic.errors import ExperimentError
from leptonic.experiment import Entry, PositiveFloat, PositiveInt, Settings

__all__ = ["NodeSettings", "SecureConditions", "node_settings", "read_node_file"]


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


class NodeSettings(Settings):
    """One node: where it connects, what it is called, where its data are, what it may run."""

    server: str = Field(description="HOST:PORT of the coordinator's link")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="name in the federation")
    data: str = Field(description="IDX folder, .npz, .csv, .parquet, or folder of images")
    home: str | None = Field(default=None, description="folder for key and state; default: nodes/NAME")
    device: str | None = Field(default=None, description="overrides training.device on this machine")
    insecure: bool = Field(default=False, description="connect without TLS; loopback addresses only")
    allow: list[Entry] = Field(default=[], description="package.module:name that an experiment may use here")
    max_epsilon: PositiveFloat | None = Field(
        default=None, description="join only runs with a privacy target of at most this; default: any run"
    )
    public_size: PositiveInt | None = Field(
        default=None, description="declared number of examples under privacy; default: the number held, as public"
    )

    secure: SecureConditions | None = Field(
        default=None, description="conditions for secure aggregation; without them no such run is joined"
    )

    @property
    def folder(self) -> Path:
        """The node's home."""
        return Path(self.home) if self.home else Path("nodes") / self.name


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
