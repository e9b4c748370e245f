"""Client-level privacy of a whole run: which mechanism, with how much noise, and what each joined round costs.

Both sides derive the same plan from the experiment and the model's size, and no coordinator's word enters it. What it
takes for granted, how many survive and how few collude, a client checks in every session of secure aggregation
(:class:`leptonic.secagg.standing.Policy`).

No sampling of clients amplifies it: cohorts are known. All costs are Renyi curves, for zeroing one client out, so that
mechanisms compare, and compose in a ledger. Sources: as in :mod:`leptonic.privacy.mechanisms`.
"""

from dataclasses import dataclass

from leptonic.errors import PrivacyError
from leptonic.experiment import (
    CorrelatedPrivacy,
    DistributedPrivacy,
    ExamplePrivacy,
    Experiment,
    LocalPrivacy,
    ServerPrivacy,
)
from leptonic.privacy.composition import Composition, check_delta
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.distributed_calibration import Counts, calibrate
from leptonic.privacy.mechanisms import Mechanism, SampledGaussian
from leptonic.privacy.search import least
from leptonic.privacy.trusted_server import AdaptiveClip, TrustedServer

__all__ = ["EVERYONE", "ClientPlan", "adversary_of", "assumed_colluders", "client_plan"]

EVERYONE = "everyone, the server and all other clients together"
"""The adversary of noise that needs nobody else's."""


@dataclass(frozen=True)
class ClientPlan:
    """What protects each client of a run.

    mechanism: who adds which noise. release: what one joined round costs.
    clip_norm: bound on an update; where it adapts, the first. denominator: public count m that sums are divided by.
    honest: clients in every sum whose noise its adversary does not know; 0 where the server adds it.
    participations: the most rounds that one client joins. minimum: fewest clients in a sum. assumed: colluders.
    """

    mechanism: DistributedMechanism | TrustedServer | BandedNoise
    release: Mechanism
    clip_norm: float
    denominator: float
    honest: int
    participations: int
    minimum: int
    assumed: int
    delta: float
    target_epsilon: float

    @property
    def apart(self) -> int:
        """Rounds from one that a client joins to its next, at least."""
        return self.mechanism.band if isinstance(self.mechanism, BandedNoise) else 1

    @property
    def by_clients(self) -> bool:
        """Whether the noise is in what each client sends, and not the server's."""
        return isinstance(self.mechanism, DistributedMechanism)

    def composition(self, joined: int) -> Composition:
        """The cost of so many joined rounds."""
        return Composition.of([(self.release, joined)])

    def epsilon(self, joined: int) -> float:
        """Epsilon at the plan's delta after so many joined rounds; 0.0 after none."""
        return self.composition(joined).epsilon(self.delta, accountant="rdp")

    def statement(self) -> str:
        """The guarantee after all rounds, in one sentence with everything it rests on."""
        return (
            f"epsilon = {self.epsilon(self.participations):.2f} at delta = {self.delta:g}, per client (all of its"
            f" data; compared with a client that sends zeros), against {self._adversary}; for at most"
            f" {self.participations} joined rounds (Renyi accountant, no amplification by sampling), assuming that"
            " nothing else computed from the client's data leaves it."
        )

    @property
    def _adversary(self) -> str:
        if not self.by_clients:
            return "other clients and those who get the model, but not against the server, which adds the noise"
        return adversary_of(self.honest, assumed=self.assumed, minimum=self.minimum)


def client_plan(experiment: Experiment, size: int) -> ClientPlan:
    """The plan of an experiment with client-level privacy. size: parameters of the model, d.

    Raises PrivacyError if no noise meets the target, or if the section asks for another unit.
    """
    privacy, federation = experiment.privacy, experiment.federation
    if privacy is None or isinstance(privacy, ExamplePrivacy):
        raise PrivacyError("the experiment has no client-level privacy")
    check_delta(privacy.delta, units=federation.clients)
    participations = privacy.participations or federation.turns(experiment.training.rounds)
    honest, assumed = 0, 0
    mechanism: DistributedMechanism | TrustedServer | BandedNoise
    release: Mechanism
    match privacy:
        case DistributedPrivacy() | LocalPrivacy():
            assumed = assumed_colluders(experiment)
            alone = isinstance(privacy, LocalPrivacy)
            counts = Counts.of(
                invited=federation.invited,
                survivors=1 if alone else experiment.needed,
                colluders=assumed,
                denominator=float(federation.wanted),
            )
            honest = counts.honest
            mechanism = calibrate(
                size=size,
                clip_norm=privacy.clip_norm,
                bits=experiment.secure_aggregation.bits if experiment.secure_aggregation else 32,
                counts=counts,
                rounds=participations,
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                clients=federation.clients,
                noise=privacy.noise,
            )
            release = mechanism.release(honest)
        case ServerPrivacy():
            multiplier = _noise_multiplier(privacy.epsilon, privacy.delta, participations)
            mechanism, release = _server(privacy, multiplier, float(federation.wanted)), SampledGaussian(multiplier)
        case CorrelatedPrivacy(band=band):
            multiplier = _noise_multiplier(privacy.epsilon, privacy.delta, 1)
            # In units of the clip, as updates travel.
            mechanism = BandedNoise(band, participations, sensitivity=1.0, noise_multiplier=multiplier)
            release = mechanism.release()
    return ClientPlan(
        mechanism=mechanism,
        release=release,
        clip_norm=privacy.clip_norm,
        denominator=float(federation.wanted),
        honest=honest,
        participations=participations,
        minimum=experiment.needed,
        assumed=assumed,
        delta=privacy.delta,
        target_epsilon=privacy.epsilon,
    )


def adversary_of(honest: int, *, assumed: int, minimum: int) -> str:
    """Against whom noise by clients holds, in words: see :class:`ClientPlan`."""
    if honest == 1:
        return EVERYONE
    some = f"at most {assumed} of the {minimum} clients in a sum colluding"
    return f"the server, other clients and those who get the model, {some}"


def assumed_colluders(experiment: Experiment) -> int:
    """Colluders assumed among the clients in a sum, whose noise is known to the adversary."""
    secure = experiment.secure_aggregation
    if secure is None or isinstance(experiment.privacy, LocalPrivacy):
        return 0
    return secure.colluding(experiment.federation.invited)


def _server(privacy: ServerPrivacy, multiplier: float, denominator: float) -> TrustedServer:
    settings, adaptive = privacy.adaptive_clip, None
    if settings is not None:
        adaptive = AdaptiveClip(
            initial=privacy.clip_norm,
            noise_multiplier=multiplier,
            denominator=denominator,
            quantile=settings.quantile,
            rate=settings.rate,
            bit_deviation=settings.bit_deviation,
        )
    return TrustedServer(privacy.clip_norm, multiplier, denominator, adaptive)


def _noise_multiplier(epsilon: float, delta: float, releases: int) -> float:
    """The least whose releases cost at most epsilon at delta."""

    def enough(multiplier: float) -> bool:
        return Composition.of([(SampledGaussian(multiplier), releases)]).epsilon(delta, accountant="rdp") <= epsilon

    return least(enough, impossible=f"epsilon = {epsilon:g} at delta = {delta:g} cannot be met: raise epsilon")
