"""Killed at any instant, a node's ledger accounts for whatever has left it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "ledger_kills.py"

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not BENCHMARK.exists(), reason="the benchmarks are not here")
def test_a_witness_has_seen_nothing_that_the_ledger_does_not_account_for() -> None:
    """Fifteen kills; docs/results/ledger_kills.md has two hundred."""
    done = subprocess.run([sys.executable, BENCHMARK, "--quick", "--json"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {each["name"]: each["ours"] for each in json.loads(done.stdout.splitlines()[-1])["results"]}
    assert found["kills (SIGKILL)"] == 15
    assert found["updates that the witness has seen"] > 0
    assert found["under-counts: updates seen and not accounted for"] == 0
    assert found["kills after which epsilon was below that of what was seen"] == 0
    assert found["rounds of which two different updates were seen"] == 0
    assert found["kills after which an entry was lost or changed"] == 0
