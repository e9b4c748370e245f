"""Divides rows among simulated clients: IID, skewed by label or size, or by the data's own key.

Each scheme is a function of the labels (or keys), the number of clients and a named random stream, so the
same experiment gives every client the same rows, in a simulation and in ``leptonic data export``.
Source of the label and size skews: NIID-Bench (Li et al. 2022, arXiv 2102.02079) and its published code.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic import randomness
from leptonic.errors import DataError
from leptonic.experiment import ClassesPerClient, Dirichlet, Iid, NaturalPartition, Partition, QuantitySkew, Sampled

__all__ = ["SampledRows", "partition"]

Rows = NDArray[np.intp]

MOST_DRAWS = 2000  # of a matrix of classes by clients: seconds with a thousand clients
MOST_SIZE_DRAWS = 20_000  # of one vector of sizes: as long
AT_ONCE = 100


def partition(
    settings: Partition, labels: NDArray[np.int64], clients: NDArray[np.str_] | None, *, count: int, seed: int
) -> Sequence[Rows]:
    """The rows of each of ``count`` clients, ascending; every row goes to exactly one client, unless sampled.

    labels: (n,) classes. clients: (n,) natural keys, for the natural scheme only. That scheme may be asked
    for fewer clients than there are keys: then the rows of the smallest keys are left out.
    Returns ``count`` arrays, none of them empty; of the sampled scheme they are drawn when they are asked for.
    Raises DataError where the scheme can't be met.
    """
    if isinstance(settings, Sampled):
        return SampledRows(settings, labels, count=count, seed=seed)
    if len(labels) < count:
        raise DataError(f"federation.clients = {count}: the data has only {len(labels)} rows")
    stream = randomness.generator(seed, "partition")
    if isinstance(settings, NaturalPartition):
        parts = _natural(clients, count)
    elif isinstance(settings, Iid):
        parts = np.array_split(stream.permutation(len(labels)), count)
    elif isinstance(settings, Dirichlet):
        parts = _dirichlet(settings, labels, count, stream)
    elif isinstance(settings, ClassesPerClient):
        parts = _classes(settings.classes, labels, count, stream)
    else:
        parts = _quantity(settings, len(labels), count, stream)
    return [np.sort(part).astype(np.intp, copy=False) for part in parts]


class SampledRows(Sequence[Rows]):
    """Rows that each client draws from a stream of its own, without replacement."""

    def __init__(self, settings: Sampled, labels: NDArray[np.int64], *, count: int, seed: int) -> None:
        if settings.examples > len(labels):
            raise DataError(
                f"federation.partition.examples = {settings.examples}: the data has only {len(labels)} rows"
            )
        self._settings, self._count, self._seed = settings, count, seed
        self._rows = len(labels)
        self._of_class = [np.flatnonzero(labels == kind) for kind in np.unique(labels)] if settings.alpha else []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, client: Any) -> Any:
        """One client's rows, ascending. Raises IndexError as a list does; slices are lists."""
        if isinstance(client, slice):
            return [self[index] for index in range(*client.indices(self._count))]
        if not 0 <= client < self._count:
            raise IndexError(f"client {client} of {self._count}")
        if self._settings.alpha is None:
            return randomness.distinct(self._seed, "partition", client, below=self._rows, count=self._settings.examples)
        return self._skewed(self._settings.alpha, randomness.generator(self._seed, "partition", client))

    def several(self, clients: Sequence[int]) -> list[Rows]:
        """Each one's rows, as one by one, which takes longer."""
        if self._settings.alpha is not None:
            return [self[client] for client in clients]
        count = self._settings.examples
        return [*randomness.distinct_each(self._seed, "partition", last=clients, below=self._rows, count=count)]

    def _skewed(self, alpha: float, stream: np.random.Generator) -> Rows:
        """Class sizes by a draw from Dirichlet(alpha); what a class has not goes to those that have room."""
        left, drawn = self._settings.examples, []
        shares = stream.dirichlet(np.full(len(self._of_class), alpha))
        room = np.array([len(rows) for rows in self._of_class])
        sizes = np.zeros_like(room)
        while left:
            weights = np.where(room > sizes, shares + 1e-12, 0.0)
            sizes += np.minimum(stream.multinomial(left, weights / weights.sum()), room - sizes)
            left = self._settings.examples - int(sizes.sum())
        for rows, size in zip(self._of_class, sizes, strict=True):
            drawn.append(stream.choice(rows, size, replace=False))
        return np.sort(np.concatenate(drawn))


def _dirichlet(settings: Dirichlet, labels: NDArray[np.int64], count: int, stream: np.random.Generator) -> list[Rows]:
    """Each class is cut at the cumulated sums of a draw from Dirichlet(alpha).

    As in NIID-Bench, a client that already holds its even share n/count gets nothing of the next class.
    """
    _, sizes = np.unique(labels, return_counts=True)
    for _ in range(MOST_DRAWS):
        cuts = _draw_cuts(sizes, settings.alpha, count, stream)
        if cuts is None:
            continue
        held = np.diff(cuts, axis=1).sum(axis=0)
        if held.min() >= settings.minimum_examples:
            pieces = [np.split(rows, cut[1:-1]) for rows, cut in zip(_shuffled(labels, stream), cuts, strict=True)]
            return [np.concatenate(of_client) for of_client in zip(*pieces, strict=True)]
    raise _never_enough(settings, count, len(labels), draws=MOST_DRAWS)


