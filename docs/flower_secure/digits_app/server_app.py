"""The ServerApp: plain Flower, but for what is put around the strategy."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app import softmax
from leptonic_server.flower import SecureAggregation

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average for some rounds; the model is tested where it is, and no client's evaluation is asked for."""
    config = context.run_config
    strategy = SecureAggregation(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=4, min_available_nodes=4),
        metrics=["train-loss", "train-accuracy"],
        weight_cap=1000,
        roster=str(config["roster"]) or None,
        key=str(config["coordinator-key"]) or None,
        simulated_keys=bool(config["leptonic-simulated-keys"]),
    )
    result = strategy.start(
        grid=grid, initial_arrays=ArrayRecord(softmax.initial()), num_rounds=int(config["num-server-rounds"])
    )
    parameters = result.arrays.to_numpy_ndarrays()
    loss, accuracy = softmax.loss_and_accuracy(parameters, *softmax.load(0, 1))
    print(f"on all digits: loss {loss:.4f}, accuracy {accuracy:.4f}")
    for number, metrics in result.train_metrics_clientapp.items():
        print(f"round {number}: mean training loss {metrics['train-loss']:.4f}")
    if config["model-file"]:
        np.savez(str(config["model-file"]), *parameters)
