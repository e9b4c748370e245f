"""The noise of client-level privacy: of clients that send zeros, or of the server that releases sums of zeros."""

import math
import secrets

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.integers import to_fixed
from leptonic.pipeline import ClientLevelPipeline, ClippedPipeline
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import TrustedServer
from leptonic_simulations.audit.client_messages import ClientMessages, Releases, plan_of, signed
from leptonic_simulations.audit.findings import NOISE, Finding
from leptonic_simulations.audit.noise_tests import noise_findings
from leptonic_simulations.audit.subject import Auditor
from leptonic_simulations.audit.tails import NORMAL_KURTOSIS, shows

__all__ = ["client_noise"]

CLIENTS = 2
FEWEST, MOST = 4, 40


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
    return noise_findings(_of_server(auditor, parts)[None], parts)


def _of_clients(auditor: Auditor) -> NDArray[np.float64]:
    """Two clients' shares over some rounds, in claimed deviations, (clients, rounds, words)."""
    messages, pipeline, plan = ClientMessages(auditor), auditor.trainer.pipeline, plan_of(auditor)
    assert isinstance(pipeline, ClientLevelPipeline)
    assert isinstance(plan.mechanism, DistributedMechanism)
    zeros, rounds = np.zeros(auditor.trainer.layout.size), min(plan.participations, FEWEST)
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
    pipeline, plan = auditor.trainer.pipeline, plan_of(auditor)
    assert isinstance(pipeline, ClippedPipeline)
    smallest = min(part.stop - part.start for part in parts.values())
    wanted = min(MOST, max(FEWEST, math.ceil(1.2 * shows(len(parts) + 6, NOISE) / smallest)))
    releases, drawn = Releases(auditor), []
    nothing = pipeline.zero()
    nothing.scalars[:] = to_fixed([plan.denominator, *[0.0] * (len(nothing.scalars) - 1)])
    for _ in range(wanted + wanted % 2):
        clip_norm = releases.clip_norm
        drawn.append(releases(nothing) * plan.denominator / clip_norm)
    match plan.mechanism:
        case TrustedServer(adaptive=adaptive, noise_multiplier=multiplier):
            return np.array(drawn) / (adaptive.update_noise_multiplier if adaptive else multiplier)
        case BandedNoise() as banded:
            return _whitened(np.array(drawn), banded) / banded.deviation
        case _:
            raise PrivacyError("the clients add this run's noise, not the server")


def _whitened(released: NDArray[np.float64], banded: BandedNoise) -> NDArray[np.float64]:
    """The independent draws z_t = sum_(0 <= j < b) c_j xi_(t - j) behind correlated noise, (rounds, d)."""
    draws = np.zeros_like(released)
    for lag, coefficient in enumerate(banded.coefficients[: len(released)]):
        draws[lag:] += coefficient * released[: len(released) - lag]
    return draws
