"""One direction of a recurrent layer: the cells' equations, step by step, and torch's fused kernels of the usual cells.

Everything here runs forward in time from the states before the first step, each (N, H), over X of shape (T, N, I), and
returns the states after each step, each (T, N, H); the first of them is the output (ONNX specification, `RNN`, `GRU`
and `LSTM`). A fused kernel computes the same faster, but only for the default activations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import activation
from onnxvis.ops.table import Floats

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]
Step = Callable[..., States]


@dataclass(frozen=True)
class Weights:
    """The weights of one direction; its G gates are stacked in ONNX's order.

    Attributes:
        W: Of the input, (G H, I).
        R: Of the output of the step before, (G H, H).
        B: The biases of both, (2 G H), or None.
        P: The peepholes of an LSTM, (3 H) for its input, output and forget gate, or None.
    """

    W: Tensor
    R: Tensor
    B: Tensor | None
    P: Tensor | None = None

    def biases(self) -> tuple[Tensor, Tensor]:
        """That of the input and that of the recurrence, each (G H); zeros where there are none."""
        of_input, of_recurrence = self.W.new_zeros(2, len(self.W)) if self.B is None else self.B.chunk(2)
        return of_input, of_recurrence

    def of_steps(self, X: Tensor) -> Tensor:
        """The product of the inputs of all steps, (T, N, I), with W: (T, N, G H)."""
        return X @ self.W.T

    def of_state(self, H: Tensor) -> Tensor:
        """The product of the output of the step before, (N, H), with R: (N, G H)."""
        return H @ self.R.T


def _affine(X: Tensor, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    return alpha * X + beta


_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "affine": (_affine, ("alpha", "beta")),
    "elu": (activation.elu, ("alpha",)),
    "hardsigmoid": (activation.hard_sigmoid, ("alpha", "beta")),
    "leakyrelu": (activation.leaky_relu, ("alpha",)),
    "relu": (activation.relu, ()),
    "scaledtanh": (activation.scaled_tanh, ("alpha", "beta")),
    "sigmoid": (activation.sigmoid, ()),
    "softplus": (activation.softplus, ()),
    "softsign": (activation.softsign, ()),
    "tanh": (activation.tanh, ()),
    "thresholdedrelu": (activation.thresholded_relu, ("alpha",)),
}
"""The functions and the parameters that each takes; their defaults are those of the operators of the same name."""


class Cell(NamedTuple):
    """The activation functions of a cell in one direction.

    Attributes:
        usual: Whether they are the specification's defaults.
        functions: f, g and h of the specification's equations, or the first of them.
    """

    usual: bool
    functions: tuple[Activation, ...]


def cells(
    directions: int,
    usual: tuple[str, ...],
    names: tuple[str, ...] | None = None,
    alphas: Floats | None = None,
    betas: Floats | None = None,
    clip: float | None = None,
) -> list[Cell]:
    """Return the cell of each direction.

    Args:
        directions: How many there are.
        usual: The default activations of one direction, in lower case.
        names: The activations of all directions, in upper or lower case.
        alphas: Consumed in order by the activations that have the parameter; the others take its default.
        betas: Likewise.
        clip: A bound on the magnitude of what f and g are given. What h is given, the state of an LSTM's cell, is not
            bounded: so does onnxruntime read the specification's "the input of activations".

    Raises:
        UnsupportedOpError: The specification has no such activation.
    """
    lower = usual * directions if names is None else tuple(name.lower() for name in names)
    given = {"alpha": iter(alphas or ()), "beta": iter(betas or ())}
    size = len(usual)
    bounds = ((clip, clip, None)[:size]) * directions
    functions = tuple(_activation(name, given, bound) for name, bound in zip(lower, bounds, strict=False))
    places = [slice(number * size, (number + 1) * size) for number in range(directions)]
    return [Cell(clip is None and lower[place] == usual, functions[place]) for place in places]


def _activation(name: str, given: dict[str, Iterator[float]], clip: float | None) -> Activation:
    if name not in _ACTIVATIONS:
        message = f"The activation {name!r} of a recurrent operator is not implemented"
        raise UnsupportedOpError(message, activation=name)
    function, parameters = _ACTIVATIONS[name]
    values = {parameter: next(given[parameter], None) for parameter in parameters}
    chosen = functools.partial(function, **{key: value for key, value in values.items() if value is not None})
    return chosen if clip is None else lambda X: chosen(torch.clamp(X, -clip, clip))


def rnn_steps(X: Tensor, weights: Weights, states: States, f: Activation) -> States:
    """Ht = f(Xt W + Ht-1 R + Wb + Rb)."""
    of_input, of_recurrence = weights.biases()

    def step(projected: Tensor, H: Tensor) -> States:
        return (f(projected + H @ weights.R.T),)

    return _loop(step, X @ weights.W.T + of_input + of_recurrence, states)


def gru_steps(
    X: Tensor, weights: Weights, states: States, f: Activation, g: Activation, *, linear_before_reset: bool
) -> States:
    """Ht = (1 - zt) ht + zt Ht-1 with the update gate zt and the candidate ht, for which rt resets Ht-1."""
    of_input, of_recurrence = weights.biases()
    size = weights.R.shape[-1]
    R_zr, R_h = torch.split(weights.R, [2 * size, size])
    b_zr, b_h = torch.split(of_recurrence, [2 * size, size])

    def step(projected: Tensor, H: Tensor) -> States:
        x_zr, x_h = torch.split(projected, [2 * size, size], -1)
        z, r = f(x_zr + H @ R_zr.T + b_zr).chunk(2, -1)
        recurrent = r * (H @ R_h.T + b_h) if linear_before_reset else (r * H) @ R_h.T + b_h
        return ((1 - z) * g(x_h + recurrent) + z * H,)

    return _loop(step, X @ weights.W.T + of_input, states)


def lstm_steps(
    X: Tensor,
    weights: Weights,
    states: States,
    f: Activation,
    g: Activation,
    h: Activation,
    *,
    input_forget: bool,
    lens: Tensor | None = None,
) -> States:
    """Ct = ft Ct-1 + it ct and Ht = ot h(Ct), with the gates it, ot and ft and the candidate ct.

    With `lens`, (N), the states are 0 after the end of each sequence. What they are there matters only to weights whose
    products mix sequences.
    """
    of_input, of_recurrence = weights.biases()
    P_i, P_o, P_f = (None, None, None) if weights.P is None else weights.P.chunk(3)

    def step(projected: Tensor, H: Tensor, C: Tensor) -> States:
        i, o, forget, c = (projected + weights.of_state(H)).chunk(4, -1)
        i = f(_peeped(i, P_i, C))
        forget = 1 - i if input_forget else f(_peeped(forget, P_f, C))
        C = forget * C + i * g(c)
        return f(_peeped(o, P_o, C)) * h(C), C

    return _loop(step, weights.of_steps(X) + of_input + of_recurrence, states, lens)


def _peeped(gate: Tensor, P: Tensor | None, C: Tensor) -> Tensor:
    return gate if P is None else gate + P * C


def _loop(step: Step, projected: Tensor, states: States, lens: Tensor | None = None) -> States:
    after = []
    for number, inputs in enumerate(projected.unbind()):
        states = step(inputs, *states)
        if lens is not None:
            states = tuple(torch.where((number < lens)[:, None], state, 0.0) for state in states)
        after.append(states)
    return tuple(torch.stack(kind) for kind in zip(*after, strict=True))


def can_fuse() -> bool:
    """Whether torch's fused kernels work here; they have no rule for functorch's transforms, e.g. `torch.func.vmap`."""
    return not torch._C._are_functorch_transforms_active()  # noqa: SLF001 - torch has no public name for it


def fused_rnn(X: Tensor, weights: Weights, states: States) -> States:
    """`rnn_steps` with tanh."""
    Y, _ = torch.rnn_tanh(X, states[0][None], _parameters(weights, (0,)), *_fused_settings(weights))
    return (Y,)


def fused_gru(X: Tensor, weights: Weights, states: States) -> States:
    """`gru_steps` with sigmoid, tanh and `linear_before_reset`."""
    # update, reset, hidden -> reset, update, hidden
    Y, _ = torch.gru(X, states[0][None], _parameters(weights, (1, 0, 2)), *_fused_settings(weights))
    return (Y,)


def fused_lstm(X: Tensor, weights: Weights, states: States) -> States:
    """`lstm_steps` with sigmoid and twice tanh, without peepholes; of the cell only the last state, (1, N, H)."""
    before = [state[None] for state in states]
    # input, output, forget, cell -> input, forget, cell, output
    Y, _, C = torch.lstm(X, before, _parameters(weights, (0, 2, 3, 1)), *_fused_settings(weights))
    return Y, C


def _parameters(weights: Weights, order: Sequence[int]) -> list[Tensor]:
    """Return the weights as torch has them, its gates being in this order of ONNX's."""
    stacked = [weights.W, weights.R, *(() if weights.B is None else weights.B.chunk(2))]
    split = [tensor.chunk(len(order)) for tensor in stacked]
    return [torch.cat([gates[index] for index in order]) for gates in split]


def _fused_settings(weights: Weights) -> tuple[bool, int, float, bool, bool, bool]:
    """Biases, layers, dropout, training (without which cuDNN gives no gradient), bidirectional, batch first."""
    return weights.B is not None, 1, 0.0, True, False, False
