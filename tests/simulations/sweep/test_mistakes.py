"""Every mistake is refused before any work, by a message that says what to do."""

from pathlib import Path

import pytest
from tests.simulations.sweep.running import GRID, SEARCH, Run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 3, "--over"),
        ((*GRID, *SEARCH), 3, "not both"),
        ((*GRID, "--trials", "3"), 3, "--trials belongs to --search"),
        ((*SEARCH, "--trials", "0"), 2, "--trials"),
        ((*GRID, "--seeds", "0"), 2, "--seeds"),
        ((*GRID, "--metric", "f1"), 2, "best_accuracy"),
        (("--over", "training.learning_rat=0.1"), 3, "did you mean 'learning_rate'"),
        (("--over", "training.learning_rate=0.1,fast"), 3, "training.learning_rate = 'fast'"),
        (("--over", "model.name=logistic,mpl"), 3, "did you mean 'mlp'"),
        (("--over", "algorithm.name=fedavg,scaffold", "--set", "aggregation.rule=median"), 3, "scaffold"),
        (("--over", "model.name=logistic,no_such.module:net"), 3, "no_such"),
        (("--over", "training.rounds=1,2", "--set", "training.rouns=1"), 3, "did you mean 'rounds'"),
        (("--search", "training.local_steps=0..3"), 3, "training.local_steps = 0"),
        (("--search", "training.local_steps=1..3.5"), 3, "training.local_steps = 3.5"),
        (("--search", "training.optimizer=sgd,sdg"), 3, "did you mean 'sgd'"),
        (("--over", "data.name=digits,mnist", "--set", "model.name=mlp"), 4, "leptonic data fetch"),
        ((*GRID, "--sweep-dir", "small.toml"), 7, "small.toml: cannot be a sweep's folder"),
        ((*GRID, "--set", 'evaluation={on=["clients"], holdout=0.2}'), 3, "add 'server'"),
    ],
)
def test_a_mistake_is_refused_before_any_work(
    sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.setenv("LEPTONIC_DATA", str(tmp_path / "empty"))
    done = sweep(*arguments, "--quiet")
    assert (done.code, said in done.err) == (code, True), done.err
    assert [path.name for path in tmp_path.iterdir() if path.name != "empty"] == ["small.toml"]
