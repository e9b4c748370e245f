"""A sweep that is stopped anywhere continues to the end that an unbroken one has."""

from pathlib import Path
from typing import Any

import pytest
from tests.simulations.sweep.running import GRID, SEARCH, Run, models

from leptonic_client.participant import Participant


def stop_at(monkeypatch: pytest.MonkeyPatch, request: int) -> Any:
    """Ctrl-C at the so-many-th request."""
    seen, answer = 0, Participant.answer

    def stopping(participant: Participant, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == request:
            raise KeyboardInterrupt
        return answer(participant, *arguments)

    monkeypatch.setattr(Participant, "answer", stopping)


@pytest.mark.parametrize(
    ("options", "request_number"),
    [
        (("--over", "training.learning_rate=0.02,0.2"), 5),
        ((*SEARCH, "--trials", "2"), 5),
        *(
            pytest.param(options, number, marks=pytest.mark.slow)
            for options in (GRID, (*SEARCH, "--trials", "4"))
            for number in (1, 4, 5, 16)
        ),
    ],
)
def test_a_stopped_sweep_continues_to_the_same_end(
    sweep: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], request_number: int
) -> None:
    with monkeypatch.context() as patched:
        stop_at(patched, request_number)
        stopped = sweep(*options, "--quiet", "--sweep-dir", "broken")
    assert stopped.code == 130
    assert "the same command continues the sweep" in stopped.err
    resumed = sweep(*options, "--quiet", "--json", "--sweep-dir", "broken")
    whole = sweep(*options, "--quiet", "--json", "--sweep-dir", "whole")
    assert {**resumed.last, "folder": ""} == {**whole.last, "folder": ""}
    assert models(Path("broken")) == models(Path("whole"))
