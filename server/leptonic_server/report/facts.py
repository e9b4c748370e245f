"""What a report says, read once from the run store: everything else only writes it down."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic_server.store import ClientRecord, RoundRecord, RunStore

__all__ = ["STATUSES", "Facts", "Headline", "Tally", "read_facts"]

STATUSES = ("counted", "late", "failed", "refused", "invalid", "lost")
"""What can become of an invited client, as the collector records it."""


@dataclass(frozen=True)
class Headline:
    """The accuracy that a run is known by: of its last evaluation, and the best. where: whose test data."""

    where: str
    value: float
    round: int
    best: float
    best_round: int


@dataclass
class Tally:
    """What became of one client over the run. trouble: the last record that was not counted, by round."""

    client: int
    name: str
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    epsilon: float | None = None
    trouble: tuple[int, ClientRecord] | None = None

    @property
    def invited(self) -> int:
        """How often the client was asked, repeated rounds included."""
        return self.statuses.total()

    @property
    def missed(self) -> int:
        """How often it was asked and not counted."""
        return self.invited - self.statuses["counted"]

    def add(self, round_number: int, record: ClientRecord) -> None:
        """Take in one more record, in the order of rounds."""
        self.statuses[record.status] += 1
        if record.status == "counted":
            self.seconds += record.seconds
        else:
            self.trouble = (round_number, record)
        if record.epsilon is not None:
            self.epsilon = max(record.epsilon, self.epsilon or 0.0)


@dataclass(frozen=True)
class Facts:
    """A run as it stands. rounds: round 0 first. answers: (round, attempt, record) of every invited client."""

    run: str
    mode: str
    experiment: Experiment
    names: Mapping[int, str]
    rounds: tuple[RoundRecord, ...]
    answers: tuple[tuple[int, int, ClientRecord], ...]
    model_file_sha256: str | None

    @property
    def last(self) -> RoundRecord:
        """The last committed round."""
        return self.rounds[-1]

    @property
    def trained(self) -> tuple[RoundRecord, ...]:
        """The rounds after round 0."""
        return self.rounds[1:]

    @property
    def complete(self) -> bool:
        """Whether the last round of the experiment is committed."""
        return self.last.round >= self.experiment.training.rounds

    @property
    def seconds(self) -> float:
        """Of all phases of the committed rounds."""
        return sum(sum(record.seconds.values()) for record in self.rounds)

    @property
    def bytes_up(self) -> int:
        """Clients to coordinator, all committed rounds."""
        return sum(record.bytes_up for record in self.rounds)

    @property
    def bytes_down(self) -> int:
        """Coordinator to clients, all committed rounds."""
        return sum(record.bytes_down for record in self.rounds)

    @cached_property
    def headline(self) -> Headline | None:
        """Accuracy on the server's test data, else on the clients', None where nothing was evaluated."""
        server = [(r.round, r.metrics["accuracy"]) for r in self.rounds if "accuracy" in r.metrics]
        clients = [(r.round, r.client_metrics["accuracy"]) for r in self.rounds if "accuracy" in r.client_metrics]
        for where, points in (("the server's test data", server), ("the clients' held-out data", clients)):
            points = [(number, value) for number, value in points if math.isfinite(value)]
            if points:
                best_round, best = max(points, key=lambda point: (point[1], -point[0]))
                return Headline(where, points[-1][1], points[-1][0], best, best_round)
        return None

    @cached_property
    def epsilons(self) -> tuple[tuple[int, float], ...]:
        """(round, largest epsilon of any client up to it: reported, or as the plan charges); empty where none was."""
        known = [(number, record.epsilon) for number, _, record in self.answers if record.epsilon is not None]
        known += [(record.round, record.spent) for record in self.rounds if record.spent is not None]
        largest: dict[int, float] = {}
        so_far = 0.0
        for number, epsilon in sorted(known):
            largest[number] = so_far = max(so_far, epsilon)
        return tuple(largest.items())

    @cached_property
    def repeats(self) -> dict[int, int]:
        """Round -> how many of its attempts failed."""
        attempts: dict[int, set[int]] = {}
        for number, attempt, _ in self.answers:
            attempts.setdefault(number, set()).add(attempt)
        committed = {record.round for record in self.rounds}
        failed = {number: len(seen) - (number in committed) for number, seen in attempts.items()}
        return {number: count for number, count in failed.items() if count}

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """One for each client of the roster or that was ever invited, by index."""
        everyone = set(self.names) | {record.client for _, _, record in self.answers}
        tallies = {client: Tally(client, self.name(client)) for client in sorted(everyone)}
        for number, _, record in self.answers:
            tallies[record.client].add(number, record)
        return tuple(tallies.values())

    def name(self, client: int) -> str:
        """The client's name on the roster; a simulation calls it by its index."""
        return self.names.get(client, f"client-{client}")


def read_facts(store: RunStore) -> Facts:
    """Everything that is reported of a run. Raises RunError where there is nothing to report yet."""
    run, rounds = store.run, store.rounds()
    if run is None or not rounds:
        raise RunError(f"{store.folder}: nothing to report: no round is committed, not even the first model")
    return Facts(
        run=run,
        mode=store.mode,
        experiment=store.experiment,
        names={member.client: member.name for member in store.roster()},
        rounds=tuple(rounds),
        answers=tuple(store.clients()),
        model_file_sha256=_sha256(store.folder / "model.safetensors"),
    )


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
