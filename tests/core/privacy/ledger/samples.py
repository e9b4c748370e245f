"""Charges for the tests of the ledger, and a ledger of a few."""

from pathlib import Path
from typing import Any

from leptonic.privacy.ledger import Charge, Cost, Ledger
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, SampledGaussian, Skellam

STEP = Cost(SampledGaussian(1.0, 0.01), 10, unit="example", adjacency="add_remove")
GAUSSIAN = Cost(SampledGaussian(2.0), 1, unit="client", adjacency="zero_out")
SKELLAM = Cost(Skellam(l2_squared=900.0, l1=9000.0, variance=4e6), 1, unit="client", adjacency="zero_out")
DISCRETE = Cost(
    DistributedDiscreteGaussian(l2_squared=900.0, l1=9000.0, local_variance=1e5, parties=40, dimension=1024),
    1,
    unit="client",
    adjacency="zero_out",
)
UNPROTECTED = Cost(None, 1, unit="example", adjacency="add_remove")
COSTS = (STEP, GAUSSIAN, SKELLAM, DISCRETE)


def charge(number: int, *, run: str = "run-a", cost: Cost = STEP, **more: Any) -> Charge:
    """One round of a client."""
    return Charge(run=run, client=3, round=number, cost=cost, **more)


def filled(folder: Path, rounds: int = 4) -> list[bytes]:
    """A ledger of some settled rounds, closed. Returns the heads after each of its entries but the first."""
    ledger, heads = Ledger(folder, lineage="ward"), []
    for number in range(1, rounds + 1):
        ledger.reserve(charge(number))
        heads.append(ledger.head)
        ledger.settle(("run-a", 3, number, ""), "left")
        heads.append(ledger.head)
    ledger.close()
    return heads
