"""Faulty parts, each of which looks right from outside: what an audit must catch."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from leptonic.experiment import Experiment
from leptonic.integers import to_fixed
from leptonic.pipeline import ClippedPipeline, Contribution, NoisedPipeline, Pipeline
from leptonic.privacy.clipped_update import clip
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.engine import SecureOptimizer, SecurePrivacyEngine
from leptonic.privacy.example_level import PrivateTraining
from leptonic.privacy.hadamard import Rotation
from leptonic.privacy.trusted_server import AdaptiveClip, TrustedServer
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate
from leptonic_client.data import LocalData
from leptonic_client.participant import Participant
from leptonic_client.steps import Corrector, optimizer_for, trainable
from leptonic_client.training import LocalTrainer, LocalWork, Protection
from leptonic_server.central_noise import CentralNoise


class WithoutNoise(LocalTrainer):
    """Example level: plans noise, and adds next to none."""

    def train(self, work: LocalWork) -> LocalUpdate:
        assert work.protection is not None
        plan = replace(work.protection.plan, noise_multiplier=1e-6)
        return super().train(replace(work, protection=replace(work.protection, plan=plan)))


class _ForgetfulOptimizer(SecureOptimizer):
    """Clips all parameters but the last two by the norm of all of them, and adds up the last two as they are."""

    def clip_and_accumulate(self) -> None:
        raw = [sample.detach().clone() for sample in self.grad_samples]
        super().clip_and_accumulate()
        for parameter, sample in list(zip(self.params, raw, strict=True))[-2:]:
            parameter.summed_grad = sample.double().sum(dim=0)


class SkipsALayer(LocalTrainer):
    """Example level: the clip is not applied to the last layer."""

    def _private(self, data: LocalData, correct: Corrector, rate: float, protection: Protection) -> int:
        plan, privacy = protection.plan, self.experiment.privacy
        assert privacy is not None
        features, labels = data.batch(torch.arange(len(data)))
        engine = SecurePrivacyEngine(plan=plan, noise=protection.noise, sampling=protection.sampling)
        hooks, optimizer, loader = engine.make_private(
            module=self.model,
            optimizer=optimizer_for(self.experiment.training, trainable(self.model), rate),
            data_loader=DataLoader(TensorDataset(features, labels)),
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=privacy.clip_norm,
            grad_sample_mode="hooks",
            loss_reduction="sum",
            wrap_model=False,
        )
        forgetful = _ForgetfulOptimizer(
            optimizer.original_optimizer,
            stream=protection.noise,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=privacy.clip_norm,
            expected_batch_size=plan.batch_size,
        )
        private = PrivateTraining(self.model, forgetful, loader)
        for batch, target in private.batches():
            self.task.losses(self.model(batch), target).sum().backward()
            private.step(correct)
        hooks.cleanup()
        for parameter in self.model.parameters():
            del parameter.summed_grad  # type: ignore[attr-defined]
        return plan.steps_per_round


class SharedNoise(Participant):
    """Either level: all clients draw from the same keys, new in each round."""

    def _stream(self, purpose: str, round_number: int) -> SecureStream:
        return SecureStream(f"{purpose} {round_number}".encode().ljust(32))


class RepeatedNoise(Participant):
    """Either level: each client has keys of its own, the same in all rounds."""

    def _stream(self, purpose: str, round_number: int) -> SecureStream:
        return SecureStream(f"{purpose} of {self.index}".encode().ljust(32))


class OftenSampled(LocalTrainer):
    """Example level: rows enter batches half as often again as planned."""

    def train(self, work: LocalWork) -> LocalUpdate:
        assert work.protection is not None
        plan = work.protection.plan
        plan = replace(plan, sample_rate=min(1.0, 1.5 * plan.sample_rate))
        return super().train(replace(work, protection=replace(work.protection, plan=plan)))


class _Silent(DistributedMechanism):
    def share(self, stream: SecureStream) -> NDArray[np.int64]:
        return np.zeros(self.dimension, dtype=np.int64)


class _Lax(DistributedMechanism):
    """Bounds the last entries of an update in no way."""

    def integers(self, update: NDArray[np.floating], rotation_seed: bytes, stream: SecureStream) -> NDArray[np.int64]:
        kept = clip(np.nan_to_num(update[:-10]), self.clip_norm)
        whole = self.scale * np.concatenate([kept, np.nan_to_num(update[-10:]).clip(-10, 10)])
        return np.rint(Rotation(self.size, rotation_seed).forward(whole)).astype(np.int64)

    def encode(self, update: NDArray[np.floating], rotation_seed: bytes, stream: SecureStream) -> NDArray[np.uint32]:
        integers = self.integers(update, rotation_seed, stream) + self.share(stream)
        words: NDArray[np.uint32] = (integers & (2**self.bits - 1)).astype(np.uint32)
        return words


def _with_mechanism(kind: type[DistributedMechanism]) -> Callable[[Experiment], LocalTrainer]:
    def trainer(experiment: Experiment) -> LocalTrainer:
        made = LocalTrainer(experiment)
        assert isinstance(made.pipeline, NoisedPipeline)
        mechanism = kind(**vars_of(made.pipeline.mechanism))
        made.pipeline = replace(made.pipeline, mechanism=mechanism)
        return made

    return trainer


def vars_of(mechanism: DistributedMechanism) -> dict[str, Any]:
    return {name: getattr(mechanism, name) for name in mechanism.__dataclass_fields__}


without_share = _with_mechanism(_Silent)
"""Client level: clients add no noise."""
skips_entries = _with_mechanism(_Lax)
"""Client level: the clip is not applied to the last entries, and integers are not checked."""


class _LaxClip(ClippedPipeline):
    def encode(self, update: LocalUpdate, stream: SecureStream | None = None) -> Contribution:
        vector = update.vectors["model"].astype(np.float64) / self.clip_norm
        values = np.concatenate([clip(vector[:-10], self.largest_norm), np.nan_to_num(vector[-10:]).clip(-1, 1)])
        words, _ = self.lattice.quantise(values.astype(np.float32))
        return Contribution(words=words, scalars=to_fixed([1.0]))


def skips_entries_of_clip(experiment: Experiment) -> LocalTrainer:
    """Client level, server's noise: the clip is not applied to the last entries."""
    made = LocalTrainer(experiment)
    assert isinstance(made.pipeline, ClippedPipeline)
    made.pipeline = _LaxClip(**{name: getattr(made.pipeline, name) for name in made.pipeline.__dataclass_fields__})
    return made


