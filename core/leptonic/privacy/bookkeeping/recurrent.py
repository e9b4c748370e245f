"""nn.LSTM by a recurrence that keeps each step's gate gradients, which the fused kernel sums away.

The gates of all steps are W_x x_t + W_h h_{t-1} + b, so the gradients of a layer's weights are sums of outer
products of gate gradients with (x_t, h_{t-1}, 1), as those of a linear layer over the sequence.
Source: Hochreiter & Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735; Werbos 1990, doi 10.1109/5.58337.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.errors import PrivacyError

__all__ = ["lstm_forward", "unsupported"]

Receive = Callable[[int, Tensor, Tensor, Tensor], None]
"""Takes a layer's number, its inputs (n, rows, k), its states before each step (n, rows, hidden), and its gate
gradients (n, rows, 4 hidden)."""

State = tuple[Tensor, Tensor]


def unsupported(module: nn.LSTM) -> str | None:
    """What of this LSTM has no per-example gradients here, and what to do; None if nothing."""
    if module.bidirectional:
        return "bidirectional: use one LSTM on the sequence and one on its reverse"
    if module.proj_size:
        return "has proj_size: put a Linear behind it"
    return None


def lstm_forward(module: nn.LSTM, receive: Receive, anchor: Tensor, inputs: Tensor, state: State | None = None) -> Any:
    """What module(inputs, state) returns, up to rounding. receive: called in the backward pass, once for each layer.

    anchor: a scalar that requires a gradient, so that there is a backward pass where the inputs need none.
    """
    if not isinstance(inputs, Tensor) or inputs.ndim != 3:
        raise PrivacyError(
            "an LSTM in private training takes a batch of sequences of one length, as a tensor of 3 axes"
        )
    steps = inputs.transpose(0, 1) if module.batch_first else inputs
    if state is None:
        zeros = inputs.new_zeros(module.num_layers, steps.shape[1], module.hidden_size)
        state = (zeros, zeros)
    last_hidden, last_cell = [], []
    for layer in range(module.num_layers):
        if layer and module.dropout:
            steps = F.dropout(steps, module.dropout, module.training)
        steps, cell = _Layer.apply(  # type: ignore[no-untyped-call]
            steps, state[0][layer], state[1][layer], *_weights(module, layer), anchor, layer, receive
        )
        last_hidden.append(steps[-1])
        last_cell.append(cell)
    outputs = steps.transpose(0, 1) if module.batch_first else steps
    return outputs, (torch.stack(last_hidden), torch.stack(last_cell))


def _weights(module: nn.LSTM, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
    inner, recurrent = (getattr(module, f"weight_{kind}_l{layer}").detach() for kind in ("ih", "hh"))
    bias = None
    if module.bias:
        bias = (getattr(module, f"bias_ih_l{layer}") + getattr(module, f"bias_hh_l{layer}")).detach()
    return inner, recurrent, bias


class _Layer(torch.autograd.Function):
    """One layer over all steps. Gates in PyTorch's order: input, forget, candidate, output."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs, hidden, cell, inner, recurrent, bias, _, ctx.layer, ctx.receive = arguments
        steps, examples, _ = inputs.shape
        size = recurrent.shape[1]
        # tanh(z) = 2 sigmoid(2z) - 1, to within some 1e-7: a sigmoid takes a sixth of the time of a tanh.
        candidates = slice(2 * size, 3 * size)
        gates = F.linear(inputs, _doubled(inner, candidates), None if bias is None else _doubled(bias, candidates))
        if not gates.is_contiguous():
            gates = gates.contiguous()
        hiddens, cells = (gates.new_empty(steps + 1, examples, size) for _ in range(2))
        hiddens[0], cells[0] = hidden, cell
        squashed = gates.new_empty(steps, examples, size)
        across = _doubled(recurrent, candidates).t()
        for step in range(steps):
            now = gates[step].addmm_(hiddens[step], across).sigmoid_()
            now[:, candidates].mul_(2.0).sub_(1.0)
            let_in, keep, candidate, let_out = now.chunk(4, dim=1)
            torch.mul(keep, cells[step], out=cells[step + 1]).addcmul_(let_in, candidate)
            torch.tanh(cells[step + 1], out=squashed[step])
            torch.mul(let_out, squashed[step], out=hiddens[step + 1])
        ctx.save_for_backward(inputs, inner, recurrent, gates, hiddens, cells, squashed)
        return hiddens[1:], cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, inner, recurrent, gates, hiddens, cells, squashed = ctx.saved_tensors
        of_outputs, of_cell = gradients
        of_cell, of_hidden = of_cell.clone(), torch.zeros_like(of_cell)
        # An example's rows lie together, for the products that follow.
        of_gates = gates.new_empty(gates.shape[1], gates.shape[0], gates.shape[2])
        for step in range(len(gates) - 1, -1, -1):
            of_hidden += of_outputs[step]
            now = of_gates[:, step]
            _back(gates[step], cells[step], squashed[step], of_hidden, of_cell, now)
            torch.mm(now, recurrent, out=of_hidden)
        ctx.receive(ctx.layer, inputs.transpose(0, 1), hiddens[:-1].transpose(0, 1), of_gates)
        of_inputs = (of_gates @ inner).transpose(0, 1) if ctx.needs_input_grad[0] else None
        return of_inputs, of_hidden, of_cell, *[None] * 6


def _doubled(weights: Tensor, rows: slice) -> Tensor:
    """A copy with these rows doubled, which is exact."""
    doubled = weights.clone()
    doubled[rows] *= 2.0
    return doubled


def _back(gates: Tensor, cell: Tensor, squashed: Tensor, of_hidden: Tensor, of_cell: Tensor, out: Tensor) -> None:
    """One step back. Writes gate gradients to out, (n, 4 hidden); of_cell becomes that of the cell before."""
    sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
    size = cell.shape[1]
    let_in, keep, candidate, let_out = gates.chunk(4, dim=1)
    to_in, to_keep, to_candidate, to_out = out.chunk(4, dim=1)
    torch.mul(of_hidden, squashed, out=to_out)
    of_cell += tanh_backward(of_hidden.mul_(let_out), squashed)
    torch.mul(of_cell, candidate, out=to_in)
    torch.mul(of_cell, cell, out=to_keep)
    torch.mul(of_cell, let_in, out=to_candidate)
    of_cell.mul_(keep)
    first, of_first = out[:, : 2 * size], gates[:, : 2 * size]
    sigmoid_backward(first, of_first, grad_input=first)
    sigmoid_backward(to_out, let_out, grad_input=to_out)
    tanh_backward(to_candidate, candidate, grad_input=to_candidate)
