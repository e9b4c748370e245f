"""The clients of a Flower app: one ClientApp, and for each node a context that lasts for the run."""

from bdb import BdbQuit
from collections.abc import Iterator, Sequence
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from leptonic_simulations.flower_apps.run_config import RunConfig

__all__ = ["Clients", "FIRST_NODE", "InTurn", "copied"]

# Flower's server is node 1.
FIRST_NODE = 2


class Clients(Protocol):
    """Does the work of all nodes: the seam for engines that run clients beside each other."""

    @property
    def nodes(self) -> Sequence[int]:
        """Every node, in the order of the partitions."""
        ...

    def answer(self, messages: Sequence[Message]) -> Iterator[Message | Exception]:
        """The reply to each message, or what the client raised, in the order of the messages.

        A node's own messages are worked on in their order.
        """
        ...


class InTurn:
    """One client after another, in the calling process and thread."""

    def __init__(self, app: ClientApp, *, count: int, run_config: RunConfig) -> None:
        self.nodes = range(FIRST_NODE, FIRST_NODE + count)
        self._app = app
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": partition, "num-partitions": count},
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for partition, node in enumerate(self.nodes)
        }

    def answer(self, messages: Sequence[Message]) -> Iterator[Message | Exception]:
        """One client's work at a time."""
        for message in messages:
            yield self._outcome(message)

    def _outcome(self, message: Message) -> Message | Exception:
        try:
            return self._call(message)
        except BdbQuit:
            # Whoever leaves the debugger wants to end the run.
            raise
        except Exception as error:
            return error

    def _call(self, message: Message) -> Message:
        """The app's reply. What it did to its context counts only if it did not raise, as with Flower."""
        kept = self._contexts[message.metadata.dst_node_id]
        context = Context(
            run_id=kept.run_id,
            node_id=kept.node_id,
            node_config=dict(kept.node_config),
            state=copied(kept.state),
            run_config=dict(kept.run_config),
        )
        reply = self._app(message, context)
        if not isinstance(reply, Message):
            raise TypeError(f"the ClientApp returned {type(reply).__name__}, not a Message")
        if reply.metadata.reply_to_message_id != message.metadata.message_id:
            raise ValueError(
                "the ClientApp's Message answers no message: make it by Message(content, reply_to=message)"
            )
        if context.run_config != kept.run_config:
            raise ValueError("the ClientApp changed context.run_config, which Flower does not allow")
        kept.state = context.state
        return reply


def copied(records: RecordDict) -> RecordDict:
    """The same records, so that neither side sees what the other changes. Arrays are values, and shared."""
    copies = RecordDict({name: record.copy() for name, record in records.items()})
    for record in copies.values():
        for key, value in list(record.items()):
            if isinstance(value, list):
                record[key] = list(value)
    return copies
