"""What every section is made of: a strict base class, and kinds of numbers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ENTRY_PATTERN", "Entry", "Fraction", "NonNegativeFloat", "PositiveFloat", "PositiveInt", "Settings", "peek"]

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

ENTRY_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
Entry = Annotated[str, Field(pattern=ENTRY_PATTERN)]
"""``package.module:name``, resolved on the machine that runs it, never received from the network."""


class Settings(BaseModel):
    """Base of every section: no unknown keys, no coercion of types, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


def peek(value: Any, key: str) -> Any:
    """The key of a mapping or of a settings object: pydantic's discriminators see both."""
    return value.get(key) if isinstance(value, dict) else getattr(value, key, None)
