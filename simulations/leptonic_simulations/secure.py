"""Secure aggregation in a simulation, for real: every client has its keys and masks what leaves it.

An engine around the one that trains: it answers the trips by itself, and masks what the clients' work gave. Keys are
derived from a secret in the run's folder, so that a resumed simulation is the same federation.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from leptonic.errors import LeptonicError, RunError
from leptonic.experiment import Experiment
from leptonic.files import write_atomic
from leptonic.pipeline import Pipeline
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.journal import MemoryJournal
from leptonic.secagg.long_digest import LongDigest, long_digest
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.server.office import Office
from leptonic.secagg.simulated_keys import simulated_key
from leptonic.secagg.standing import Policy, Standing
from leptonic.secagg.terms import session_settings
from leptonic.wire import PayloadStore, Reply, Request
from leptonic_client.participant import failure, reply_to
from leptonic_client.party import Party
from leptonic_simulations.grid import Engine, InPlace
from leptonic_simulations.masking import Masking
from leptonic_simulations.members import Everyone
from leptonic_simulations.once import AgreedOnce, CheckedOnce, Remembered, SimulatedSigner

__all__ = ["SecureEngine", "SimulatedFederation", "federation_seed"]

MOST_CLIENTS = 20_000
"""Clients of whom each gets a key."""
NEVER = 2**62
"""Seconds since 1970 at which a simulated roster expires."""


def federation_seed(path: Path) -> bytes:
    """The secret of a run's simulated federation; made if there is none."""
    if not path.exists():
        write_atomic(path, os.urandom(32), private=True)
    return path.read_bytes()


class SimulatedFederation:
    """Keys for everybody, a roster that an authority has signed, and the coordinator's office.

    seed: 32 secret bytes from which all keys are derived, so that a resumed run is the same federation.
    """

    def __init__(self, experiment: Experiment, members: Everyone, seed: bytes) -> None:
        if len(members) > MOST_CLIENTS:
            raise RunError(
                f"secure aggregation is simulated for {MOST_CLIENTS} clients at most, each with keys of its own, and "
                f"federation.clients = {len(members)}: set simulation.secure_aggregation = 'ideal'"
            )
        secure, invited = experiment.secure_aggregation, experiment.federation.invited
        assert secure is not None
        self.verify, self.agree, self._check_record = Remembered(), AgreedOnce(), CheckedOnce()
        # Simulated owners agree to what the experiment says.
        self._policy = Policy(survivors=2, colluders=min(secure.colluding(invited), invited), curious=True)
        names = (members.name(client).encode() for client in members)
        self._keys = {name: simulated_key(seed, "client", name) for name in names}
        coordinator, authority = (simulated_key(seed, "office", name) for name in (b"coordinator", b"authority"))
        content = RosterContent(
            federation=experiment.name.encode(),
            version=1,
            expires=NEVER,
            coordinator=coordinator.public_key().public_bytes_raw(),
            entries=tuple(
                RosterEntry(client, self._keys[client].public_key().public_bytes_raw()) for client in sorted(self._keys)
            ),
        )
        self.digest = LongDigest()
        signer = SimulatedSigner(coordinator, self.verify)
        self.office = Office(signer, Roster.sign(content, authority), self.verify, self.digest)

    def standing(self, client: bytes) -> Standing:
        """One client's standing."""
        return Standing(
            client=client,
            key=SimulatedSigner(self._keys[client], self.verify),
            roster=self.office.roster,
            journal=MemoryJournal(),
            policy=self._policy,
            verify=self.verify,
            agree=self.agree,
            check_record=self._check_record,
        )

    def forget(self) -> None:
        """Everybody is at work: nothing that was signed or agreed until now is asked for again."""
        self.verify.forget()
        self.agree.forget()


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
        self._masking = Masking(pipeline, expansion, self._masked)
        if isinstance(engine, InPlace):
            engine.room = self._masking.room

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """The replies; those to work come as the engine brings them."""
        match requests[0].step:
            case "open":
                yield from self._each(requests, lambda party, own: party.open(own))
            case "share":
                yield from self._each(requests, lambda party, own: party.share(own))
            case "abort":
                yield from self._each(requests, lambda party, _: (party.abort(bytes(content)), ""))
            case "record":
                yield from self._each(requests, lambda party, own: (party.record(own), ""))
            case "train":
                yield from self._work(requests, content)
            case _:
                yield from self._engine.answers(requests, content)

    def close(self) -> None:
        """Close the engine."""
        self._masking.close()
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
        size = 4 * self._pipeline.size
        payload = self._federation.digest(content)
        model = payload if len(content) == size else long_digest(memoryview(content)[:size])
        willing: list[Request] = []
        for request in requests:
            try:
                self._party(request).train(self._own(request), model=model, payload=payload)
            except LeptonicError as error:
                yield failure(request, error, f"{type(error).__name__}: {error}"), b""
            else:
                willing.append(request.model_copy(update={"own": None}))
        if not willing:
            return
        self._federation.forget()
        masks = (self._parties[request.client].masks for request in willing)
        self._expansion.announce(self._settings.words, masks)
        yield from self._masking.answers(self._engine.answers(willing, content))

    def _masked(self, client: int, slot: memoryview) -> memoryview:
        """A client's answer, made of what it trained in the same memory: masked input, then header."""
        length = self._pipeline.encoded_length
        masked = self._parties[client].mask(self._pipeline.from_bytes(slot[:length]))
        header = masked.own.header
        if header.length < length:
            # Packed into fewer bits, elsewhere.
            slot[: header.length] = b"".join(masked.parts)
        end = header.length + len(masked.reply)
        slot[header.length : end] = masked.reply
        at = len(masked.parts[0])
        self._federation.digest.know(header.digest, slot[:at], slot[at : header.length])
        return slot[:end].toreadonly()

    def _own(self, request: Request) -> bytes:
        """What is for this client alone."""
        return bytes(self._payloads.get(request.own)) if request.own else b""

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
