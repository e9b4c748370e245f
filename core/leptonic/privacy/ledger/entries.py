"""The entries of a ledger: strictly decoded, in one spelling, each bound to all that were written before it.

Called by :mod:`.file`, which keeps them, and by :mod:`.verification`, which looks at them again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from leptonic.errors import DecodeError, PrivacyError
from leptonic.privacy.ledger.charge import Adjacency, Charge, Cost, Unit
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, Mechanism, SampledGaussian, Skellam
from leptonic.privacy.renyi import RenyiCurve

__all__ = ["FORMAT", "START", "Data", "Entry", "Opened", "Outcome", "Reserve", "Settle", "decode", "encode", "link"]

FORMAT: Literal["leptonic-ledger/1"] = "leptonic-ledger/1"
START = bytes(32)
"""What the first entry goes on from."""

Outcome = Literal["left", "failed"]
"""left: the round's bytes may leave. failed: they were never made, and the coordinator is told so."""

_MECHANISMS: Mapping[str, type[Mechanism]] = {
    "sampled_gaussian": SampledGaussian,
    "skellam": Skellam,
    "distributed_discrete_gaussian": DistributedDiscreteGaussian,
}
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Index = Annotated[int, Field(ge=1, lt=2**63)]
Value = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    time: Time


class Opened(_Entry):
    """The first entry. ledger: 16 random bytes, hexadecimal, so that no two ledgers begin alike."""

    kind: Literal["open"] = "open"
    format: Literal["leptonic-ledger/1"] = FORMAT
    ledger: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Data(_Entry):
    """A lineage's data as they were found. fingerprint: tells whether they are the same, and nothing else."""

    kind: Literal["data"] = "data"
    lineage: Name
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Reserve(_Entry):
    """A charge, in full and for ever. attempt: how often the round was charged, this time included.

    mechanism, parameters: as in :mod:`leptonic.privacy.mechanisms`. curve: of the entry's own unit.
    """

    kind: Literal["reserve"] = "reserve"
    lineage: Name
    run: Name
    client: Count
    round: Count
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")]
    attempt: Index
    purpose: Name | None
    server: Annotated[str, Field(max_length=256)]
    mechanism: str | None
    parameters: dict[str, int | float]
    times: Index
    unit: Unit
    adjacency: Adjacency
    curve: list[Value | None]

    @classmethod
    def of(cls, charge: Charge, *, time: str, lineage: str, attempt: int) -> "Reserve":
        """The entry of a charge."""
        cost = charge.cost
        name, parameters = _described(cost.mechanism)
        return cls(
            time=time,
            lineage=lineage,
            run=charge.run,
            client=charge.client,
            round=charge.round,
            session=charge.session,
            attempt=attempt,
            purpose=charge.purpose,
            server=charge.server,
            mechanism=name,
            parameters=parameters,
            times=cost.times,
            unit=cost.unit,
            adjacency=cost.adjacency,
            curve=cost.curve.to_json(),
        )

    @property
    def cost(self) -> Cost:
        """What it charges. Raises PrivacyError where the parameters are not those of its mechanism."""
        return Cost(_mechanism(self.mechanism, self.parameters), self.times, self.unit, self.adjacency)

    @property
    def renyi(self) -> RenyiCurve:
        """Its curve, as it was written."""
        return RenyiCurve.from_json(self.curve)


class Settle(_Entry):
    """What became of a reservation. It changes no balance. reservation: the number of its entry."""

    kind: Literal["settle"] = "settle"
    reservation: Index
    outcome: Outcome


Entry = Opened | Data | Reserve | Settle
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


def encode(entry: Entry) -> bytes:
    """The one spelling of an entry: canonical JSON."""
    content = entry.model_dump(mode="json")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(content: bytes) -> Entry:
    """The inverse of :func:`encode`. Raises DecodeError for any other bytes."""
    try:
        entry = _ENTRY.validate_json(content)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise DecodeError(f"not an entry ({where}: {detail['msg']})") from None
    if encode(entry) != content:
        raise DecodeError("an entry that is not in its canonical form")
    if isinstance(entry, Reserve):
        try:
            _ = (entry.cost, entry.renyi)
        except PrivacyError as error:
            raise DecodeError(f"not an entry ({error})") from None
    return entry


def link(previous: bytes, content: bytes) -> bytes:
    """The hash that an entry ends in, 32 bytes: over its content, and the hash of the entry before it."""
    return hashlib.sha256(FORMAT.encode() + b"\0" + previous + content).digest()


def _described(mechanism: Mechanism | None) -> tuple[str | None, dict[str, int | float]]:
    if mechanism is None:
        return None, {}
    name = next(name for name, kind in _MECHANISMS.items() if type(mechanism) is kind)
    kinds = {field.name: field.type for field in fields(mechanism)}
    return name, {key: int(value) if kinds[key] is int else float(value) for key, value in asdict(mechanism).items()}


def _mechanism(name: str | None, parameters: Mapping[str, int | float]) -> Mechanism | None:
    if name is None and not parameters:
        return None
    kind = _MECHANISMS.get(name or "")
    if kind is None:
        raise PrivacyError(f"there is no mechanism {name!r} with such parameters")
    if {field.name: field.type for field in fields(kind)} != {key: type(value) for key, value in parameters.items()}:
        raise PrivacyError(f"the parameters are not those of {name}")
    return kind(**parameters)  # type: ignore[arg-type]  # just checked
