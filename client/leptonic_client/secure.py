"""A node's part in secure aggregation: its owner's conditions, the roster it takes, and a party for each run."""

import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import PolicyRefused
from leptonic.experiment import Experiment
from leptonic.node_journal import JOURNAL_FILE, NodeJournal
from leptonic.pipeline import Pipeline
from leptonic.secagg.expansion import Here
from leptonic.secagg.roster import Roster
from leptonic.secagg.standing import Policy, Standing
from leptonic.secagg.terms import session_settings
from leptonic_client.party import Party
from leptonic_client.settings import NodeSettings, SecureConditions

__all__ = ["Membership"]


class Membership:
    """One node in its federation. key: its signing key, which the roster names."""

    def __init__(self, settings: NodeSettings, key: Ed25519PrivateKey) -> None:
        self._settings, self._key = settings, key
        self._journal: NodeJournal | None = None

    def close(self) -> None:
        """Close what was opened."""
        if self._journal is not None:
            self._journal.close()

    def roster(self, experiment: Experiment, encoding: bytes) -> Roster | None:
        """The federation's roster, checked and noted; None for a run without secure aggregation.

        Raises PolicyRefused for a run that the owner's conditions exclude, and as :meth:`Roster.read`.
        """
        conditions = self._settings.secure
        if experiment.secure_aggregation is None:
            if conditions is not None and conditions.required:
                raise PolicyRefused("the experiment has no secure aggregation, which this node's file requires")
            return None
        if conditions is None:
            raise PolicyRefused(
                "the experiment aggregates securely, and this node's file has no [secure] table: "
                "name the federation and the authority's public key there"
            )
        return self.admitted(encoding)

    def admitted(self, encoding: bytes) -> Roster:
        """A roster that the coordinator brings, checked and noted. Raises as :meth:`Roster.read`, or PolicyRefused."""
        conditions = self._conditions()
        journal, federation = self._opened(), conditions.federation.encode()
        roster = Roster.read(
            encoding,
            authority=bytes.fromhex(conditions.authority),
            federation=federation,
            client=self._settings.name.encode(),
            key=self._key.public_key().public_bytes_raw(),
            now=int(time.time()),
            seen=journal.roster_seen(federation),
        )
        journal.take_roster(
            federation, roster.content.version, client=self._settings.name.encode(), authority=roster.signed.authority
        )
        return roster

    def standing(self, roster: Roster) -> Standing:
        """The standing under a roster that was admitted. The node's file must have conditions."""
        return Standing(
            client=self._settings.name.encode(),
            key=self._key,
            roster=roster,
            journal=self._opened(),
            policy=_policy(self._conditions()),
        )

    def party(self, roster: Roster, experiment: Experiment, run: str, pipeline: Pipeline) -> Party:
        """What this node does in a run."""
        settings = session_settings(experiment, pipeline)
        return Party(self.standing(roster), Here(), settings=settings, run=run, experiment=experiment.hash)

    def _conditions(self) -> SecureConditions:
        if self._settings.secure is None:
            raise PolicyRefused("this node's file has no [secure] table")
        return self._settings.secure

    def _opened(self) -> NodeJournal:
        if self._journal is None:
            self._journal = NodeJournal(Path(self._settings.folder) / JOURNAL_FILE)
        return self._journal


def _policy(conditions: SecureConditions) -> Policy:
    return Policy(
        survivors=conditions.minimum_cohort,
        threshold=conditions.minimum_threshold,
        colluders=conditions.colluders,
        curious=conditions.curious,
        peers=frozenset(peer.encode() for peer in conditions.peers),
    )
