"""Neighbouring inputs at example level: no example may move a clipped sum by more than the clip, or show otherwise.

Adding an example to a batch and taking one away are the same comparison. Source: Abadi et al. 2016, arXiv 1607.00133.
"""

import math

import numpy as np
import torch

from leptonic_client.data import LocalData
from leptonic_simulations.audit.example_steps import BATCH, ExampleSteps
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.outliers import Outlier, layers_of, not_finite, outliers
from leptonic_simulations.audit.subject import Auditor, held

__all__ = ["AUDIT", "example_bounds"]

AUDIT = "neighbouring inputs"


def example_bounds(auditor: Auditor) -> list[Finding]:
    """How far one example moves a step, and whether anything but the noised step depends on it."""
    steps, base = ExampleSteps(auditor), auditor.rows(0, BATCH)
    without = steps.quiet(base)
    trainer = auditor.trainer
    aimed = list(outliers(trainer.model.train(), trainer.task, base))
    layers = len(layers_of(trainer.model))
    return [
        _moved(steps, base, without, aimed, f"one example, aimed at each of {layers} layers, moves a clipped sum by"),
        _moved(steps, base, without, list(not_finite(base)), "one example that is not finite moves it by"),
        _beside(auditor, base, aimed[-1]),
    ]


def _moved(steps: ExampleSteps, base: LocalData, without: np.ndarray, aimed: list[Outlier], question: str) -> Finding:
    moved = []
    for outlier in aimed:
        distance = float(np.linalg.norm(steps.quiet(_joined(base, outlier)) - without))
        moved.append(distance if math.isfinite(distance) else math.inf)
    worst = int(np.argmax(moved))
    norms = [outlier.norm for outlier in aimed if math.isfinite(outlier.norm)]
    reached = f", of a gradient of {aimed[worst].norm:.3g} there" if norms else ""
    return Finding(
        AUDIT,
        question,
        "holds" if moved[worst] <= 1.0 else "contradicted",
        f"most: {aimed[worst].aimed_at}{reached}",
        unit="clips",
        claimed=1.0,
        found=moved[worst],
        level=0.0,
    )


def _beside(auditor: Auditor, base: LocalData, outlier: Outlier) -> Finding:
    """What leaves a client beside its noised vectors must not depend on its examples, nor on their number."""
    beside = []
    for data in (base, _joined(base, outlier)):
        client = auditor.client(data, public_size=auditor.declared)
        request, content = auditor.ask(client)
        answer = client.answer(request, content)
        beside.append((len(answer.content), answer.epsilon, auditor.sums(answer.content)))
    return Finding(
        AUDIT,
        "length, weight and sums of a message are the same",
        "holds" if beside[0] == beside[1] else "contradicted",
        level=0.0,
    )


def _joined(base: LocalData, outlier: Outlier) -> LocalData:
    features, labels = base.batch(torch.arange(len(base)))
    return held(torch.cat([features, outlier.features[None]]), torch.cat([labels, outlier.label[None]]))
