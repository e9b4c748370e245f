"""Whose client it is: a node with a file of its own, or a simulated one, which protects nobody."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.app import ConfigRecord, Context

from leptonic.errors import ExperimentError, PolicyRefused
from leptonic.flower.simulated import FEDERATION, SEED_BYTES, SWITCH, authority_key, client_key, folder_of, name_of
from leptonic.flower.wire import content_of
from leptonic.identity import signing_key
from leptonic.node_journal import JOURNAL_FILE, NodeJournal
from leptonic.secagg.encoding import decoded
from leptonic.secagg.roster import Roster, SignedRoster
from leptonic.secagg.standing import Policy, Standing
from leptonic_client.flower.kept import Keeper
from leptonic_client.secure import Membership
from leptonic_client.settings import read_node_file

__all__ = ["NODE", "Place", "place_of"]

NODE = "leptonic-node"
"""The key of the SuperNode's own configuration that names the node file."""


class Member(Protocol):
    """Somebody in a federation."""

    def admitted(self, encoding: bytes) -> Roster:
        """A roster that the coordinator brings, checked."""
        ...

    def standing(self, roster: Roster) -> Standing:
        """The member's standing under it."""
        ...


@dataclass(frozen=True)
class Place:
    """A member, and the keeper of its sessions."""

    member: Member
    keeper: Keeper

    def standing(self, roster: bytes) -> Standing:
        """The standing in a session that began with this roster, which was checked then."""
        return self.member.standing(Roster(decoded(SignedRoster, roster)))


@contextmanager
def place_of(context: Context, asked: ConfigRecord) -> Iterator[Place]:
    """The place of this client, as its own machine's configuration says.

    Raises PolicyRefused where nothing does, or where a node with a file is asked to take simulated keys.
    """
    file, seed = context.node_config.get(NODE), asked.get("seed")
    if file is None and seed is None:
        raise PolicyRefused(
            "this node has no keys: start its SuperNode with --node-config "
            f"'{NODE}=\"/path/to/node.toml\"', whose [secure] table names federation and authority"
        )
    if file is not None and seed is not None:
        raise PolicyRefused("the coordinator asks for simulated keys, which protect nobody, and this node has a file")
    with ExitStack() as stack:
        if file is not None:
            yield _deployed(Path(str(file)), stack)
        else:
            yield _simulated(context, content_of(asked, "seed"), stack)


def _deployed(file: Path, stack: ExitStack) -> Place:
    settings = read_node_file(file)
    if not settings.folder.is_absolute():
        raise ExperimentError(
            f"{file}: home = {str(settings.folder)!r}: give the whole path, Flower runs apps anywhere"
        )
    key = signing_key(settings.folder / "node.key", "the node's")
    member = stack.enter_context(closing(Membership(settings, key)))
    return Place(member, stack.enter_context(closing(Keeper(settings.folder / "flower.sqlite"))))


def _simulated(context: Context, seed: bytes, stack: ExitStack) -> Place:
    if context.run_config.get(SWITCH) is not True:
        raise PolicyRefused(
            "the coordinator asks for simulated keys, which protect nobody: allow it by "
            f"`{SWITCH} = true` in the run configuration, or give this node a file ({NODE})"
        )
    if len(seed) != SEED_BYTES:
        raise PolicyRefused(f"the secret of simulated keys has {SEED_BYTES} bytes")
    folder = folder_of(seed) / str(context.node_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal = stack.enter_context(closing(NodeJournal(folder / JOURNAL_FILE)))
    member = _SimulatedMember(seed, name_of(context.node_id), journal)
    return Place(member, stack.enter_context(closing(Keeper(folder / "flower.sqlite"))))


@dataclass(frozen=True)
class _SimulatedMember:
    seed: bytes
    name: bytes
    journal: NodeJournal

    def admitted(self, encoding: bytes) -> Roster:
        return Roster.read(
            encoding,
            authority=authority_key(self.seed).public_key().public_bytes_raw(),
            federation=FEDERATION,
            client=self.name,
            key=client_key(self.seed, self.name).public_key().public_bytes_raw(),
            now=int(time.time()),
            seen=0,
        )

    def standing(self, roster: Roster) -> Standing:
        return Standing(
            client=self.name,
            key=client_key(self.seed, self.name),
            roster=roster,
            journal=self.journal,
            # Simulated owners agree to what the coordinator says.
            policy=Policy(survivors=2, colluders=0, curious=True),
        )
