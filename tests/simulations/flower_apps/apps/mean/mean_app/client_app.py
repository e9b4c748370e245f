"""Each client pulls the model towards its own target, and counts its calls in its state."""

import numpy as np
from flwr.app import Array, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp


def counting_mod(message: Message, context: Context, call_next) -> Message:
    """Counts in the state how often it ran."""
    seen = context.state.setdefault("mod", MetricRecord({"calls": 0}))
    seen["calls"] = int(seen["calls"]) + 1
    return call_next(message, context)


app = ClientApp(mods=[counting_mod])


def target(partition: int) -> np.ndarray:
    return np.array([partition, partition**2, 1.0])


def partition_of(context: Context) -> int:
    return int(context.node_config["partition-id"])


@app.train()
def train(message: Message, context: Context) -> Message:
    config, partition = message.content["config"], partition_of(context)
    counter = context.state.setdefault("counter", MetricRecord({"trained": 0, "history": [0.0]}))
    counter["trained"] = int(counter["trained"]) + 1
    counter["history"].append(float(config["server-round"]))
    fail = context.run_config
    if (
        fail["fail.where"] == "client"
        and fail["fail.node"] in (partition, -1)
        and fail["fail.round"] == config["server-round"]
    ):
        raise ZeroDivisionError(f"partition {partition} cannot")
    arrays = message.content["arrays"]
    w = arrays["w"].numpy()
    arrays["w"] = Array(w - config["lr"] * (w - target(partition)))
    arrays["b"] = Array(arrays["b"].numpy() + np.float32(partition))
    metrics = MetricRecord(
        {
            "num-examples": partition + 1,
            "trained": counter["trained"],
            "remembered": len(counter["history"]),
            "mod": context.state["mod"]["calls"],
            "partitions": context.node_config["num-partitions"],
        }
    )
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    error = message.content["arrays"]["w"].numpy() - target(partition_of(context))
    metrics = MetricRecord({"num-examples": partition_of(context) + 1, "loss": float(np.sum(error**2))})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
