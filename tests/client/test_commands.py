"""``leptonic client`` on the command line: wrong settings stop before any work, with the branch's exit code."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from leptonic.command import main
from leptonic.identity import public_hex, signing_key


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run ``leptonic client`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["leptonic", "client", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        assert "Traceback" not in captured.err
        return Done(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


GOOD = ("--server", "127.0.0.1:1", "--name", "clinic", "--data", "rows.npz", "--insecure")


def test_a_name_data_and_a_server_are_needed(client: Run) -> None:
    done = client()
    assert done.code == 3
    assert all(f"{key}: required" in done.err for key in ("server", "name", "data"))


def test_data_that_is_not_there_stops_before_anything_is_made(client: Run, tmp_path: Path) -> None:
    done = client(*GOOD)
    assert done.code == 3
    assert "rows.npz: no such file" in done.err
    assert list(tmp_path.iterdir()) == []


def test_without_insecure_nothing_connects(client: Run) -> None:
    done = client(*GOOD[:-1])
    assert done.code == 6
    assert "--insecure" in done.err


@pytest.mark.parametrize("address", ["192.0.2.1:8080", "example.org:80", "0.0.0.0:8080"])
def test_addresses_beyond_this_machine_are_refused_even_with_insecure(client: Run, address: str) -> None:
    assert client("--server", address, *GOOD[2:]).code == 6


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", ":8080", "127.0.0.1:0", "127.0.0.1:70000"])
def test_what_is_no_address_says_how_to_write_one(client: Run, address: str) -> None:
    done = client("--server", address, *GOOD[2:])
    assert done.code == 7
    assert "HOST:PORT" in done.err


def test_a_path_for_a_name_is_refused(client: Run, tmp_path: Path) -> None:
    done = client("--server", "127.0.0.1:1", "--name", "../out", "--data", "rows.npz", "--show-key")
    assert done.code == 3
    assert not (tmp_path.parent / "out").exists()


def test_show_key_makes_the_key_and_prints_its_public_half_alone(client: Run, tmp_path: Path) -> None:
    done = client(*GOOD, "--show-key")
    home = tmp_path / "nodes" / "clinic"
    assert done.code == 0
    assert done.out == public_hex(signing_key(home / "node.key", "the node's")) + "\n"
    assert client(*GOOD, "--show-key").out == done.out
    assert (home / "node.key").stat().st_mode & 0o777 == 0o600


def test_a_node_file_and_its_options_exclude_each_other(client: Run, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('server = "127.0.0.1:1"\nname = "clinic"\ndata = "rows.npz"\n')
    done = client("node.toml", "--name", "other", "--data", "x")
    assert done.code == 3
    assert "leave out: --data, --name" in done.err


def test_a_mistake_in_the_node_file_names_file_key_and_value(client: Run, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('server = "127.0.0.1:1"\nname = "clinic"\ndata = "d"\nallow = ["os"]\n')
    done = client("node.toml")
    assert done.code == 3
    assert "node.toml: allow.0 = 'os'" in done.err


def test_a_home_that_cannot_be_made_is_an_error_without_a_traceback(client: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"")
    (tmp_path / "file").write_text("in the way")
    done = client(*GOOD, "--home", "file/home", "--show-key")
    assert done.code not in (0, 1)
    assert "file" in done.err
