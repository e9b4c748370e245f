"""``[secure_aggregation]``: the coordinator sees sums of updates, and no single one."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from leptonic.experiment.settings import PositiveInt, Settings
from leptonic.secagg.bounds import default_colluders

__all__ = ["SecureAggregation"]

Number = Annotated[int, Field(ge=0)]


class SecureAggregation(Settings):
    """Which sums may be opened. How many must agree on one is derived from this, never set."""

    protocol: Literal["leptonic-secagg/1"] = "leptonic-secagg/1"
    adversary: Literal["lying", "curious"] = Field(
        default="lying", description="curious: the coordinator looks at everything, but keeps to the protocol"
    )
    colluders: Number | None = Field(
        default=None,
        description="clients that may work with the coordinator; default: a third of those invited, a tenth beyond 128",
    )
    neighbours: Literal["auto"] | PositiveInt = Field(
        default="auto", description="clients with whom each shares its secrets; auto: all up to 128, then the fewest"
    )
    drop_outs: Number | None = Field(
        default=None, description="clients that may drop out, where not all share with all; default: a tenth"
    )
    bits: Annotated[int, Field(ge=8, le=32)] = Field(default=32, description="of each masked number")

    retain: Literal["nothing", "sums", "inputs"] = Field(
        default="nothing",
        description="what the coordinator keeps for those who check it later: opened sums; or the masked inputs too",
    )

    @model_validator(mode="after")
    def _even(self) -> "SecureAggregation":
        if self.neighbours != "auto" and self.neighbours % 2:
            raise ValueError(
                f"neighbours = {self.neighbours}: half of them are on each side of a client, so an even number"
            )
        return self

    def colluding(self, invited: int) -> int:
        """How many of so many invited clients are taken to collude."""
        return default_colluders(invited) if self.colluders is None else self.colluders

    def dropping(self, invited: int) -> int:
        """How many of so many invited clients may drop out."""
        return invited // 10 if self.drop_outs is None else self.drop_outs
