"""What was simulated is what runs: the same model, to the last bit, from one process or from four."""

from pathlib import Path

import pytest
from tests.end_to_end.federation import federation, last_json

SCAFFOLD_ON_DIGITS = """
seed = 3
data = { name = "digits" }
model = { name = "cnn", channels = [4, 8], hidden = 32 }
algorithm = { name = "scaffold" }
evaluation = { on = ["server", "clients"], holdout = 0.1 }
[federation]
clients = 3
partition = { scheme = "dirichlet", alpha = 0.5 }
[training]
rounds = 3
learning_rate = 0.05
momentum = 0.9
"""

LENET_ON_FASHION_MNIST = """
seed = 1
data = { name = "fashion-mnist", train_examples = 3000 }
federation = { clients = 3 }
[training]
rounds = 2
batch_size = 32
learning_rate = 0.03
momentum = 0.9
"""

SCATTERING_OF_DIGITS = """
seed = 2
data = { name = "digits", features = "scattering" }
model = { name = "logistic" }
federation = { clients = 3 }
[training]
rounds = 2
learning_rate = 0.05
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment",
    [SCAFFOLD_ON_DIGITS, SCATTERING_OF_DIGITS, pytest.param(LENET_ON_FASHION_MNIST, marks=pytest.mark.real_data)],
    ids=["scaffold-digits", "scattering-digits", "fedavg-fashion-mnist"],
)
def test_simulated_and_deployed_models_have_the_same_sha256(tmp_path: Path, experiment: str) -> None:
    with federation(tmp_path, experiment) as made:
        made.export()
        server = made.server()
        clients = [made.client(index) for index in range(3)]
        deployed = last_json(server.finish())
        for client in clients:
            client.finish(seconds=120)
        simulated = made.simulate()
    assert deployed["model_sha256"] == simulated["model_sha256"]
    assert deployed["accuracy"] == simulated["accuracy"]
    assert deployed["rounds"] == simulated["rounds"]
    model = (tmp_path / "deployed" / "model.safetensors").read_bytes()
    assert model == (tmp_path / "simulated" / "model.safetensors").read_bytes()
