"""The old style: server_fn with a strategy of flwr.server."""

import numpy as np
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg


class Printing(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        from flwr.common import parameters_to_ndarrays

        print(f"round {server_round}: {parameters_to_ndarrays(parameters)[0].tolist()}, {len(failures)} failures")
        return parameters, metrics


def server_fn(context: Context) -> ServerAppComponents:
    strategy = Printing(initial_parameters=ndarrays_to_parameters([np.zeros(2)]))
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=int(context.run_config["rounds"])))


app = ServerApp(server_fn=server_fn)