def no_server_noise(experiment: Experiment, pipeline: Pipeline, *, seeded: bool) -> CentralNoise | None:
    """Client level, server's noise: left out."""
    assert isinstance(pipeline, ClippedPipeline)
    assert isinstance(pipeline.plan.mechanism, TrustedServer)
    plan = replace(pipeline.plan, mechanism=replace(pipeline.plan.mechanism, noise_multiplier=1e-6))
    return CentralNoise(replace(pipeline, plan=plan), lambda number: SecureStream())


def repeated_server_noise(experiment: Experiment, pipeline: Pipeline, *, seeded: bool) -> CentralNoise | None:
    """Client level, server's noise: the same in each round."""
    assert isinstance(pipeline, ClippedPipeline)
    return CentralNoise(pipeline, lambda number: SecureStream(b"n" * 32))


class _Certain(AdaptiveClip):
    def apply(self, bits: float, clip_norm: float, stream: SecureStream) -> tuple[float, float]:
        share = 0.5 + bits / self.denominator
        return clip_norm * math.exp(-self.rate * (share - self.quantile)), share


def no_noise_on_counts(experiment: Experiment, pipeline: Pipeline, *, seeded: bool) -> CentralNoise | None:
    """Client level, server's noise: on updates alone, not on the count that moves the clip."""
    assert isinstance(pipeline, ClippedPipeline)
    mechanism = pipeline.plan.mechanism
    assert isinstance(mechanism, TrustedServer)
    certain = _Certain(**{name: getattr(mechanism.adaptive, name) for name in AdaptiveClip.__dataclass_fields__})
    plan = replace(pipeline.plan, mechanism=replace(mechanism, adaptive=certain))
    return CentralNoise(replace(pipeline, plan=plan), lambda number: SecureStream())