def _draw_cuts(
    sizes: NDArray[np.intp], alpha: float, count: int, stream: np.random.Generator
) -> NDArray[np.intp] | None:
    """Where each class is cut: (classes, count + 1), or None if no client with room drew anything."""
    even_share = sizes.sum() / count
    held = np.zeros(count, np.intp)
    cuts = np.zeros((len(sizes), count + 1), np.intp)
    for cut, size in zip(cuts, sizes, strict=True):
        shares = stream.dirichlet(np.full(count, alpha)) * (held < even_share)
        total = shares.sum()
        if not total > 0:  # with a tiny alpha all of the mass may lie on clients without room
            return None
        cut[1:-1] = (np.cumsum(shares / total)[:-1] * size).astype(np.intp)
        cut[-1] = size
        held += np.diff(cut)
    return cuts


def _quantity(settings: QuantitySkew, rows: int, count: int, stream: np.random.Generator) -> list[Rows]:
    """Sizes by one draw from Dirichlet(alpha), rows at random."""
    for _ in range(MOST_SIZE_DRAWS // AT_ONCE):
        shares = stream.dirichlet(np.full(count, settings.alpha), AT_ONCE)
        cuts = (np.cumsum(shares, axis=1)[:, :-1] * rows).astype(np.intp)
        enough = np.diff(cuts, axis=1, prepend=0, append=rows).min(axis=1) >= settings.minimum_examples
        if enough.any():
            return np.split(stream.permutation(rows), cuts[enough.argmax()])
    raise _never_enough(settings, count, rows, draws=MOST_SIZE_DRAWS)


def _never_enough(settings: Dirichlet | QuantitySkew, count: int, rows: int, *, draws: int) -> DataError:
    return DataError(
        f"federation.partition: '{settings.scheme}' with alpha = {settings.alpha} gave {count} clients at least "
        f"{settings.minimum_examples} of {rows} examples in none of {draws} draws; raise alpha, lower "
        "minimum_examples, or take fewer clients"
    )


def _classes(held: int, labels: NDArray[np.int64], count: int, stream: np.random.Generator) -> list[Rows]:
    """Client i holds class i mod K and others at random; the holders of a class share its rows evenly."""
    kinds, sizes = np.unique(labels, return_counts=True)
    if not len(kinds) / count <= held <= len(kinds):
        raise DataError(
            f"federation.partition.classes = {held}: {count} clients must hold all {len(kinds)} classes "
            f"of the data, so it must be from {-(-len(kinds) // count)} to {len(kinds)}"
        )
    holds = _draw_holders(held, len(kinds), count, stream)
    holders = holds.sum(axis=0)
    if (holders > sizes).any():
        short = int(np.flatnonzero(holders > sizes)[0])
        raise DataError(
            f"federation.partition: class {kinds[short]} has {sizes[short]} examples for {holders[short]} "
            "clients that hold it; take fewer clients"
        )
    parts: list[list[Rows]] = [[] for _ in range(count)]
    for kind, rows in enumerate(_shuffled(labels, stream)):
        for client, piece in zip(np.flatnonzero(holds[:, kind]), np.array_split(rows, holders[kind]), strict=True):
            parts[client].append(piece)
    return [np.concatenate(part) for part in parts]


def _draw_holders(held: int, kinds: int, count: int, stream: np.random.Generator) -> NDArray[np.bool_]:
    """Who holds which class, (count, kinds); each client ``held`` of them, and no class without a holder."""
    holds = np.zeros((count, kinds), np.bool_)
    for client in range(count):
        own = client % kinds
        others = np.delete(np.arange(kinds), own)
        holds[client, [own, *stream.choice(others, held - 1, replace=False)]] = True
    # NIID-Bench loses the rows of a class that nobody drew (possible with fewer clients than classes). Such a
    # class replaces, at a random client, one that another client holds too.
    for lost in np.flatnonzero(~holds.any(axis=0)):
        spare = holds & (holds.sum(axis=0) > 1)
        spare[np.arange(count), np.arange(count) % kinds] = False
        client, kind = stream.choice(np.argwhere(spare))
        holds[client, kind], holds[client, lost] = False, True
    return holds


def _natural(clients: NDArray[np.str_] | None, count: int) -> list[Rows]:
    """One client per key, largest first, then by name."""
    if clients is None:
        raise DataError(
            "federation.partition: this data has no key of natural clients; "
            "set data.client if your data has one, or choose another scheme"
        )
    keys, sizes = np.unique(clients, return_counts=True)
    if count > len(keys):
        raise DataError(f"federation.clients = {count}: the data has only {len(keys)} natural clients")
    return [np.flatnonzero(clients == keys[at]) for at in np.lexsort((keys, -sizes))[:count]]


def _shuffled(labels: NDArray[np.int64], stream: np.random.Generator) -> Iterator[Rows]:
    """The rows of each class that occurs, in ascending order of the class, each in random order."""
    for kind in np.unique(labels):
        yield stream.permutation(np.flatnonzero(labels == kind))
