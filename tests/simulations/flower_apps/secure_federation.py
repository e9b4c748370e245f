"""Nodes of a Flower app with node files and a signed roster, on the in-process grid, with somebody in between."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from leptonic.flower.content import change_of
from leptonic.flower.terms import Terms
from leptonic.flower.wire import RECORD, step_of
from leptonic.identity import public_hex, signing_key
from leptonic.pipeline import Pipeline
from leptonic.roster_file import sign
from leptonic.secagg.messages import SessionSettings
from leptonic.update import LocalUpdate
from leptonic_client.flower import secure_aggregation
from leptonic_client.flower.places import NODE
from leptonic_server.flower import SecureAggregation
from leptonic_simulations.flower_apps.clients import FIRST_NODE, InTurn
from leptonic_simulations.flower_apps.grid import FlowerGrid

STEPS = ("open", "share", "train", "agree", "unmask")
CAP = 100


def initial() -> ArrayRecord:
    draws = np.random.default_rng(0)
    return ArrayRecord({"w": array(draws.normal(size=(3, 4))), "b": array(draws.normal(size=5)), "s": array(2.0)})


def array(values: Any) -> Any:
    return Array(np.asarray(values, np.float32))


def worked(arrays: ArrayRecord, partition: int) -> RecordDict:
    """What a client replies: as many examples as its number says, and a step towards its own target."""
    moved = {name: array(0.75 * each.numpy() + partition) for name, each in arrays.items()}
    metrics = MetricRecord({"num-examples": 3 * partition + 2, "loss": 0.3125 * partition, "other": -1.5})
    return RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics})


def train(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    return Message(worked(message.content["arrays"], partition), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": 0.5})}), reply_to=message)


def app(*mods: Any, work: Callable[[Message, Context], Message] = train) -> ClientApp:
    made = ClientApp(mods=list(mods))
    made.train()(work)
    made.evaluate()(evaluate)
    return made


class Nodes(InTurn):
    """between: is given each message before its node is, and may change it, or raise what the node would."""

    def __init__(self, client: ClientApp, configs: list[dict[str, Any]], run_config: dict[str, Any] | None = None):
        super().__init__(client, count=len(configs), run_config=run_config or {})
        for node, config in zip(self.nodes, configs, strict=True):
            self._contexts[node].node_config.update(config)
        self.between: Callable[[str, int, Message], None] = lambda step, number, message: None
        self.asked: list[tuple[str, int, Message]] = []
        self.replied: list[tuple[str, int, Message]] = []
        self.refused: list[tuple[str, int, Exception]] = []

    def state(self, number: int) -> RecordDict:
        return self._contexts[FIRST_NODE + number].state

    def put_back(self, number: int, state: RecordDict) -> None:
        self._contexts[FIRST_NODE + number].state = state

    def _call(self, message: Message) -> Message:
        number = message.metadata.dst_node_id - FIRST_NODE
        record = message.content.config_records.get(RECORD)
        step = step_of(record) if record is not None else "plain"
        self.asked.append((step, number, Message(message.content, metadata=message.metadata)))
        try:
            self.between(step, number, message)
            reply = super()._call(message)
        except Exception as error:
            self.refused.append((step, number, error))
            raise
        self.replied.append((step, number, reply))
        return reply


class Silent:
    def sent(self, count: int) -> None: ...

    def answered(self, message: Message, error: Exception | str | None) -> None: ...


class Federation:
    """Keys, node files and a signed roster for so many nodes."""

    def __init__(self, folder: Path, count: int, secure: str = "") -> None:
        self.roster, self.key = folder / "federation.roster", folder / "coordinator.key"
        authority, keys = signing_key(folder / "authority.key", "the authority's"), {}
        self.configs: list[dict[str, Any]] = []
        for number in range(count):
            home, file = folder / f"node-{number}", folder / f"node-{number}.toml"
            keys[f"ward-{number}"] = public_hex(signing_key(home / "node.key", "the node's"))
            file.write_text(
                f'server = "127.0.0.1:1"\nname = "ward-{number}"\ndata = "unused"\nhome = "{home}"\n'
                f'[secure]\nfederation = "wards"\nauthority = "{public_hex(authority)}"\n{secure}'
            )
            self.configs.append({NODE: str(file)})
        coordinator = public_hex(signing_key(self.key, "the coordinator's"))
        sign(
            keys, federation="wards", coordinator=coordinator, authority=authority, version=1, days=1, path=self.roster
        )

    def nodes(self, client: ClientApp | None = None) -> Nodes:
        return Nodes(client or app(secure_aggregation), self.configs)

    def strategy(self, inner: Strategy | None = None, **more: Any) -> SecureAggregation:
        given = {"roster": self.roster, "key": self.key, "metrics": ["loss", "other"], "weight_cap": CAP, **more}
        return SecureAggregation(inner or fedavg(), **given)


def fedavg(kind: type[FedAvg] = FedAvg, **more: Any) -> FedAvg:
    return kind(**{"fraction_evaluate": 0.0, "min_train_nodes": 3, "min_available_nodes": 3, **more})


def ran(nodes: Nodes, strategy: Strategy, rounds: int = 1, arrays: ArrayRecord | None = None) -> Result:
    return strategy.start(grid=FlowerGrid(nodes, Silent()), initial_arrays=arrays or initial(), num_rounds=rounds)


def plain(inner: Strategy, count: int, rounds: int = 1) -> Result:
    """The same app, in the clear."""
    return ran(Nodes(app(), [{}] * count), inner, rounds)


def pipeline(count: int) -> Pipeline:
    """How updates of a round of so many become integers."""
    terms = Terms.of(update_range=8.0, weight_cap=CAP, weighted_by="num-examples", metrics=["loss", "other"])
    size = sum(each.numpy().size for each in initial().values())
    return terms.pipeline(SessionSettings(size, 6, 32, count, 1, count // 3, 0, 0, 0))


def sum_of(arrays: ArrayRecord, survivors: list[int], count: int) -> Any:
    """The mean that the survivors' integers give when they are added in the clear."""
    encoding = pipeline(count)
    total = encoding.zero()
    for partition in survivors:
        reply = worked(arrays, partition)
        metrics = dict(reply["metrics"])
        weight = float(metrics.pop("num-examples"))
        sums = {name: weight * value for name, value in metrics.items()}
        total.add(encoding.encode(LocalUpdate({"model": change_of(arrays, reply["arrays"])}, weight, sums)))
    return encoding.decode(total)
