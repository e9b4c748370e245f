"""All audits that apply to an experiment, one after another, in bounded time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from leptonic.experiment import ExamplePrivacy, Experiment
from leptonic_server.outputs import result_of
from leptonic_server.store import RunStore
from leptonic_simulations.audit.client_bounds import client_accounting, client_bounds
from leptonic_simulations.audit.client_canaries import ClientCanaries, client_canaries
from leptonic_simulations.audit.client_noise import client_noise
from leptonic_simulations.audit.demonstration import Shown, demonstration
from leptonic_simulations.audit.example_bounds import example_bounds
from leptonic_simulations.audit.example_canaries import ExampleCanaries, example_canaries
from leptonic_simulations.audit.example_noise import example_accounting, example_noise, example_sampling
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.subject import Auditor, Subject, auditing

__all__ = ["FULL", "QUICK", "Effort", "Study", "run_findings", "study"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is done. canaries: at most. seconds: after which they begin no further round. steps: of an attack."""

    canaries: int
    seconds: float
    steps: int


FULL = Effort(canaries=1000, seconds=120.0, steps=400)
QUICK = Effort(canaries=200, seconds=10.0, steps=100)


@dataclass(frozen=True)
class Study:
    """The outcome. shown: of the demonstration, if there was one. notes: what a reader should know."""

    experiment: Experiment
    findings: tuple[Finding, ...]
    shown: Shown | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def contradicted(self) -> tuple[Finding, ...]:
        """What refutes the claim."""
        return tuple(finding for finding in self.findings if finding.verdict == "contradicted")


def study(
    subject: Subject, effort: Effort, *, progress: Progress = lambda _: None, before: tuple[Finding, ...] = ()
) -> Study:
    """Audit a subject. before: findings that are there already."""
    begun, findings = time.monotonic(), list(before)
    with auditing(subject) as auditor:
        for name, audit in _audits(subject.experiment, effort, progress).items():
            progress(name)
            findings += audit(auditor)
        shown = None if auditor.made else demonstration(auditor, steps=effort.steps, progress=progress)
        findings += shown.findings() if shown else []
        notes = tuple(_notes(auditor, shown))
    return Study(subject.experiment, tuple(findings), shown, notes, time.monotonic() - begun)


def _audits(
    experiment: Experiment, effort: Effort, progress: Progress
) -> dict[str, Callable[[Auditor], list[Finding]]]:
    if experiment.privacy is None:
        return {}
    if isinstance(experiment.privacy, ExamplePrivacy):
        canaries = ExampleCanaries(effort.canaries, effort.seconds)
        return {
            "accounting": example_accounting,
            "neighbouring inputs": example_bounds,
            "noise": example_noise,
            "sampling": example_sampling,
            "canary examples": lambda auditor: example_canaries(auditor, canaries, progress),
        }
    clients = ClientCanaries(effort.canaries, effort.seconds)
    return {
        "accounting": client_accounting,
        "neighbouring inputs": client_bounds,
        "noise": client_noise,
        "canary clients": lambda auditor: client_canaries(auditor, clients, progress),
    }


def run_findings(store: RunStore) -> tuple[Finding, ...]:
    """What a run's own folder says of its privacy."""
    privacy = store.experiment.privacy
    if privacy is None or not store.rounds():
        return ()
    result = result_of(store)
    found = [
        Finding(
            "the run",
            f"what clients say to have spent in {result.rounds} rounds is within the claim",
            "warns" if result.epsilon is None else "holds" if result.epsilon <= privacy.epsilon else "contradicted",
            "" if result.epsilon is not None else "the run's records do not say",
            unit="epsilon",
            claimed=privacy.epsilon,
            found=result.epsilon,
            level=0.0,
        )
    ]
    if result.seeded_noise:
        seeded = "its noise came from the experiment's seed, which whoever knows can take away"
        found.append(Finding("the run", "its noise was secret", "contradicted", seeded, level=0.0))
    return tuple(found)


def _notes(auditor: Auditor, shown: Shown | None) -> list[str]:
    experiment, notes = auditor.experiment, []
    if experiment.privacy is None:
        notes.append("the experiment claims no privacy: nothing but the demonstration applies")
    if auditor.made:
        notes.append("the data are their owners' and not here: the audits ran on made-up examples, and show none")
    elif shown is None:
        notes.append("examples are no images: gradient inversion is not shown")
    if experiment.simulation.engine in ("batched", "auto") and isinstance(experiment.privacy, ExamplePrivacy):
        notes.append(
            f"simulation.engine = '{experiment.simulation.engine}' may train many clients in one program of its own;"
            " audited is the code of a deployed client"
        )
    return notes
