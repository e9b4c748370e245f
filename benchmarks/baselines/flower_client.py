"""The client of the Flower baseline: a module of its own, since Ray's workers must be able to import it."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from bare import Workload, build, train
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

__all__ = ["client_app"]


@cache
def arrays(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, and each client's rows; read once by each worker."""
    features, labels, rows = (np.load(Path(folder) / f"{name}.npy", "r") for name in ("features", "labels", "rows"))
    return features, labels, rows


def client_app(folder: str, workload: Workload) -> ClientApp:
    """Trains the rows of its partition with PyTorch on one thread, as Flower's own examples do."""
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator]
    def fit(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        features, labels, rows = arrays(folder)
        own = rows[int(context.node_config["partition-id"])]
        model = build(workload.model)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        train(model, torch.from_numpy(features[own]), torch.from_numpy(labels[own]), workload)
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(own)})}
        return Message(RecordDict(content), reply_to=message)

    return app
