"""The ClientApp: plain Flower, but for the mod."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app import softmax
from leptonic_client.flower import secure_aggregation

app = ClientApp(mods=[secure_aggregation])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this client's digits; reply with parameters, number of examples and metrics, as for any FedAvg."""
    images, labels = softmax.load(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))
    parameters = [array.copy() for array in message.content["arrays"].to_numpy_ndarrays()]
    config = context.run_config
    softmax.train(parameters, images, labels, epochs=int(config["local-epochs"]), rate=float(config["learning-rate"]))
    loss, accuracy = softmax.loss_and_accuracy(parameters, images, labels)
    metrics = {"num-examples": len(labels), "train-loss": loss, "train-accuracy": accuracy}
    return Message(
        RecordDict({"arrays": ArrayRecord(parameters), "metrics": MetricRecord(metrics)}),
        reply_to=message,
    )
