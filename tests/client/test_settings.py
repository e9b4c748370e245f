"""The node file: strict, and its errors name file, key and value."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from leptonic.errors import ExperimentError
from leptonic.privacy.ledger import Limits
from leptonic_client.settings import node_settings, read_node_file

GOOD: dict[str, Any] = {"server": "127.0.0.1:8080", "name": "clinic-a", "data": "rows.npz"}


def test_what_is_given_is_taken_and_the_rest_is_cautious() -> None:
    made = node_settings(GOOD)
    assert (made.server, made.name, made.data) == ("127.0.0.1:8080", "clinic-a", "rows.npz")
    assert made.allow == []
    assert not made.insecure
    assert made.public_size is None
    assert made.folder == Path("nodes/clinic-a")
    assert node_settings({**GOOD, "home": "/srv/node"}).folder == Path("/srv/node")


def test_a_node_file_is_toml(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'server = "127.0.0.1:1"\nname = "a"\ndata = "d.csv"\nallow = ["my.models:net"]\npublic_size = 500\n'
    )
    made = read_node_file(path)
    assert made.allow == ["my.models:net"]
    assert made.public_size == 500


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "a b", "a\n", "x" * 65, "nö", "-a"])
def test_a_name_that_is_no_plain_name_is_refused(name: str) -> None:
    """It is part of the default home's path."""
    with pytest.raises(ExperimentError, match="name = "):
        node_settings({**GOOD, "name": name})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"publik_size": 3}, "publik_size"),
        ({"public_size": 0}, "public_size = 0"),
        ({"public_size": "many"}, "public_size = 'many'"),
        ({"allow": ["os.system"]}, "allow.0 = 'os.system'"),
        ({"allow": "my:net"}, "allow = 'my:net'"),
        ({"insecure": "yes"}, "insecure = 'yes'"),
        ({"server": 8080}, "server = 8080"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        node_settings({**GOOD, **change}, source="node.toml: ")
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("node.toml: ")
    assert said in first
    assert "public_size" in last


@pytest.mark.parametrize("missing", ["server", "name", "data"])
def test_a_missing_setting_is_named(missing: str) -> None:
    with pytest.raises(ExperimentError, match=f"{missing}: required"):
        node_settings({key: value for key, value in GOOD.items() if key != missing})


@pytest.mark.parametrize("content", [b"server = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "node.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExperimentError, match=r"node\.toml: cannot be read"):
        read_node_file(path)


def test_a_ledger_is_named_after_the_node_and_has_no_limits() -> None:
    made = node_settings(GOOD)
    assert made.lineage == "clinic-a"
    assert not made.limits


def test_limits_are_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'server = "127.0.0.1:1"\nname = "a"\ndata = "d.csv"\n'
        '[ledger]\nlineage = "ward"\nunit = "client"\ndelta = 1e-6\n'
        "max_epsilon = 9.0\nmax_epsilon_lineage = 8.0\nmax_epsilon_run = 3.0\n[ledger.purposes]\nresearch = 2.0\n"
    )
    made = read_node_file(path)
    assert made.lineage == "ward"
    limits = Limits(unit="client", delta=1e-6, total=9.0, lineage=8.0, run=3.0, purposes={"research": 2.0})
    assert made.limits == limits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_epsilon": 3.0}, "a limit on epsilon says nothing without one"),
        ({"purposes": {"research": 3.0}}, "a limit on epsilon says nothing without one"),
        ({"max_epsilon": 0.0, "delta": 1e-5}, "ledger.max_epsilon = 0.0"),
        ({"max_epsilon": float("inf"), "delta": 1e-5}, "ledger.max_epsilon = inf"),
        ({"delta": 1.0}, "ledger.delta = 1.0"),
        ({"unit": "person"}, "ledger.unit = 'person'"),
        ({"purposes": {"research": -1.0}, "delta": 1e-5}, "ledger.purposes.research = -1.0"),
        ({"lineage": ""}, "ledger.lineage = ''"),
    ],
)
def test_a_wrong_limit_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError, match=re.escape(said)):
        node_settings({**GOOD, "ledger": change})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        node_settings(GOOD).allow = ["os:system"]  # type: ignore[misc]
