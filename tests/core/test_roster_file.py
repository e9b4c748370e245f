"""Roster files: names and keys that people write, and what an authority signs of them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import ExperimentError
from leptonic.identity import public_hex
from leptonic.roster_file import read_clients, read_signed, sign


def roster_file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "clients.toml"
    path.write_text(content)
    return path


def test_a_roster_file_gives_names_and_keys(tmp_path: Path) -> None:
    path = roster_file(tmp_path, f'[clients]\nhospital-a = "{"ab" * 32}"\n"b.c" = "{"cd" * 32}"\n')
    assert read_clients(path) == {"hospital-a": "ab" * 32, "b.c": "cd" * 32}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "one table"),
        ("clients = 3", "one table"),
        ("[clients]\n[other]\n", "one table"),
        ('[clients]\na = "short"', "clients.a: a key is 64"),
        ("[clients]\na = 5", "clients.a: a key is 64"),
        (f'[clients]\na = "{"AB" * 32}"', "clients.a"),
        (f'[clients]\na = "{"ab" * 32}\\n"', "clients.a"),
        ("[clients", "cannot be read"),
    ],
)
def test_a_wrong_roster_file_is_named_with_the_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read_clients(roster_file(tmp_path, content))
    assert "clients.toml" in str(caught.value)
    assert said in str(caught.value)


def test_a_roster_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"none\.toml"):
        read_clients(tmp_path / "none.toml")


def test_a_key_stands_for_one_name(tmp_path: Path) -> None:
    """Else one node could be counted as several clients."""
    with pytest.raises(ExperimentError, match="a"):
        read_clients(roster_file(tmp_path, f'[clients]\na = "{"ab" * 32}"\nb = "{"ab" * 32}"\n'))


def signed(path: Path, **changes: str) -> None:
    """A roster of two clients, signed by a fresh authority."""
    clients = {"b": public_hex(Ed25519PrivateKey.generate()), "a": public_hex(Ed25519PrivateKey.generate())}
    coordinator = public_hex(Ed25519PrivateKey.generate())
    named = {"federation": "hospitals", "coordinator": coordinator, **changes}
    sign(clients, authority=Ed25519PrivateKey.generate(), version=3, days=30, path=path, **named)  # type: ignore[arg-type]


def test_a_signed_roster_is_read_as_it_was_signed(tmp_path: Path) -> None:
    signed(tmp_path / "federation.roster")
    content = read_signed(tmp_path / "federation.roster").content
    assert [entry.client for entry in content.entries] == [b"a", b"b"]
    assert (content.federation, content.version) == (b"hospitals", 3)


def test_a_signed_roster_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "federation.roster"
    signed(path)
    whole = path.read_bytes()
    for altered in (whole[:-1], whole + b"x", whole.replace(b"hospitals", b"hospitalz")):
        path.write_bytes(altered)
        with pytest.raises(ExperimentError, match="not a signed roster"):
            read_signed(path)


def test_what_no_node_would_take_is_not_signed(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no such roster can be signed"):
        signed(tmp_path / "federation.roster", coordinator="ab" * 31)
    assert not (tmp_path / "federation.roster").exists()
