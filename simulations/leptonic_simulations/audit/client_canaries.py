"""Canary clients: random directions as updates, some put in by coins, through messages, sums and releases.

Two readings of the same rounds: a lower bound on epsilon from guesses who was there (Steinke, Nasr & Jagielski 2023,
arXiv 2305.08846), and an estimate from the cosines of those who were (Andrew et al. 2023, arXiv 2302.03098), which
spreads too much to accuse.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.pipeline import Contribution
from leptonic.privacy.canary_audit import Gaussian, cosines, epsilon_between, epsilon_from_cosines
from leptonic.privacy.client_level import ClientPlan
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import TrustedServer
from leptonic.randomness import SecureStream
from leptonic_simulations.audit.client_messages import ClientMessages, Releases, plan_of
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.guesses import MOST_ENTRIES, delta_of, disentangled, guess_finding
from leptonic_simulations.audit.subject import Auditor

__all__ = ["ClientCanaries", "client_canaries"]

FEWEST = 8
"""Canaries that guesses need."""
SPREADS = 2.0
"""Standard errors by which an estimate must exceed a claim to be worth a warning."""


@dataclass(frozen=True)
class ClientCanaries:
    """How much is done. canaries: where the server adds the noise; else as many as the noise is accounted for.

    seconds: after which no further round begins.
    """

    canaries: int
    seconds: float


def client_canaries(
    auditor: Auditor, effort: ClientCanaries, progress: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Let canaries join rounds, guess, and estimate."""
    plan = plan_of(auditor)
    size, alone = auditor.trainer.layout.size, plan.honest == 1
    clients = plan.honest if plan.by_clients and not alone else effort.canaries
    count = min(clients, MOST_ENTRIES // size)
    if count < FEWEST:
        return [_too_few(count, plan)]
    stream = SecureStream()
    directions = stream.normal(count * size).reshape(count, size)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Coins of the audit are from the operating system, as the noise: nobody can choose them to please.
    present = stream.uniform(count) < 0.5
    updates = directions * present[:, None]
    rounds = _Rounds(auditor, effort.seconds, progress)
    if alone:
        scores, joined = rounds.each(updates, directions)
    else:
        seen, joined = rounds.sum(updates)
        scores = disentangled(directions, seen, usual=joined / 2, spread=joined**2 / 4, noise=_noise(plan) * joined)
    delta = delta_of(plan.delta)
    claimed = plan.composition(joined).epsilon(delta, accountant="rdp")
    over = f"canary clients over {joined} joined rounds"
    guessed = guess_finding(scores, present, epsilon=claimed, delta=delta, what=over)
    return [guessed] if alone else [guessed, *_estimate(seen, directions[present], plan, joined, over)]


class _Rounds:
    """The rounds that canaries join: as many as a client may join, or as time allows."""

    def __init__(self, auditor: Auditor, seconds: float, progress: Callable[[str], None]) -> None:
        self._plan, self._seconds, self._progress = plan_of(auditor), seconds, progress
        self._messages, self._releases = ClientMessages(auditor), Releases(auditor)
        self._last = auditor.experiment.training.rounds

    def sum(self, updates: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        """What is released of these updates' sums, over all rounds, in clips; and in how many clients have joined.

        updates: (m, d), of norm 1 or 0: who is absent sends zeros.
        """
        seen, joined = np.zeros(updates.shape[1]), 0
        for _ in self._rounds():
            joined += 1
            total = self._releases.pipeline.zero()
            unit = self._plan.denominator / self._releases.clip_norm
            for client, update in enumerate(updates):
                total.add(self._message(update, client))
            # As many shares of noise as are counted on, whatever number of canaries fits into memory.
            for client in range(len(updates), self._plan.honest):
                total.add(self._message(np.zeros(updates.shape[1]), client))
            seen += self._releases(total) * unit
        return seen, joined

    def each(self, updates: NDArray[np.float64], directions: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        """How far each client's own messages go its way, (m,), where a server sees them one by one."""
        along, joined = np.zeros(len(updates)), 0
        for _ in self._rounds():
            joined += 1
            encoding = self._releases.pipeline.at(self._releases.occasion)
            for client, update in enumerate(updates):
                sent = encoding.decode(self._message(update, client)).vectors["model"]
                along[client] += float(sent.astype(np.float64) @ directions[client])
            self._releases(self._releases.pipeline.zero())
        return along, joined

    def _message(self, update: NDArray[np.float64], client: int) -> Contribution:
        releases = self._releases
        return self._messages(
            update * releases.clip_norm,
            client,
            run=releases.run,
            round_number=releases.next_round,
            clip_norm=releases.clip_norm,
        )

    def _rounds(self) -> Iterator[int]:
        """Numbers the rounds that clients join; between them pass as many as the noise asks for."""
        plan, releases, begun = self._plan, self._releases, time.monotonic()
        band = plan.mechanism.band if isinstance(plan.mechanism, BandedNoise) else 1
        for joined in range(1, plan.participations + 1):
            if releases.next_round > self._last or (joined > 1 and time.monotonic() - begun > self._seconds):
                return
            yield joined
            self._progress(f"canary clients: joined round {joined} of {plan.participations}")
            for _ in range(min(band - 1, self._last - releases.next_round + 1)):
                releases(releases.pipeline.zero())


def _noise(plan: ClientPlan) -> float:
    """Variance of a released entry, in clips squared; of correlated noise, a first guess."""
    match plan.mechanism:
        case DistributedMechanism() as mechanism:
            return plan.honest * (mechanism.local_deviation / mechanism.clip_norm) ** 2
        case TrustedServer(adaptive=adaptive, noise_multiplier=multiplier):
            return (adaptive.update_noise_multiplier if adaptive else multiplier) ** 2
        case BandedNoise() as banded:
            return banded.deviation**2


def _estimate(
    seen: NDArray[np.float64], directions: NDArray[np.float64], plan: ClientPlan, joined: int, over: str
) -> list[Finding]:
    """By the cosines of those who were there."""
    if len(directions) < 2:
        return []
    observed, dimension, claimed = cosines(seen, directions), len(seen), plan.epsilon(joined)
    found = epsilon_from_cosines(observed, dimension=dimension, delta=plan.delta, fit_deviation=False)
    chance = dimension**-0.5
    mean = float(observed.mean())
    error = SPREADS * chance / math.sqrt(len(observed))
    low, high = (
        epsilon_between(Gaussian(max(0.0, mean + off), chance), Gaussian(0.0, chance), plan.delta)
        for off in (-error, error)
    )
    return [
        Finding(
            "canary clients",
            f"{len(observed)} {over}, by cosines",
            "warns" if low > claimed else "holds",
            f"an estimate, between {low:.2f} and {high:.2f}; it cannot see noise that clients share",
            unit="epsilon",
            claimed=claimed,
            found=found,
        )
    ]


def _too_few(count: int, plan: ClientPlan) -> Finding:
    return Finding(
        "canary clients",
        "guesses who was there",
        "shown",
        f"not made: sums hold {count} clients whose noise is counted on, and guesses need {FEWEST}"
        if plan.by_clients
        else f"not made: the model leaves memory for {count} canaries",
    )
