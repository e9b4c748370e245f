"""The README's commands, run as they stand there (on another port)."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from tests.end_to_end.federation import LEPTONIC, federation, free_port

ROOT = Path(__file__).parents[2]


def block(name: str) -> str:
    """The shell block that follows ``<!-- tested: name -->``."""
    found = re.search(rf"<!-- tested: {name} -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"README.md has no block that is marked as tested: {name}"
    return found.group(1)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "port", "file"),
    [("deploy", "8080", "three_clients.toml"), ("secure", "8090", "three_clients_secure.toml")],
)
def test_server_and_three_clients_by_copy_and_paste(tmp_path: Path, name: str, port: str, file: str) -> None:
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    command = tmp_path / "bin" / "leptonic"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{LEPTONIC[0]}" -c "{LEPTONIC[2]}" "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    script = block(name).replace(port, str(free_port()))
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deployed = re.search(r"^model +([0-9a-f]{16})", done.stdout, re.MULTILINE)
    assert deployed, done.stdout + done.stderr
    experiment = (ROOT / "experiments" / file).read_text()
    with federation(tmp_path, experiment) as made:
        simulated = made.simulate()
    assert simulated["model_sha256"].startswith(deployed.group(1))
