"""Stock strategies by name; the result is printed as JSON."""

import json

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp import strategy as strategies

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    if config["fail.where"] == "server":
        raise LookupError("the server's own mistake")
    strategy = getattr(strategies, config["strategy"])(fraction_train=config["fraction-train"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({"w": Array(np.zeros(3)), "b": Array(np.ones((2, 2), np.float32))}),
        num_rounds=config["num-server-rounds"],
        train_config=ConfigRecord({"lr": config["lr"]}),
    )
    arrays = {name: array.numpy().tolist() for name, array in result.arrays.items()}
    rounds = [
        {str(number): dict(metrics) for number, metrics in records.items()}
        for records in (result.train_metrics_clientapp, result.evaluate_metrics_clientapp)
    ]
    print(json.dumps({"arrays": arrays, "train": rounds[0], "evaluate": rounds[1]}))
