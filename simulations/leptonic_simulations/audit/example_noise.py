"""The noise and the sampling of example-level privacy, as two clients with equal inputs draw them over some rounds."""

import math
import secrets
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.experiment import ExamplePrivacy
from leptonic.privacy.accounting import epsilon_spent
from leptonic_client.data import LocalData
from leptonic_simulations.audit.example_steps import BATCH, ExampleSteps
from leptonic_simulations.audit.findings import NOISE, SAMPLING, Finding
from leptonic_simulations.audit.noise_tests import noise_findings
from leptonic_simulations.audit.subject import Auditor, held
from leptonic_simulations.audit.tails import excess, shows

__all__ = ["example_accounting", "example_noise", "example_sampling"]

CLIENTS = 2
FEWEST, MOST = 4, 40
"""Rounds in which the noise is drawn: as many as the smallest parameter needs."""
TRIALS = 20_000
"""Rows times steps from which sampling is judged."""


def example_accounting(auditor: Auditor) -> list[Finding]:
    """Whether what a client plans costs what is claimed."""
    privacy, plan = auditor.experiment.privacy, auditor.example_plan()
    assert isinstance(privacy, ExamplePrivacy)
    rounds = auditor.experiment.training.rounds
    spent = epsilon_spent(plan, rounds)
    return [
        Finding(
            "accounting",
            f"{rounds} rounds cost, by PRV",
            "holds" if spent <= privacy.epsilon and plan.delta <= privacy.delta else "contradicted",
            f"noise multiplier {plan.noise_multiplier:.4g}, sampling rate {plan.sample_rate:.4g}",
            unit="epsilon",
            claimed=privacy.epsilon,
            found=spent,
            level=0.0,
        )
    ]


def example_noise(auditor: Auditor) -> list[Finding]:
    """Two clients with the same examples, each in the same rounds of one run."""
    steps, base, layout = ExampleSteps(auditor), auditor.rows(0, BATCH), auditor.trainer.layout
    parts = {
        name: slice(start, start + size)
        for name, start, size in zip(layout.names, layout.offsets, layout.sizes, strict=True)
    }
    wanted = _rounds(parts)
    rounds = min(wanted, auditor.experiment.training.rounds)
    bare, deviation = steps.quiet(base), auditor.example_plan().noise_multiplier
    # A run has so many rounds only; more noise is drawn in further runs.
    draws: list[list[list[NDArray[np.float64]]]] = []
    while len(draws) * rounds < wanted:
        run = secrets.token_hex(8)
        draws.append(
            [
                [(steps.noised(base, client, number, run) - bare) / deviation for client in range(CLIENTS)]
                for number in range(1, rounds + 1)
            ]
        )
    residuals = np.concatenate([np.array(run) for run in draws]).swapaxes(0, 1)
    return noise_findings(residuals, parts)


def _rounds(parts: dict[str, slice]) -> int:
    smallest = min(part.stop - part.start for part in parts.values())
    needed = math.ceil(1.2 * shows(len(parts) + 8, NOISE) / (CLIENTS * smallest))
    return int(min(MOST, max(FEWEST, needed + needed % 2)))


def example_sampling(auditor: Auditor) -> list[Finding]:
    """Whether rows enter batches as rarely as claimed, and independently between clients and between rounds."""
    plan = auditor.example_plan()
    if plan.sample_rate >= 1:
        return []
    rows = min(plan.public_size, 2000)
    steps = min(plan.steps_per_round, math.ceil(TRIALS / rows))
    rounds = min(auditor.experiment.training.rounds, max(2, math.ceil(TRIALS / (rows * steps))))
    data, run = _numbered(auditor, rows), secrets.token_hex(8)
    drawn = np.array(
        [
            [_batches(auditor, data, client, number, run, steps) for number in range(1, rounds + 1)]
            for client in range(CLIENTS)
        ]
    )
    rate = plan.sample_rate
    chances = {
        "rows in a batch": (drawn, rate),
        "rows in both clients' batches": (drawn[0] & drawn[1], rate**2),
        "rows in two steps' batches": (drawn[:, :, 1::2] & drawn[:, :, 0 : drawn.shape[2] // 2 * 2 : 2], rate**2),
        "rows in two rounds' batches": (drawn[:, 1::2] & drawn[:, 0 : rounds // 2 * 2 : 2], rate**2),
    }
    judged = {name: (values, rate) for name, (values, rate) in chances.items() if values.size}
    findings = []
    for name, (values, expected) in judged.items():
        chance = excess(int(values.sum()), trials=values.size, probability=expected)
        findings.append(
            Finding(
                "sampling",
                name,
                "contradicted" if chance <= SAMPLING / len(judged) else "holds",
                f"a correct run shows so many with probability {chance:.2g} at most",
                unit="of all",
                claimed=expected,
                found=float(values.mean()),
                level=SAMPLING / len(judged),
                figures={"p_value": chance},
            )
        )
    return findings


def _numbered(auditor: Auditor, rows: int) -> LocalData:
    """Examples that can be told apart by their first feature: their number, in steps of 1/1024."""
    one = auditor.rows(0, 1)
    features, labels = one.batch(torch.zeros(rows, dtype=torch.long))
    features.view(rows, -1)[:, 0] = torch.arange(rows) / 1024
    return held(features, labels)


def _batches(
    auditor: Auditor, data: LocalData, client: int, round_number: int, run: str, steps: int
) -> NDArray[np.bool_]:
    """Which rows came before the model in each of the first steps of a client's round. Returns (steps, rows)."""
    asked = auditor.client(data, client, public_size=auditor.declared)
    seen: list[NDArray[np.bool_]] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shown = inputs[0].detach().cpu()
        chosen = (shown.flatten(1)[:, 0] * 1024).round().long()
        if bool((chosen >= len(data)).any()) or not torch.equal(shown, data.features[chosen]):
            return  # a model is first tried with examples that were made up
        present = np.zeros(len(data), dtype=bool)
        present[chosen.numpy()] = True
        seen.append(present)

    work = auditor.work(asked, run=run, round_number=round_number)
    if work.protection is None:
        raise PrivacyError("the client answers without protection")
    fewer = replace(work.protection, plan=replace(work.protection.plan, steps_per_round=steps))
    hook = auditor.trainer.model.register_forward_pre_hook(look)
    try:
        auditor.trainer.train(replace(work, protection=fewer))
    finally:
        hook.remove()
    # Trying with an empty batch looks like a step.
    return np.stack(seen[-steps:])
