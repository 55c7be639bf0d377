"""Recurrent layers; the equations are those of the ONNX specification, and a layer has one or two directions.

X is (T, N, I): steps, batch, inputs. The initial and the last states are (D, N, H), D being the number of directions,
and Y is (T, D, N, H). With `layout=1` the batch comes first: (N, T, I), (N, D, H) and (N, T, D, H).

A sequence that `sequence_lens` makes shorter than T is 0 in Y after its end, its last states are those at its end, and
"reverse" runs from there. `hidden_size` is read from the weights; `output_sequence` announced, before opset 7, that Y
is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.recurrence import (
    Cell,
    States,
    Weights,
    can_fuse,
    cells,
    fused_gru,
    fused_lstm,
    fused_rnn,
    gru_steps,
    lstm_steps,
    rnn_steps,
)
from onnxvis.ops.table import Floats, operator

Strings = tuple[str, ...]
Run = Callable[[Cell, Tensor, Weights, States], States]

_BACKWARD = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Layer:
    """What every recurrent layer has, whatever its cell; its attributes are those of the operators."""

    direction: str
    layout: int
    outputs: int
    W: Tensor
    R: Tensor
    B: Tensor | None
    sequence_lens: Tensor | None
    initial: tuple[Tensor | None, ...]
    P: Tensor | None = None

    def __post_init__(self) -> None:
        if self.direction not in _BACKWARD:
            message = f"The direction {self.direction!r} of a recurrent operator is not implemented"
            raise UnsupportedOpError(message, direction=self.direction)

    @property
    def backward(self) -> tuple[bool, ...]:
        """For each direction whether it is the reverse one."""
        return _BACKWARD[self.direction]

    def weights(self, number: int) -> Weights:
        """Those of one direction."""
        B, P = (None if tensor is None else tensor[number] for tensor in (self.B, self.P))
        return Weights(self.W[number], self.R[number], B, P)

    def states(self, X: Tensor, number: int) -> States:
        """Those of one direction before the first step, each (N, H)."""
        zeros = X.new_zeros(X.shape[1], self.R.shape[-1])
        axis = 1 if self.layout else 0
        return tuple(zeros if state is None else state.select(axis, number) for state in self.initial)


@operator("RNN")
def rnn(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings = ("Tanh", "Tanh"),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_sequence: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Return Y and the last H of Ht = f(Xt W + Ht-1 R + Wb + Rb).

    Raises:
        UnsupportedOpError: An activation or a direction that the specification does not have.
    """
    del hidden_size, output_sequence
    layer = Layer(direction, layout, outputs, W, R, B, sequence_lens, (initial_h,))

    def run(cell: Cell, X: Tensor, weights: Weights, states: States) -> States:
        if cell.usual and can_fuse():
            return fused_rnn(X, weights, states)
        return rnn_steps(X, weights, states, *cell.functions)

    kinds = cells(len(layer.backward), ("tanh",), activations, activation_alpha, activation_beta, clip)
    return outputs_of(layer, run, kinds, X)


