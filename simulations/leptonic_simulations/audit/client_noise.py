"""The noise of client-level privacy: of clients that send zeros, or of the server that releases sums of zeros."""

import math
import secrets
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.integers import to_fixed
from leptonic.pipeline import ClientLevelPipeline, Contribution
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import AdaptiveClip, TrustedServer
from leptonic_simulations.audit.client_messages import ClientMessages, Releases, plan_of, signed
from leptonic_simulations.audit.findings import NOISE, Finding
from leptonic_simulations.audit.noise_tests import noise_findings
from leptonic_simulations.audit.subject import Auditor
from leptonic_simulations.audit.tails import NORMAL_KURTOSIS, shows

__all__ = ["client_noise"]

CLIENTS = 2
FEWEST, MOST = 4, 40
COUNTS = 160
"""Rounds from which the noise on an adaptive clip's counts is judged."""
MOST_ENTRIES = 10**7
"""That these rounds may release; of larger models this noise is not judged."""


def client_noise(auditor: Auditor) -> list[Finding]:
    """Of clients where they add it, else of the server."""
    plan = plan_of(auditor)
    if isinstance(plan.mechanism, DistributedMechanism):
        mechanism = plan.mechanism
        # Skellam's excess kurtosis is 1 over its variance; the discrete Gaussian's is below.
        kurtosis = NORMAL_KURTOSIS + 1 / mechanism.local_variance
        return noise_findings(_of_clients(auditor), {"all words": slice(0, mechanism.dimension)}, kurtosis=kurtosis)
    layout = auditor.trainer.layout
    parts = {
        name: slice(start, start + size)
        for name, start, size in zip(layout.names, layout.offsets, layout.sizes, strict=True)
    }
    adaptive = plan.mechanism.adaptive if isinstance(plan.mechanism, TrustedServer) else None
    if adaptive is None:
        return noise_findings(_of_server(auditor, parts)[None], parts)
    updates = noise_findings(_of_server(auditor, parts)[None], parts, level=NOISE / 2)
    return updates + _of_counts(auditor, adaptive) if layout.size <= MOST_ENTRIES / COUNTS else updates


def _of_clients(auditor: Auditor) -> NDArray[np.float64]:
    """Two clients' shares over some rounds, in claimed deviations, (clients, rounds, words)."""
    messages, pipeline, plan = ClientMessages(auditor), auditor.trainer.pipeline, plan_of(auditor)
    assert isinstance(pipeline, ClientLevelPipeline)
    assert isinstance(plan.mechanism, DistributedMechanism)
    zeros = np.zeros(auditor.trainer.layout.size)
    rounds = min(plan.participations, auditor.experiment.training.rounds, FEWEST)
    deviation = math.sqrt(plan.mechanism.local_variance)
    drawn: list[list[NDArray[np.float64]]] = []
    while len(drawn) * plan.mechanism.dimension * CLIENTS < 1.2 * shows(7, NOISE) or len(drawn) < FEWEST:
        run = secrets.token_hex(8)
        drawn += [
            [
                signed(messages(zeros, client, run=run, round_number=number), pipeline) / deviation
                for client in range(CLIENTS)
            ]
            for number in range(1, rounds + 1)
        ]
    return np.array(drawn).swapaxes(0, 1)


def _of_server(auditor: Auditor, parts: dict[str, slice]) -> NDArray[np.float64]:
    """Releases of sums of zeros, in claimed deviations, as independent draws: (rounds, d)."""
    plan = plan_of(auditor)
    smallest = min(part.stop - part.start for part in parts.values())
    wanted = min(MOST, max(FEWEST, math.ceil(1.2 * shows(len(parts) + 6, NOISE) / smallest)))
    releases, drawn = Releases(auditor), []
    for _ in range(wanted + wanted % 2):
        clip_norm = releases.clip_norm
        drawn.append(releases(_of_nobody(auditor)) * plan.denominator / clip_norm)
    match plan.mechanism:
        case TrustedServer(adaptive=adaptive, noise_multiplier=multiplier):
            return np.array(drawn) / (adaptive.update_noise_multiplier if adaptive else multiplier)
        case BandedNoise() as banded:
            return _whitened(np.array(drawn), banded) / banded.deviation
        case _:
            raise PrivacyError("the clients add this run's noise, not the server")


def _of_counts(auditor: Auditor, adaptive: AdaptiveClip) -> list[Finding]:
    """The noise on counts of nobody, as the clip that they move tells it: one draw a round."""
    releases, drawn = Releases(auditor), []
    for _ in range(COUNTS):
        before = releases.clip_norm
        releases(_of_nobody(auditor))
        share = adaptive.quantile - math.log(releases.clip_norm / before) / adaptive.rate
        drawn.append((share - 0.5) * adaptive.denominator / adaptive.deviation_of_bits)
    found = noise_findings(np.array(drawn)[None, None], {"all rounds": slice(0, COUNTS)}, level=NOISE / 2)
    names = ("variance of the count that moves the clip", "left between its rounds")
    return [replace(finding, question=name) for finding, name in zip(found, names, strict=True)]


def _of_nobody(auditor: Auditor) -> Contribution:
    """A sum of as many zeros as a round wants."""
    pipeline = auditor.trainer.pipeline
    nothing = pipeline.zero()
    nothing.scalars[:] = to_fixed([plan_of(auditor).denominator, *[0.0] * (len(nothing.scalars) - 1)])
    return nothing


def _whitened(released: NDArray[np.float64], banded: BandedNoise) -> NDArray[np.float64]:
    """The independent draws z_t = sum_(0 <= j < b) c_j xi_(t - j) behind correlated noise, (rounds, d)."""
    draws = np.zeros_like(released)
    for lag, coefficient in enumerate(banded.coefficients[: len(released)]):
        draws[lag:] += coefficient * released[: len(released) - lag]
    return draws
