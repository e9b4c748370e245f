"""``[data]`` and ``[task]``: the examples, and what is learned from them."""

import difflib
import re
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, FiniteFloat, Tag, field_validator, model_validator

from leptonic.experiment.settings import ENTRY_PATTERN, PositiveFloat, PositiveInt, Settings, peek

__all__ = ["CatalogueData", "Data", "OwnData", "TASKS", "Task"]


Features = Annotated[
    Literal["scaled", "scattering"],
    Field(
        description="what the model takes: the values, scaled; or of images what fixed wavelets find at two scales and "
        "eight angles (81 features for every fourth pixel), which helps under [privacy]"
    ),
]


class CatalogueData(Settings):
    """A data set of the catalogue (``leptonic data list``)."""

    name: Literal["fashion-mnist", "mnist", "digits", "adult"] = Field(
        default="fashion-mnist", description="data set of the catalogue"
    )
    train_examples: PositiveInt | None = Field(
        default=None, description="use only so many training examples (a seeded choice)"
    )
    features: Features = "scaled"


class OwnData(Settings):
    """Data of the owners. What both sides must agree on is declared, never learned from the data."""

    name: Literal["own"]
    shape: list[PositiveInt] = Field(min_length=1, description="shape of one example: [C, H, W] or [features]")
    classes: Annotated[int, Field(ge=2)]
    mean: list[FiniteFloat] = Field(default=[0.0], description="subtracted, per channel or feature")
    std: list[PositiveFloat] = Field(default=[1.0], description="divided by, per channel or feature")
    features: Features = "scaled"
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
    Discriminator(lambda v: "own" if peek(v, "name") == "own" else "catalogue"),
]


TASKS = ("image_classification", "tabular_classification")


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
