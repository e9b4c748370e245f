"""A sweep's folder belongs to one sweep, and to one process at a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from leptonic.errors import RunError
from leptonic_simulations.sweep.record import Record, open_sweep

RECORD = Record("grid", (("training.rounds", "1,2"),), (1, 2), None, "ab" * 32)


def test_the_same_sweep_opens_its_folder_again(tmp_path: Path) -> None:
    for _ in range(2):
        with open_sweep(RECORD, tmp_path / "new" / "folder"):
            assert (tmp_path / "new" / "folder" / "sweep.json").exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(RECORD, kind="search", metric="loss"), "kind: grid there, search now"),
        (replace(RECORD, axes=(("training.rounds", "1,3"),)), "axes: training.rounds=1,2 there, training.rounds=1,3"),
        (replace(RECORD, seeds=()), "seeds: 1, 2 there, the file's own now"),
        (replace(RECORD, experiment="cd" * 32), "experiment: hash abababababababab there, hash cdcd"),
    ],
)
def test_another_sweep_is_refused_with_what_differs(tmp_path: Path, other: Record, said: str) -> None:
    with open_sweep(RECORD, tmp_path):
        pass
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(RunError) as refused, open_sweep(other, tmp_path):
        pass
    assert said in str(refused.value)
    assert "--sweep-dir" in str(refused.value)
    assert (tmp_path / "sweep.json").read_bytes() == before
    assert other.identity != RECORD.identity


def test_two_processes_do_not_share_a_sweep(tmp_path: Path) -> None:
    with (
        open_sweep(RECORD, tmp_path),
        pytest.raises(RunError, match="another process is working on this sweep"),
        open_sweep(RECORD, tmp_path),
    ):
        pass


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="holds other files"), open_sweep(RECORD, tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "grid"}', '{"kind": 1, "axes": 3, "seeds": []}'])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunError, match=r"sweep\.json"), open_sweep(RECORD, tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be a sweep's folder"), open_sweep(RECORD, tmp_path / "file"):
        pass
