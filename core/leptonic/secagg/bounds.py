"""How many must share, survive and agree: derived from who may collude and who may drop out, never set.

Every party computes them for itself. Where everybody shares with everybody, a quorum of more than half of the honest
parties and all the colluders makes any two quorums meet in an honest party. In a graph of k neighbours (Bell et al.
2020, CCS) the same holds for quorums, and three more numbers keep secrets and connect the honest:

- threshold t: nobody has t colluding neighbours, but with a chance of 2^-40 / 2^64, against a coordinator that tries
  2^64 graphs before it shows one (``lying``), or 2^-40 (``curious``);
- window w: of k/2 consecutive places on the ring, w are never all held by colluders, with the same chance, so that the
  honest among the survivors stay connected;
- neighbours k: the fewest for which t neighbours of everybody and w of every window survive the drop-outs, but for a
  chance of 2^-20, half of it for each of the two.

All tails are hypergeometric and summed exactly, in integers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import comb

from leptonic.errors import BelowThreshold

__all__ = ["COMPLETE_UP_TO", "Bounds", "bounds_of", "default_colluders"]

COMPLETE_UP_TO = 128
"""Most clients that all share with one another, where the number of neighbours is left to us."""
SECURITY_BITS, GRINDING_BITS, CORRECTNESS_BITS = 40, 64, 20
"""Chances, as powers of a half; and graphs that a lying coordinator may try."""


@dataclass(frozen=True)
class Bounds:
    """What holds in a session of so many clients.

    neighbours: of each client in the graph. threshold: shares that open a secret. quorum: signatures that make a
    set of survivors binding. abort_quorum: signatures after which no such quorum can be had any more, since the honest
    among them sign no set. survivors: fewest whose sum is opened. window: survivors in any half neighbourhood of the
    ring; 0 in the complete graph.
    """

    clients: int
    neighbours: int
    threshold: int
    quorum: int
    abort_quorum: int
    survivors: int
    window: int

    @property
    def complete(self) -> bool:
        """Whether everybody shares with everybody."""
        return self.window == 0


def default_colluders(clients: int) -> int:
    """How many of so many clients are taken to collude unless the experiment says it: a third, or a tenth of many."""
    return clients // (3 if clients <= COMPLETE_UP_TO else 10)


@lru_cache(64)
def bounds_of(
    clients: int, *, colluders: int, lying: bool, neighbours: int = 0, dropping: int = 0, minimum: int = 0
) -> Bounds:
    """The bounds of a session of ``clients``.

    colluders: clients that may work with the coordinator. lying: whether the coordinator may break the protocol.
    neighbours: 0 to have it derived. dropping: clients that may drop out, where the graph is not complete.
    minimum: fewest survivors that somebody asks for. Raises BelowThreshold where no such session is safe.
    """
    if clients < 3:
        raise BelowThreshold(
            f"secure aggregation of {clients} clients: the sum of two tells each the other's update; take 3 or more"
        )
    quorum = (clients + colluders) // 2 + 1 if lying else max(clients // 2, colluders) + 1
    survivors = max(quorum, colluders + 2, minimum)
    if survivors > clients:
        raise BelowThreshold(
            f"a sum needs {survivors} survivors of {clients} clients, with {colluders} colluders assumed: "
            "invite more, or assume fewer"
        )
    if neighbours == 0 and clients <= COMPLETE_UP_TO:
        k, threshold, window = clients - 1, quorum, 0
    else:
        k, threshold, window = _graph(clients, colluders, dropping, neighbours, lying)
    return Bounds(
        clients=clients,
        neighbours=k,
        threshold=threshold,
        quorum=quorum,
        abort_quorum=clients + colluders - quorum + 1,
        survivors=survivors,
        window=window,
    )


def _graph(clients: int, colluders: int, dropping: int, neighbours: int, lying: bool) -> tuple[int, int, int]:
    """(k, t, w): the graph of so many neighbours, or of the fewest that do."""
    security = SECURITY_BITS + (GRINDING_BITS if lying else 0)
    for k in [neighbours] if neighbours else range(2, clients - 1, 2):
        if k % 2 or k >= clients - 1 or dropping >= clients:
            break
        # With a threshold of one a share would be the secret.
        threshold = max(2, _never(clients - 1, colluders, k, clients, security))
        window = _never(clients, colluders, k // 2, clients, security)
        if threshold > k or window > k // 2:
            continue
        if _survive(clients - 1, dropping, k, threshold, clients) and _survive(
            clients, dropping, k // 2, window, clients
        ):
            return k, threshold, window
    what = f"{neighbours} neighbours are not" if neighbours else "no even number of neighbours is"
    raise BelowThreshold(
        f"{what} enough for {clients} clients of whom {colluders} may collude and {dropping} drop out: "
        "take more neighbours, an even number below the others' number, or assume fewer colluders and drop-outs"
    )


def _never(population: int, marked: int, drawn: int, cases: int, bits: int) -> int:
    """The least x such that x or more marked ones are drawn in any of ``cases`` with a chance of 2^-bits at most."""
    budget, tail = comb(population, drawn), 0
    for number, ways in _ways(population, marked, drawn):
        tail += ways
        if (cases * tail) << bits > budget:
            return number + 1
    return 0


def _survive(population: int, dropping: int, drawn: int, needed: int, cases: int) -> bool:
    """Whether fewer than ``needed`` of those drawn survive in any of ``cases`` with half a chance of 2^-20 at most."""
    tail = sum(ways for number, ways in _ways(population, dropping, drawn) if drawn - number < needed)
    return (cases * tail) << (CORRECTNESS_BITS + 1) <= comb(population, drawn)


def _ways(population: int, marked: int, drawn: int) -> Iterator[tuple[int, int]]:
    """How many draws hold x marked ones, for x from the most that is possible down to the fewest."""
    most, fewest = min(marked, drawn), max(0, drawn - (population - marked))
    ways = comb(marked, most) * comb(population - marked, drawn - most)
    for number in range(most, fewest - 1, -1):
        yield number, ways
        # The ways of one fewer; the division is exact.
        ways = ways * number * (population - marked - drawn + number) // ((marked - number + 1) * (drawn - number + 1))
