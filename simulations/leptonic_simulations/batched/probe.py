"""Whether a model's training can be batched over clients, found by trying it on made-up numbers."""

import torch

from leptonic import parameters, randomness
from leptonic_client.training import LocalTrainer
from leptonic_simulations.batched.stack import Forward, Pieces

__all__ = ["unbatchable"]

CLIENTS, EXAMPLES = 2, 3
TOLERANCE = 1e-4


def unbatchable(trainer: LocalTrainer) -> str | None:
    """Why the batched engine cannot train this experiment's model; None if it can."""
    if trainer.experiment.training.precision == "float16":
        return "the loss scaling of training.precision = 'float16' belongs to one client"
    with randomness.torch_stream(0, "probe"):
        try:
            return _differs(trainer)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            return f"the model cannot be batched over clients ({str(error).strip().splitlines()[0][:200]})"


def _differs(trainer: LocalTrainer) -> str | None:
    model, pieces = trainer.model, Pieces.of(trainer.model)
    model.train()
    features = torch.rand(CLIENTS, EXAMPLES, *trainer.spec.shape, device=trainer.device)
    own = torch.from_numpy(parameters.to_vector(model)).to(trainer.device)
    vectors = own + 0.01 * torch.randn(CLIENTS, len(own), device=trainer.device)
    before = parameters.to_vector(model)
    with torch.no_grad():
        together = Forward(model)(pieces.cut(vectors), features)
        for client in range(CLIENTS):
            parameters.from_vector(model, vectors[client].cpu().numpy())
            alone = model(features[client])
            first = model(features[client, :1])
            if not torch.allclose(alone[:1], first, atol=TOLERANCE, rtol=TOLERANCE):
                return "the model mixes the examples of a batch"
            if not torch.allclose(together[client], alone, atol=TOLERANCE, rtol=TOLERANCE):
                return "the model gives other outputs when it is batched over clients"
    parameters.from_vector(model, before)
    return None
