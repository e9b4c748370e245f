"""Secure aggregation in a simulation, for real: every client has its keys and masks what leaves it.

An engine around the one that trains: it answers the trips by itself, and masks what the clients' work gave. Keys live
as long as the process; a resumed simulation is a federation with a new roster.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import DecodeError, LeptonicError, RunError
from leptonic.experiment import Experiment
from leptonic.pipeline import Contribution, Pipeline
from leptonic.secagg.binding import verified
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.server.inviting import Office
from leptonic.secagg.standing import MemoryJournal, Policy, Standing
from leptonic.secagg.terms import session_settings
from leptonic.wire import PayloadStore, Reply, Request
from leptonic_client.participant import failure, reply_to
from leptonic_client.party import Party
from leptonic_simulations.grid import Engine
from leptonic_simulations.members import Everyone

__all__ = ["SecureEngine", "SimulatedFederation"]

MOST_CLIENTS = 20_000
"""Clients of whom each gets a key."""
NEVER = 2**62
"""Seconds since 1970 at which a simulated roster expires."""


class Remembered:
    """Verifies each signature once, whoever asks: all clients live in this process."""

    def __init__(self) -> None:
        self._true: set[tuple[bytes, bytes, bytes]] = set()

    def __call__(self, key: bytes, signature: bytes, statement: bytes, who: bytes) -> None:
        """Raise BadSignature unless it is one."""
        seen = (key, signature, statement)
        if seen not in self._true:
            verified(key, signature, statement, who)
            self._true.add(seen)

    def forget(self) -> None:
        """A round is over: none of its signatures is asked for again."""
        self._true.clear()


class SimulatedFederation:
    """Keys for everybody, a roster that an authority has signed, and the coordinator's office."""

    def __init__(self, experiment: Experiment, members: Everyone) -> None:
        if len(members) > MOST_CLIENTS:
            raise RunError(
                f"secure aggregation is simulated for {MOST_CLIENTS} clients at most, each with keys of its own, and "
                f"federation.clients = {len(members)}: set simulation.secure_aggregation = 'ideal'"
            )
        self.verify = Remembered()
        self._keys = {members.name(client).encode(): Ed25519PrivateKey.generate() for client in members}
        coordinator, authority = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        content = RosterContent(
            federation=experiment.name.encode(),
            version=1,
            expires=NEVER,
            coordinator=coordinator.public_key().public_bytes_raw(),
            entries=tuple(
                RosterEntry(client, self._keys[client].public_key().public_bytes_raw()) for client in sorted(self._keys)
            ),
        )
        self.office = Office(coordinator, Roster.sign(content, authority), self.verify)

    def standing(self, client: bytes) -> Standing:
        """One client's standing."""
        return Standing(
            client=client,
            key=self._keys[client],
            roster=self.office.roster,
            journal=MemoryJournal(),
            policy=Policy(),
            verify=self.verify,
        )


class SecureEngine:
    """Plays every client's part in the protocol around an engine that trains.

    payloads: where what is for one client alone is kept. name: of a roster index.
    """

    def __init__(
        self,
        engine: Engine,
        federation: SimulatedFederation,
        *,
        experiment: Experiment,
        pipeline: Pipeline,
        payloads: PayloadStore,
        expansion: Expansion,
        name: Callable[[int], str],
    ) -> None:
        self._engine, self._federation, self._experiment, self._pipeline = engine, federation, experiment, pipeline
        self._payloads, self._expansion, self._name = payloads, expansion, name
        self._settings = session_settings(experiment, pipeline)
        self._parties: dict[int, Party] = {}

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """The replies; those to work come as the engine brings them."""
        match requests[0].step:
            case "open":
                self._federation.verify.forget()
                yield from self._each(requests, lambda party, own: party.open(own))
            case "share":
                yield from self._each(requests, lambda party, own: party.share(own))
            case "abort":
                yield from self._each(requests, lambda party, _: (party.abort(bytes(content)), ""))
            case "train":
                yield from self._work(requests, content)
            case _:
                yield from self._engine.answers(requests, content)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _each(
        self, requests: Sequence[Request], answer: Callable[[Party, bytes], tuple[bytes, str]]
    ) -> Iterator[tuple[Reply, bytes]]:
        for request in requests:
            try:
                answered, detail = answer(self._party(request), self._own(request))
            except LeptonicError as error:
                yield failure(request, error, f"{type(error).__name__}: {error}"), b""
            else:
                yield reply_to(request, "done", detail=detail), answered

    def _work(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        payload = hashlib.sha256(content).digest()
        willing: list[Request] = []
        for request in requests:
            try:
                self._party(request).train(self._own(request), payload)
            except LeptonicError as error:
                yield failure(request, error, f"{type(error).__name__}: {error}"), b""
            else:
                willing.append(request.model_copy(update={"own": None}))
        if not willing:
            return
        for reply, encoded in self._engine.answers(willing, content):
            yield reply, self._masked(reply, encoded) if reply.status == "done" else encoded

    def _masked(self, reply: Reply, encoded: bytes | memoryview) -> bytes:
        contribution = self._pipeline.from_bytes(encoded)
        # Masked in place: the engine's memory is its own.
        own = Contribution(np.array(contribution.words), np.array(contribution.scalars))
        return self._parties[reply.client].mask(own)

    def _own(self, request: Request) -> bytes:
        if request.own is None:
            raise DecodeError("a trip without anything for this client")
        return bytes(self._payloads.get(request.own))

    def _party(self, request: Request) -> Party:
        party = self._parties.get(request.client)
        if party is None:
            party = self._parties[request.client] = Party(
                self._federation.standing(self._name(request.client).encode()),
                self._expansion,
                settings=self._settings,
                run=request.run,
                experiment=request.experiment,
            )
        return party
