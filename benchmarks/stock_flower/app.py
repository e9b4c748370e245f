"""Stock FedAvg over one vector: the server notes the time after each round, a client adds random numbers."""

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()  # type: ignore[untyped-decorator]
def train(message: Message, _context: Context) -> Message:
    """Answer with the vector moved by a random amount."""
    (vector,) = message.content["arrays"].to_numpy_ndarrays()
    moved = vector + np.random.default_rng().random(vector.size, dtype=np.float32)
    content = {"arrays": ArrayRecord([moved]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Run the rounds; the file that ``times`` names gets a line for each."""
    config = context.run_config
    times = Path(str(config["times"]))

    def note(_server_round: int, _arrays: ArrayRecord) -> None:
        with times.open("a") as stream:
            stream.write(f"{time.perf_counter()}\n")

    nodes = int(config["nodes"])
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    initial = ArrayRecord([np.zeros(int(config["parameters"]), np.float32)])
    strategy.start(grid, initial, num_rounds=int(config["rounds"]), evaluate_fn=note)