@operator("GRU")
def gru(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Return Y and the last H of Ht = (1 - zt) ht + zt Ht-1, with an update gate zt and a candidate ht.

    Raises:
        UnsupportedOpError: An activation or a direction that the specification does not have.
    """
    del hidden_size, output_sequence
    layer = Layer(direction, layout, outputs, W, R, B, sequence_lens, (initial_h,))

    def run(cell: Cell, X: Tensor, weights: Weights, states: States) -> States:
        if cell.usual and linear_before_reset and can_fuse():
            return fused_gru(X, weights, states)
        return gru_steps(X, weights, states, *cell.functions, linear_before_reset=bool(linear_before_reset))

    usual = ("sigmoid", "tanh")
    kinds = cells(len(layer.backward), usual, activations, activation_alpha, activation_beta, clip)
    return outputs_of(layer, run, kinds, X)


@operator("LSTM")
def lstm(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    P: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Return Y and the last H and C of Ct = ft Ct-1 + it ct and Ht = ot h(Ct), with three gates and a candidate ct.

    Raises:
        UnsupportedOpError: An activation or a direction that the specification does not have.
    """
    del hidden_size, output_sequence
    layer = Layer(direction, layout, outputs, W, R, B, sequence_lens, (initial_h, initial_c), P)
    # The fused kernel gives no C but the last, and a shorter sequence needs that at its end.
    is_plain = P is None and not input_forget and (sequence_lens is None or outputs <= 2)  # noqa: PLR2004 - Y and H

    def run(cell: Cell, X: Tensor, weights: Weights, states: States) -> States:
        if cell.usual and is_plain and can_fuse():
            return fused_lstm(X, weights, states)
        return lstm_steps(X, weights, states, *cell.functions, input_forget=bool(input_forget))

    usual = ("sigmoid", "tanh", "tanh")
    kinds = cells(len(layer.backward), usual, activations, activation_alpha, activation_beta, clip)
    return outputs_of(layer, run, kinds, X)


def outputs_of(layer: Layer, run: Run, kinds: list[Cell], X: Tensor) -> Tensor | tuple[Tensor, ...]:
    """Run all directions and arrange what comes out: Y, then the last states.

    Args:
        layer: The layer.
        run: Computes one direction forward in time; see `onnxvis.ops.recurrence`.
        kinds: The cell of each direction.
        X: (T, N, I), or (N, T, I) with `layout=1`.

    Raises:
        ValueError: The shapes do not fit together.
    """
    X = X.transpose(0, 1) if layer.layout else X
    Ys, ends = [], []
    for number, (kind, is_backward) in enumerate(zip(kinds, layer.backward, strict=True)):
        forward = _reversed(X, layer.sequence_lens) if is_backward else X
        weights, before = layer.weights(number), layer.states(X, number)
        _check_shapes(X, weights, before)
        states = run(kind, forward, weights, before)
        Y = _cut(states[0], layer.sequence_lens)
        Ys.append(_reversed(Y, layer.sequence_lens) if is_backward else Y)
        ends.append([_at_end(state, layer.sequence_lens) for state in states[: max(layer.outputs - 1, 0)]])
    last = [torch.stack(direction, 0) for direction in zip(*ends, strict=True)]
    Y = torch.stack(Ys, 1)
    if layer.layout:
        # (T, D, N, H) -> (N, T, D, H)
        Y, last = Y.permute(2, 0, 1, 3), [state.transpose(0, 1) for state in last]
    return Y if layer.outputs == 1 else (Y, *last)


def _check_shapes(X: Tensor, weights: Weights, states: States) -> None:
    """Refuse what does not fit together: some of torch's kernels end the process."""
    hidden = weights.R.shape[1]
    fits = (
        X.ndim == 3  # noqa: PLR2004 - (T, N, inputs)
        and weights.W.shape[1] == X.shape[2]
        and len(weights.W) == len(weights.R)
        and all(tuple(state.shape) == (X.shape[1], hidden) for state in states)
        and (weights.B is None or weights.B.numel() == 2 * len(weights.R))
    )
    if not fits:
        found = [tuple(state.shape) for state in states]
        message = (
            f"X {tuple(X.shape)}, W {tuple(weights.W.shape)}, R {tuple(weights.R.shape)} and states {found} do not fit"
        )
        raise ValueError(message)


def _reversed(X: Tensor, lens: Tensor | None) -> Tensor:
    """Reverse each sequence of (T, N, ...) up to its end."""
    if lens is None:
        return X.flip(0)
    steps = torch.arange(len(X), device=X.device)[:, None]
    places = torch.where(steps < lens, lens - 1 - steps, steps)
    return X.gather(0, places[..., None].expand(X.shape))


def _cut(Y: Tensor, lens: Tensor | None) -> Tensor:
    """Put 0 after the end of each sequence of (T, N, H)."""
    if lens is None:
        return Y
    steps = torch.arange(len(Y), device=Y.device)[:, None]
    return torch.where((steps < lens)[..., None], Y, 0.0)


def _at_end(states: Tensor, lens: Tensor | None) -> Tensor:
    """Return of states (T, N, H) those at the end of each sequence, which are 0 for an empty one."""
    if lens is None:
        return states[-1]
    ends = (lens.long() - 1).clamp(min=0)[None, :, None].expand(1, *states.shape[1:])
    return torch.where((lens > 0)[:, None], states.gather(0, ends)[0], 0.0)
