"""From scores to a bound on epsilon: known numbers, and canaries that overlap are taken apart."""

import numpy as np
import pytest

from leptonic.privacy.one_run_audit import epsilon_lower_bound
from leptonic_simulations.audit.findings import GUESSES
from leptonic_simulations.audit.guesses import delta_of, disentangled, guess_finding, guesses_of


@pytest.mark.parametrize(
    ("canaries", "guesses"), [(8, 8), (21, 20), (99, 98), (100, 50), (999, 498), (1000, 250), (4001, 1000)]
)
def test_how_many_are_guessed_is_fixed_by_how_many_there_are(canaries: int, guesses: int) -> None:
    assert guesses_of(canaries) == guesses


def test_a_claim_is_judged_at_a_delta_that_does_not_hide_it() -> None:
    assert delta_of(1e-3) == 1e-6
    assert delta_of(1e-9) == 1e-9


def test_scores_that_tell_all_refute_a_small_epsilon() -> None:
    present = np.arange(200) % 2 == 0
    finding = guess_finding(present + 0.0, present, epsilon=1.0, delta=1e-6, what="canaries")
    expected = epsilon_lower_bound(correct=100, guesses=100, canaries=200, delta=1e-6, level=GUESSES)
    assert finding.verdict == "contradicted"
    assert finding.found == expected == finding.figures["largest_bound_possible"]
    assert expected > 2.5


def test_scores_that_tell_nothing_refute_nothing() -> None:
    random = np.random.default_rng(0)
    finding = guess_finding(random.normal(size=400), random.random(400) < 0.5, epsilon=0.1, delta=1e-6, what="canaries")
    assert finding.verdict == "holds"
    assert finding.found == 0.0


def test_overlapping_canaries_are_taken_apart() -> None:
    random = np.random.default_rng(1)
    directions = random.normal(size=(40, 60)) + 3
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    present = random.random(40) < 0.5
    found = disentangled(directions, present @ directions, usual=0.5, spread=0.25, noise=1e-6)
    np.testing.assert_allclose(found, present, atol=1e-3)
