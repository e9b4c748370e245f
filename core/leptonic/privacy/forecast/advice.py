"""What a plan assumes without checking, and where it keeps its promise but is unlikely to be of use.

Every warning says which number would do. The thresholds are rules of thumb; their reasons stand with them.
"""

import math
from collections.abc import Callable, Iterator

from leptonic.experiment import ExamplePrivacy, Experiment, NaturalPartition
from leptonic.privacy.accounting import ExamplePlan
from leptonic.privacy.client_level import ClientPlan
from leptonic.privacy.forecast.signal import Signal

__all__ = ["advice_on_clients", "advice_on_examples", "assumptions_on_clients", "assumptions_on_examples"]

FEWEST_CLIENTS = 100
"""Fewer can hardly be hidden one by one: the mean of so many moves by a hundredth of the clip with each of them."""
STRICT = 10.0
"""From this epsilon on a few clients may do: hiding is weak."""
SMALL_DELTA = 0.1
"""Units times delta: the chance that a mechanism which publishes each of them outright with probability delta
publishes any. delta itself is refused from 1 / units on."""

_TUNING = "Tuning is not counted: every run that looks at the same data, one of a sweep too, costs its own epsilon."


def assumptions_on_clients(experiment: Experiment, plan: ClientPlan) -> tuple[str, ...]:
    """What the promise rests on, beside the mechanism."""
    rests = [
        "A client's data is what one node holds: whoever has data at two nodes has twice the epsilon or more.",
        "Clients are not sampled in secret, so that no sampling amplifies the promise.",
        _TUNING,
    ]
    if not plan.by_clients:
        rests.insert(0, "The server is trusted to add its noise, and to keep to itself what it sees before that.")
    turns = experiment.federation.turns(experiment.training.rounds)
    if plan.participations > turns:
        rests.append(f"Calibrated for {plan.participations} updates of a client, {turns} turns and retries.")
    return tuple(rests)


def advice_on_clients(experiment: Experiment, plan: ClientPlan, signal: Signal, size: int) -> tuple[str, ...]:
    """What makes this plan unlikely to be of use."""
    federation = experiment.federation
    found = [*_publication(federation.clients, plan.delta, "clients"), *_turns(experiment, plan)]
    if federation.clients < FEWEST_CLIENTS and plan.target_epsilon < STRICT:
        found.append(
            f"{federation.clients} clients at epsilon = {plan.target_epsilon:g}: the model may not depend on any one of"
            f" them, and each is 1/{federation.wanted} of a mean. Client-level privacy begins to be useful at some"
            f" {FEWEST_CLIENTS} clients; with fewer, unit = 'example' hides single records."
        )
    if signal.per_round > 1:
        # The noise of a sum is the same for any cohort, that of a mean falls with it; each client's alone adds up.
        power = 2 if plan.honest == 1 else 1
        enough = math.ceil(federation.wanted * signal.per_round**power)
        found.append(
            f"The noise of one round's mean is {signal.per_round:.3g} times as long as the clip, the longest mean there"
            f" can be: a cohort of some {enough:,} clients, a model of some {_smaller(size, signal):,} parameters, or"
            " more epsilon would bring it to 1." + _hope(signal)
        )
    return tuple(found)


def _smaller(size: int, signal: Signal) -> int:
    return max(1, math.floor(size / signal.per_round**2))


def _hope(signal: Signal) -> str:
    if signal.over_run > 1:
        return f" Over all rounds it is {signal.over_run:.3g} times the most that the updates can add up to."
    return f" Over all rounds, updates that agree can still be {1 / signal.over_run:.3g} times as long as the noise."


def _turns(experiment: Experiment, plan: ClientPlan) -> Iterator[str]:
    turns = experiment.federation.turns(experiment.training.rounds)
    if plan.participations < turns:
        yield (
            f"privacy.participations = {plan.participations}, and all rounds take {turns} turns of each client: the"
            f" last rounds will find too few clients. Set it to {turns}, or lower training.rounds or federation.cohort."
        )


def _publication(units: int, delta: float, noun: str) -> Iterator[str]:
    if units * delta > SMALL_DELTA:
        digit = 10.0 ** math.floor(math.log10(SMALL_DELTA / units))
        yield (
            f"delta = {delta:g} for {units:,} {noun}: a mechanism that publishes one of them outright with a chance of"
            f" {units * delta:.2g} would pass as private."
            f" Set it to {math.floor(SMALL_DELTA / units / digit) * digit:.1g} or less."
        )


def assumptions_on_examples(experiment: Experiment, plan: ExamplePlan) -> tuple[str, ...]:
    """What the promise rests on, beside the mechanism."""
    privacy = experiment.privacy
    assert isinstance(privacy, ExamplePrivacy)
    twice = plan.delta * (1 + math.exp(privacy.epsilon))
    rests = [
        f"A person has one example. Of a person with two, epsilon is {2 * privacy.epsilon:g} at delta = {twice:.2g}"
        + (
            ", which is no promise: cap the examples of a person at one, or use unit = 'client'."
            if twice > 1e-2
            else "."
        ),
        "The declared number of a client's examples is public.",
        _TUNING,
    ]
    if isinstance(experiment.federation.partition, NaturalPartition):
        rests[0] = (
            "Each client is one person, device or site of the data's own key, and what is hidden is one of its"
            " examples, not the client: that takes unit = 'client'."
        )
    return tuple(rests)


def advice_on_examples(
    plan: ExamplePlan, signal: Signal, size: int, which: str, *, largest: int, enough: Callable[[], int | None]
) -> tuple[str, ...]:
    """What makes a client's plan unlikely to be of use. which: client. largest: examples that any client has.

    enough: finds a batch that would do, if there is one.
    """
    found = list(_publication(largest, plan.delta, "examples of a client"))
    if signal.per_round > 1:
        batch = enough()
        what = (
            f"training.batch_size = {batch} would bring it to 1"
            if batch
            else f"no batch of its {plan.public_size:,} examples brings it to 1; a smaller model or more epsilon may"
        )
        found.append(
            f"The noise in each step of the {which} client is {signal.per_round:.3g} times as long as the clip, the"
            f" longest gradient there can be, at batches of {plan.batch_size}: {what} ({size:,} parameters)."
            + _hope(signal)
        )
    return tuple(found)
