"""What a data owner allows: most epsilon in all, of a data set, of a run, for a purpose, at the owner's delta.

Called by :class:`Ledger` when a run is joined and before each reservation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from leptonic.errors import BudgetExhausted, PrivacyError
from leptonic.privacy.ledger.books import Books, Group
from leptonic.privacy.ledger.charge import Charge, Unit
from leptonic.privacy.renyi import RenyiCurve

__all__ = ["Limit", "Limits", "all_answered", "check", "check_distance"]


_ROUNDING = 1e-9
"""A run that fits to the last bit is not refused because its rounds, one by one, add up to a bit more."""


@dataclass(frozen=True)
class Limit:
    """Most epsilon of some of the charges.

    name: as it stands in the owner's file. of: these charges, in words. purpose: of runs that it binds, None for all.
    """

    name: str
    of: str
    most: float
    where: Callable[[Group], bool]
    purpose: str | None = None


@dataclass(frozen=True)
class Limits:
    """An owner's limits; without any there is no delta. unit: whose privacy they bound.

    total: of all charges. lineage: of one data set. run: of one run. purposes: of one data set, by what runs say that
    they are for; where it is not None, no other run is served. Raises PrivacyError for a limit without a delta.
    """

    unit: Unit = "example"
    delta: float | None = None
    total: float | None = None
    lineage: float | None = None
    run: float | None = None
    purposes: Mapping[str, float] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self and self.delta is None:
            raise PrivacyError("limits on epsilon need a delta")

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.total, self.lineage, self.run, self.purposes))

    def standing(self, lineage: str) -> Iterator[Limit]:
        """Those on a data set, whatever runs come."""
        if self.total is not None:
            yield Limit("max_epsilon", "all runs", self.total, lambda _: True)
        if self.lineage is not None:
            yield Limit(
                "max_epsilon_lineage", f"data set {lineage!r}", self.lineage, lambda group: group.lineage == lineage
            )
        for purpose, most in (self.purposes or {}).items():
            yield Limit(
                f'purposes."{purpose}"',
                f"data set {lineage!r} for {purpose!r}",
                most,
                lambda group, purpose=purpose: group.lineage == lineage and group.purpose == purpose,  # type: ignore[misc]
                purpose,
            )

    def that_bind(self, *, lineage: str, run: str, purpose: str | None) -> Iterator[Limit]:
        """Those that a run's charges fall under. Raises BudgetExhausted for a purpose that is not served."""
        if self.purposes is not None and purpose not in self.purposes:
            asked = "declares no purpose" if purpose is None else f"is for {purpose!r}"
            raise BudgetExhausted(
                f"run {run} {asked}, which the node file gives no budget: see [ledger.purposes] there"
            )
        yield from (limit for limit in self.standing(lineage) if limit.purpose in (None, purpose))
        if self.run is not None:
            yield Limit("max_epsilon_run", f"run {run}", self.run, lambda group: group.run == run)


def check(
    limits: Limits, books: Books, asked: RenyiCurve, *, what: str, lineage: str, run: str, purpose: str | None
) -> list[str]:
    """Raise BudgetExhausted unless ``asked`` fits into what is left of every limit. what: is asked, in words.

    Returns how much of each would then be spent, in words.
    """
    delta, fits = limits.delta, list[str]()
    if delta is None:
        return fits
    for limit in limits.that_bind(lineage=lineage, run=run, purpose=purpose):
        spent = books.spent(limits.unit, limit.where)
        before, after = spent.epsilon(delta), (spent + asked).epsilon(delta)
        if after > limit.most * (1 + _ROUNDING):
            raise BudgetExhausted(
                f"{what}: epsilon {asked.epsilon(delta):.4g} per {limits.unit} at delta {delta:g}, by Renyi curves. "
                f"Of {limit.of}, {before:.4g} of {limit.most:g} is spent, and {max(0.0, limit.most - before):.4g} "
                f"left; together it would be {after:.4g}. "
                f"To allow it, raise {limit.name} in [ledger] of the node file"
            )
        fits.append(f"{after:.4g} of {limit.most:g} ({limit.name})")
    return fits


def all_answered(charge: Charge, most: int) -> BudgetExhausted:
    """The refusal of a round past those that a run's privacy target was calibrated for."""
    return BudgetExhausted(
        f"client {charge.client} has answered {most} rounds, all that its privacy target was calibrated for; "
        f"round {charge.round} is refused"
    )


def check_distance(charge: Charge, last: int | None, apart: int) -> None:
    """Raise BudgetExhausted unless a client's rounds come in their order, and as far apart as its noise is made for.

    last: the latest round that it was charged for.
    """
    if apart > 1 and last is not None and charge.round != last and charge.round < last + apart:
        raise BudgetExhausted(
            f"client {charge.client} has joined round {last} and may join again from round {last + apart}, not in "
            f"round {charge.round}: the noise of this run is correlated over {apart} rounds"
        )
