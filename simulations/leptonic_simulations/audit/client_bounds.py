"""Neighbouring inputs at client level: no client's integers may be longer than the noise was calibrated for.

The neighbour of a client is one that sends zeros, so that its own integers are what it moves a sum by. They are read
from messages without noise, in exact integer arithmetic.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.parameters import Layout
from leptonic.pipeline import ClientLevelPipeline, ClippedPipeline
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic_simulations.audit.client_messages import ClientMessages, plan_of, signed
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.subject import Auditor

__all__ = ["client_accounting", "client_bounds"]

AUDIT = "neighbouring inputs"
SCALES = (0.5, 1.0, 1e6)
"""Of an update, in clips."""


def client_accounting(auditor: Auditor) -> list[Finding]:
    """Whether the plan costs what is claimed."""
    plan, privacy = plan_of(auditor), auditor.experiment.privacy
    assert privacy is not None
    spent = plan.epsilon(plan.participations)
    return [
        Finding(
            "accounting",
            f"{plan.participations} joined rounds cost, by Renyi orders",
            "holds" if spent <= privacy.epsilon and plan.delta <= privacy.delta else "contradicted",
            unit="epsilon",
            claimed=privacy.epsilon,
            found=spent,
            level=0.0,
        )
    ]


def client_bounds(auditor: Auditor) -> list[Finding]:
    """How far one client moves a sum, and whether anything but its noised words depends on its update."""
    messages, plan = ClientMessages(auditor, quiet=True), plan_of(auditor)
    pipeline = messages.trainer.pipeline
    assert isinstance(pipeline, ClientLevelPipeline)
    worst, most, sums = "", 0.0, set()
    for name, update in _updates(auditor.trainer.layout, plan.clip_norm):
        try:
            message = messages(update)
        except PrivacyError:
            continue  # what a client refuses to send moves nothing
        found = _share_of_bound(signed(message, pipeline), pipeline)
        worst, most = (name, found) if found >= most else (worst, most)
        sums.add(tuple(sorted((k, v) for k, v in pipeline.sums(message).items() if k != "below")))
    return [
        Finding(
            AUDIT,
            f"one client, aimed at each of {len(auditor.trainer.layout.names)} parameters, moves a sum by",
            "holds" if most <= 1 else "contradicted",
            f"most: {worst}",
            unit="clips",
            claimed=1.0,
            found=most,
            level=0.0,
        ),
        Finding(
            AUDIT,
            "what a message says beside its words is the same",
            "holds" if len(sums) == 1 else "contradicted",
            level=0.0,
        ),
    ]


def _share_of_bound(values: NDArray[np.int64], pipeline: ClientLevelPipeline) -> float:
    """The norm over the bound that the accounting rests on, the larger of both norms where there are two."""
    squares, absolute = values * values, int(np.abs(values).sum())
    # In two halves: whole squares, of up to 2^62 each, would overflow when added.
    squared = (int((squares >> 32).sum()) << 32) + int((squares & 0xFFFFFFFF).sum())
    if isinstance(pipeline, ClippedPipeline):
        return math.sqrt(squared) / pipeline.lattice.scale
    release = pipeline.plan.release
    assert not isinstance(release, SampledGaussian)
    return max(math.sqrt(squared / release.l2_squared), absolute / release.l1)


def _updates(layout: Layout, clip_norm: float) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Updates that are large in one parameter, dense or in one entry, beside small others; and such that break sums."""
    rng = np.random.default_rng(0)
    ordinary = rng.normal(size=layout.size)
    ordinary *= 0.9 * clip_norm / np.linalg.norm(ordinary)
    for name, start, size in zip(layout.names, layout.offsets, layout.sizes, strict=True):
        for scale in SCALES:
            dense = np.zeros(layout.size)
            dense[start : start + size] = rng.normal(size=size)
            yield name, ordinary * (scale > 1) + dense * scale * clip_norm / np.linalg.norm(dense)
        single = np.zeros(layout.size)
        single[start] = SCALES[-1] * clip_norm
        yield f"one entry of {name}", single
    yield "all entries alike", np.full(layout.size, clip_norm)
    for value in (np.inf, -np.inf, np.nan, 3e38):
        spoilt = ordinary.copy()
        spoilt[0] = value
        yield f"an entry of {value:g}", spoilt
        yield f"entries of {value:g}", np.full(layout.size, value)
