"""The mod: everything that leaves a ClientApp goes through here, and of training nothing but what is masked does.

Source of the seam: Flower's mods, ``ClientApp(mods=[...])``; a mod sees the message before the app, and the reply
before anybody else. This one belongs first in the list, so that no other sees its messages.
"""

from bdb import BdbQuit
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict

from leptonic.errors import ExperimentError, PolicyRefused, PrivacyError, ProtocolError, RunError
from leptonic.flower.simulated import SWITCH
from leptonic.flower.wire import RECORD, step_of
from leptonic_client.flower.places import NODE, place_of
from leptonic_client.flower.steps import ANSWERS, Asked

__all__ = ["CLEAR", "secure_aggregation"]

CLEAR = "leptonic-clear-evaluation"
"""The key of the SuperNode's own configuration that lets evaluations and queries be answered in the clear."""

App = Callable[[Message, Context], Message]


def secure_aggregation(message: Message, context: Context, call_next: App) -> Message:
    """A Flower mod: the app's training is summed securely, or refused.

    What the app does in other messages leaves only where the node's owner allows it. What is wrong is raised, and
    Flower tells the coordinator: it reads no more of the app's own errors than their type.
    """
    category = message.metadata.message_type.partition(".")[0]
    record = message.content.config_records.get(RECORD)
    if category != "train":
        _check_clear(context, category)
        return call_next(message, context)
    if record is None:
        raise PolicyRefused(
            "training is asked for without secure aggregation, which this app's mod refuses: "
            "give the strategy to leptonic_server.flower.SecureAggregation"
        )
    own = RecordDict({name: each for name, each in message.content.items() if name != RECORD})

    def work(content: RecordDict) -> Message:
        message.content = content
        return _worked(call_next, message, context)

    try:
        with place_of(context, record) as place:
            return Message(ANSWERS[step_of(record)](Asked(place, context, record, own, work)), reply_to=message)
    except (PrivacyError, ProtocolError, ExperimentError, _WorkFailed, BdbQuit):
        raise
    except Exception as error:
        raise RunError(f"{type(error).__name__}; the client's log says more") from error


class _WorkFailed(RunError):
    """The app's training gave no reply; says no more than the coordinator may read."""


def _worked(call_next: App, message: Message, context: Context) -> Message:
    """The app's reply. Its errors may tell of its data: the coordinator is told their type, the log all."""
    try:
        reply = call_next(message, context)
    except BdbQuit:
        raise
    except Exception as error:
        raise _WorkFailed(f"the app's training raised {type(error).__name__}; the client's log says more") from error
    if not isinstance(reply, Message) or reply.has_error():
        raise _WorkFailed("the app's training gave no reply with content; the client's log may say more")
    return reply


def _check_clear(context: Context, category: str) -> None:
    """Raise PolicyRefused unless the owner, or who simulates, lets other replies than training's leave as they are."""
    simulated = NODE not in context.node_config and context.run_config.get(SWITCH) is True
    config = context.run_config if simulated else context.node_config
    if config.get(CLEAR) not in (True, "true"):
        where = "run configuration" if simulated else "SuperNode's --node-config"
        raise PolicyRefused(
            f"a reply to a message of type {category!r} would leave in the clear, one client's metrics in it: "
            f"allow it by `{CLEAR} = true` in the {where}, or set the strategy's fraction_evaluate to 0"
        )
