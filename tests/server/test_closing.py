from typing import Any

import pytest

from leptonic_server.closing import closing_words
from leptonic_server.outputs import Result

PLAIN: dict[str, Any] = {
    "accuracy": 0.5,
    "best_accuracy": 0.75,
    "model_sha256": "ab" * 32,
    "rounds": 3,
    "seconds": 1.5,
    "bytes_up": 1,
    "bytes_down": 2,
    "epsilon": None,
    "delta": None,
    "unit": None,
    "against": None,
    "seeded_noise": False,
    "run_dir": "/nowhere",
}


def words_of(capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    with closing_words(as_json=False) as done:
        done(Result(**{**PLAIN, **changes}))
    return capsys.readouterr().out


def test_an_epsilon_is_printed_with_its_delta_its_unit_and_the_adversary(capsys: pytest.CaptureFixture[str]) -> None:
    private = {"epsilon": 2.5, "delta": 1e-5, "unit": "per example", "against": "everyone"}
    words = words_of(capsys, **private)
    assert "epsilon   2.5 at delta 1e-05, per example\n          against everyone\n" in words
    assert "protects nobody" in words_of(capsys, **private, seeded_noise=True)


def test_without_a_promise_no_epsilon_is_printed_whatever_clients_have_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of(capsys, epsilon=3.0)
    assert "epsilon" not in words
    assert "accuracy  50.00% after 3 rounds (best 75.00%)" in words
