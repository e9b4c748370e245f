"""What a server can see of an example in a first update: as it is, in a sum, and under the experiment's privacy.

Each client has a single example and makes a single step, the easiest case for an attacker. That an attack fails here
proves nothing; that it succeeds shows what protection is for.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic import parameters
from leptonic.experiment import ExamplePrivacy
from leptonic_client.data import LocalData
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_simulations.audit.client_messages import ClientMessages, Releases
from leptonic_simulations.audit.example_steps import ExampleSteps
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.inversion import invert, linear_entry
from leptonic_simulations.audit.subject import Auditor, held, observed

__all__ = ["AUDIT", "Shown", "View", "demonstration"]

AUDIT = "gradient inversion"
IMAGES = 4
MOST_SUMMED = 32
"""Updates in a sum, at most."""

Seen = Callable[[int], NDArray[np.float64]]


@dataclass(frozen=True)
class View:
    """What was made of one sight of updates. images: (IMAGES, *shape). likeness: correlations with originals."""

    name: str
    images: Tensor
    likeness: tuple[float, ...]

    @property
    def mean_likeness(self) -> float:
        """Over the images."""
        return float(np.mean(self.likeness))


@dataclass(frozen=True)
class Shown:
    """A demonstration. originals: (IMAGES, *shape), as the model sees them. bounds: of values. attack: its name."""

    originals: Tensor
    bounds: tuple[float, float]
    views: tuple[View, ...]
    attack: str

    @property
    def chance(self) -> float:
        """The mean correlation of two different originals: what an attack that found another image would reach."""
        count = len(self.originals)
        others = [_likeness(self.originals[a], self.originals[b]) for a in range(count) for b in range(a)]
        return float(np.mean(others)) if others else 0.0

    def findings(self) -> list[Finding]:
        """One of each view."""
        return [
            Finding(AUDIT, view.name, "shown", self.attack, unit="likeness", found=view.mean_likeness)
            for view in self.views
        ]


def demonstration(auditor: Auditor, *, steps: int, progress: Callable[[str], None] = lambda _: None) -> Shown | None:
    """Attack the updates; None where examples are no images. steps: of an optimisation."""
    shape = auditor.trainer.spec.shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None
    clients = _clients(auditor)
    originals = torch.stack([client.features[0] for client in clients[:IMAGES]])
    bounds = float(auditor.data.features.min()), float(auditor.data.features.max())
    bare = _Bare(auditor)
    summed = min(auditor.experiment.federation.wanted, len(clients))
    sights: dict[str, Seen] = {"one update, unprotected": lambda one: bare(clients[one])}
    if summed > 1:
        sights[f"sum of {summed} updates, as secure aggregation opens it"] = lambda one: np.sum(
            [bare(clients[(one + other) % len(clients)]) for other in range(summed)], axis=0
        )
    sights |= _protected(auditor, bare, clients, summed)
    views = []
    for name, sight in sights.items():
        progress(f"gradient inversion: {name}")
        views.append(_view(auditor, name, sight, clients, originals, bounds, steps))
    linear = linear_entry(bare.trainer.model, shape) is not None
    attack = "division of the first layer's gradients" if linear else f"{steps} steps towards an equal gradient"
    return Shown(originals, bounds, tuple(views), attack)


def _protected(auditor: Auditor, bare: "_Bare", clients: list[LocalData], summed: int) -> dict[str, Seen]:
    """What is seen under the experiment's own privacy."""
    privacy = auditor.experiment.privacy
    if privacy is None:
        return {}
    if isinstance(privacy, ExamplePrivacy):
        noised, run = ExampleSteps(auditor), secrets.token_hex(8)
        name = f"one update, its example clipped and noised (epsilon {privacy.epsilon:g})"
        return {name: lambda one: noised.noised(clients[one], one, 1, run)}
    messages, together = ClientMessages(auditor), 1 if privacy.mechanism == "local" else summed

    def released(one: int) -> NDArray[np.float64]:
        releases = Releases(auditor)
        total = releases.pipeline.zero()
        for other in range(together):
            update = bare(clients[(one + other) % len(clients)])
            total.add(messages(update, other, run=releases.run))
        return releases(total)

    what = "one update" if together == 1 else f"sum of {together} updates"
    return {
        f"{what}, each clipped and {'all noised' if together > 1 else 'noised'} (epsilon {privacy.epsilon:g})": released
    }


class _Bare:
    """Gradients of single examples, by the experiment's own training without privacy: (d,) float64."""

    def __init__(self, auditor: Auditor) -> None:
        unprotected = auditor.experiment.model_copy(update={"privacy": None})
        self.trainer = LocalTrainer(observed(unprotected, 1.0))
        self._start = auditor.start

    def __call__(self, data: LocalData) -> NDArray[np.float64]:
        work = LocalWork(client=0, round_number=1, data=data, start=self._start, sent={}, state={})
        return -np.asarray(self.trainer.train(work).vectors["model"], dtype=np.float64)


def _view(
    auditor: Auditor,
    name: str,
    sight: Seen,
    clients: list[LocalData],
    originals: Tensor,
    bounds: tuple[float, float],
    steps: int,
) -> View:
    model, images = auditor.trainer.model, []
    for one in range(len(originals)):
        gradient = torch.from_numpy(sight(one)).float()
        # A step has moved the model that attacker and clients share here.
        parameters.from_vector(model, auditor.start)
        images.append(
            invert(
                model.train(),
                auditor.trainer.task,
                gradient,
                shape=auditor.trainer.spec.shape,
                label=clients[one].labels[0],
                bounds=bounds,
                steps=steps,
            )
        )
    found = torch.stack(images)
    return View(name, found, tuple(map(_likeness, found, originals)))


def _likeness(found: Tensor, original: Tensor) -> float:
    """Their correlation over pixels; 0 for a picture without contrast."""
    both = torch.stack([found.flatten(), original.flatten()]).double()
    both = both - both.mean(dim=1, keepdim=True)
    norms = both.norm(dim=1)
    return float(both[0] @ both[1] / norms.prod()) if bool((norms > 0).all()) else 0.0


def _clients(auditor: Auditor) -> list[LocalData]:
    """Of one example each; the first few of different classes, where there are."""
    labels = auditor.data.labels
    order = np.arange(len(labels))
    first = np.unique(labels.numpy(), return_index=True)[1]
    order = np.concatenate([first, np.setdiff1d(order, first)])[: max(MOST_SUMMED, IMAGES)]
    return [held(auditor.data.features[[row]], labels[[row]]) for row in order.tolist()]
