"""The old style: a NumPyClient made by client_fn."""

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context


class Client(NumPyClient):
    def __init__(self, partition: int) -> None:
        self.partition = partition

    def fit(self, parameters, config):
        return [parameters[0] + np.array([self.partition, 1.0])], self.partition + 1, {}

    def evaluate(self, parameters, config):
        return float(parameters[0][0]), self.partition + 1, {}


def client_fn(context: Context):
    return Client(int(context.node_config["partition-id"])).to_client()


app = ClientApp(client_fn=client_fn)
