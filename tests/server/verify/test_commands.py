"""The two commands as their users see them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.verify.deployed import Deployed

COMMAND = [sys.executable, "-c", "from leptonic.command import main; main()"]


def leptonic(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, timeout=120
    )


def test_an_owner_verifies_a_run(whole: Deployed) -> None:
    done = leptonic("verify", whole.run, "--as", "client-2", "--node", whole.nodes / "client-2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line[:11].strip(): line[12:] for line in done.stdout.splitlines()}
    assert lines["records"].startswith("3 of 3 rounds")
    assert lines["chain"].startswith(whole.chain().digest.hex())
    assert lines["counted"] == "client-2 in 2 of 3 rounds, among 5, each as its node sent it"
    assert lines["left out"].startswith("in round 2:")
    assert lines["shown"].startswith("the records of 3 rounds")
    assert "from the first model on" in lines["models"]
    assert "compare it" not in lines["authority"]
    assert "not proven" in done.stdout


def test_without_a_node_the_authority_is_only_named(whole: Deployed) -> None:
    done = leptonic("verify", whole.run, "--as", "client-2")
    assert done.returncode == 0
    assert "compare it with the one that you were given" in done.stdout
    assert "silent      in round 2:" in done.stdout


def test_an_auditor_sums_again(whole: Deployed) -> None:
    done = leptonic("audit-sum", whole.run, "--round", "2", "--authority", whole.chain().authority.hex())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "round 2     the opened sum is that of its 4 inputs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "{folder}", "--as", "client-1"], "not there; give the folder of a run"),
        (["verify", "{run}", "--as", "nobody"], "no roster of this run names nobody"),
        (["verify", "{run}", "--as", "client-1", "--node", "{nodes}/client-2"], "is the node of client-2"),
        (["verify", "{run}", "--as", "client-1", "--node", "{folder}"], "no node's journal"),
        (["verify", "{run}", "--as", "client-1", "--node", "{nodes}/client-1", "--authority", "ab" * 32], "has pinned"),
        (["verify", "{run}", "--as", "client-1", "--authority", "12"], "64 hexadecimal digits"),
        (["audit-sum", "{run}", "--round", "9"], "the run has rounds 1 to 3"),
        (["audit-sum", "{run}", "--authority", "ab" * 32], "another authority"),
    ],
)
def test_what_is_wrong_is_named_without_a_traceback(whole: Deployed, arguments: list[str], words: str) -> None:
    places = {"folder": whole.folder, "run": whole.run, "nodes": whole.nodes}
    done = leptonic(*(argument.format(**places) for argument in arguments))
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_folder_says_does_nothing_to_the_terminal(made: Deployed) -> None:
    done = leptonic("verify", made.run, "--as", "\x1b[2Jnobody")
    assert "\x1b" not in done.stderr
    assert "nobody" in done.stderr


def test_a_view_in_the_place_of_a_table_is_not_read(made: Deployed) -> None:
    with made.database() as database:
        database.execute("DROP TABLE transcripts")
        database.execute(
            "CREATE VIEW transcripts AS WITH RECURSIVE more(round) AS (SELECT 1 UNION ALL SELECT round FROM more) "
            "SELECT round, x'00' AS record FROM more"
        )
    done = leptonic("verify", made.run, "--as", "client-1")
    assert done.returncode != 0
    assert "no strict table transcripts" in done.stderr


def test_a_damaged_store_is_named(made: Deployed) -> None:
    (made.run / "run.sqlite").write_bytes(b"something else" * 1000)
    done = leptonic("verify", made.run, "--as", "client-1")
    assert done.returncode != 0
    assert "not a run store" in done.stderr
