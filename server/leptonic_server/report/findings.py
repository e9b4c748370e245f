"""What a reader must know before trusting the numbers of a run, in plain words."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from leptonic.experiment import MeanRule
from leptonic_server.report.facts import Facts
from leptonic_server.report.wording import bound, in_rounds, plural

__all__ = ["Finding", "findings"]

_MEANING = {
    "late": "had not answered when the round ended",
    "failed": "met an error in their own work",
    "refused": "declined by their own policy or budget, or because the request did not suit them",
    "invalid": "sent something that broke the protocol",
    "lost": "were lost on the network",
}


@dataclass(frozen=True)
class Finding:
    """One thing to know. grave: it changes what the numbers mean."""

    title: str
    body: str
    grave: bool = False


def findings(facts: Facts) -> list[Finding]:
    """In order of weight; empty if the run went as it should."""
    found = [finding for rule in _RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: not finding.grave)


def _seeded_noise(facts: Facts) -> Iterator[Finding]:
    if facts.experiment.privacy is not None and facts.experiment.simulation.seeded_noise and facts.mode == "simulated":
        yield Finding(
            "Privacy noise drawn from the seed: protects nobody",
            "simulation.seeded_noise is on, so whoever has the experiment file can compute the noise and take it "
            "off again. The epsilon of this run only says what the same settings would cost with secret noise.",
            grave=True,
        )


def _scenario(facts: Facts) -> Iterator[Finding]:
    liars = facts.experiment.scenario.liars if facts.experiment.scenario else None
    clients = facts.experiment.federation.clients
    if liars is not None and liars.count(clients):
        yield Finding(
            f"{liars.count(clients):,} of {plural(clients, 'client')} lied, as the scenario says",
            f"Their attack was {liars.attack.name}. The clients' own metrics hold what they said, not what is true.",
            grave=True,
        )
    if facts.experiment.scenario is not None:
        yield Finding(
            "A scenario was played",
            "Who was away, slow or lost was drawn from the experiment's seed and happened in virtual time; "
            "on this machine nobody waited.",
        )


def _unfinished(facts: Facts) -> Iterator[Finding]:
    if not facts.complete:
        rounds = facts.experiment.training.rounds
        yield Finding(
            f"Unfinished: round {facts.last.round:,} of {rounds:,}",
            "The report shows the run as far as it was committed. It can be continued with --resume.",
            grave=True,
        )


def _other_model(facts: Facts) -> Iterator[Finding]:
    if facts.complete and facts.model_file_sha256 not in (None, facts.last.model_sha256):
        yield Finding(
            "model.safetensors is not the model of this run",
            f"The file in the run's folder has SHA-256 {facts.model_file_sha256}; it was changed or put there later.",
            grave=True,
        )


def _over_target(facts: Facts) -> Iterator[Finding]:
    privacy, spent = facts.experiment.privacy, facts.epsilons[-1][1] if facts.epsilons else None
    if privacy is not None and spent is not None and spent > privacy.epsilon:
        yield Finding(
            "A client reports more epsilon than the target",
            f"It says {bound(spent)}, the experiment allows {privacy.epsilon:g}.",
            grave=True,
        )


def _repeated(facts: Facts) -> Iterator[Finding]:
    if facts.repeats:
        attempts = sum(facts.repeats.values())
        yield Finding(
            f"{plural(len(facts.repeats), 'round')} had to be repeated",
            f"In {in_rounds(facts.repeats)} fewer than the needed {facts.experiment.needed} clients "
            f"were counted at first: {plural(attempts, 'attempt')} in vain. An attempt in vain changes no model; "
            "its bytes and seconds are not in the totals.",
        )


def _missing(facts: Facts) -> Iterator[Finding]:
    statuses: Counter[str] = sum((tally.statuses for tally in facts.tallies), Counter())
    if missed := statuses.total() - statuses["counted"]:
        parts = [f"{statuses[status]:,} {words}" for status, words in _MEANING.items() if statuses[status]]
        clients = sum(tally.missed > 0 for tally in facts.tallies)
        yield Finding(
            f"{plural(missed, 'invitation')} of {statuses.total():,} did not end in a counted update",
            f"{'; '.join(parts)}. {plural(clients, 'client')} of {len(facts.tallies):,} concerned: "
            "see the table of clients.",
        )


def _clamped(facts: Facts) -> Iterator[Finding]:
    settings = facts.experiment.aggregation
    if total := sum(record.clamped for record in facts.rounds):
        rounds = [record.round for record in facts.rounds if record.clamped]
        yield Finding(
            f"{plural(total, 'value was', 'values were')} cut off from the clients' updates",
            f"They lay outside \u00b1{settings.range:g} (aggregation.range), in {in_rounds(rounds)}. "
            "A few do no harm; if they are many, raise aggregation.range or lower the learning rate.",
        )


def _capped(facts: Facts) -> Iterator[Finding]:
    if total := sum(record.capped for record in facts.rounds):
        rounds = [record.round for record in facts.rounds if record.capped]
        rule = facts.experiment.aggregation
        cap = f" = {rule.weight_cap:,}" if isinstance(rule, MeanRule) and rule.weight_cap else ""
        yield Finding(
            f"{plural(total, 'weight of a large client was', 'weights of large clients were')} capped",
            f"Clients with more examples than aggregation.weight_cap{cap} counted as if they had just so many, "
            f"in {in_rounds(rounds)}.",
        )


_RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _seeded_noise,
    _scenario,
    _unfinished,
    _other_model,
    _over_target,
    _repeated,
    _missing,
    _clamped,
    _capped,
)
