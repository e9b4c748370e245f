"""Single private steps of a client, as its trainer makes them: what bounds and noise are measured on.

The trainer takes one step of size batch_size / clip_norm, so that its update is the clipped sum plus noise, in units
of the clip. Every row is in the batch, so that the example in question certainly is.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.experiment import ExamplePrivacy
from leptonic.privacy.accounting import ExamplePlan
from leptonic_client.data import LocalData
from leptonic_client.training import LocalTrainer, Protection
from leptonic_simulations.audit.subject import Auditor, observed

__all__ = ["BATCH", "ExampleSteps"]

BATCH = 16
"""Ordinary examples in the step's batch."""
QUIET = 1e-9
"""The noise multiplier of a step whose clipped sum is to be seen."""


class ExampleSteps:
    """Steps of clients under example-level privacy, each upon a request of its own."""

    def __init__(self, auditor: Auditor) -> None:
        privacy, training = auditor.experiment.privacy, auditor.experiment.training
        if not isinstance(privacy, ExamplePrivacy):
            raise PrivacyError("the experiment has no example-level privacy")
        self._auditor = auditor
        self.declared = auditor.declared
        self.trainer: LocalTrainer = auditor.subject.trainer(
            observed(auditor.experiment, training.batch_size / privacy.clip_norm)
        )

    def quiet(self, data: LocalData) -> NDArray[np.float64]:
        """The clipped sum over the data, with next to no noise. Returns (d,) float64, in clips."""
        return self._step(data, 0, 1, lambda plan: replace(plan, noise_multiplier=QUIET))

    def noised(self, data: LocalData, client: int, round_number: int, run: str) -> NDArray[np.float64]:
        """The same with the client's own noise."""
        return self._step(data, client, round_number, lambda plan: plan, run)

    def _step(
        self,
        data: LocalData,
        client: int,
        round_number: int,
        changed: Callable[[ExamplePlan], ExamplePlan],
        run: str | None = None,
    ) -> NDArray[np.float64]:
        asked = self._auditor.client(data, client, public_size=self.declared)
        work = self._auditor.work(asked, run=run, round_number=round_number)
        if work.protection is None:
            raise PrivacyError("the client answers without protection")
        work = replace(work, protection=_certain(work.protection, changed), sent={}, state={})
        return -np.asarray(self.trainer.train(work).vectors["model"], dtype=np.float64)


def _certain(protection: Protection, changed: Callable[[ExamplePlan], ExamplePlan]) -> Protection:
    """The same for one step over all rows."""
    return replace(protection, plan=changed(replace(protection.plan, sample_rate=1.0, steps_per_round=1)))
