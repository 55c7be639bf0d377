"""The LSTM of domain com.microsoft with quantized weights, for which inputs and states are quantized on the way.

Each direction quantizes the inputs of all steps together, and before each step the outputs of the step before, those of
all sequences together: over the range of the values and 0, to uint8. The products are exact, as in
`onnxvis.ops.quantized`, and the rest is float32. The gradient is that of the same layer without rounding.

So what comes out depends a little on the neighbors in the batch. onnxruntime with several threads quantizes the states
of parts of the batch, one for each thread; here it is always the whole batch, as there with one thread. It also keeps
the last state of a sequence that has ended among those that it quantizes where nobody asks for Y; here that is 0.
Otherwise the two differ by the rounding of float32, until that moves a state from one integer to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.affine import carried
from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_quantized_products import dynamic_quantize_mat_mul
from onnxvis.ops.recurrence import Cell, States, Weights, cells, lstm_steps
from onnxvis.ops.recurrent import Layer, Strings, outputs_of
from onnxvis.ops.table import Floats, Types, operator

_USUAL = ("sigmoid", "tanh", "tanh")


@dataclass(frozen=True)
class _Grid:
    """How the integers of a weight stand for floats.

    Attributes:
        scale: One for each direction, (D), or for each gate's column too, (D, 4 H).
        zero_point: Of the same shape.
        onnx_type: The type of the integers: uint8 or int8.
    """

    scale: Tensor
    zero_point: Tensor
    onnx_type: int | None

    def of(self, direction: int) -> _Grid:
        """That of one direction."""
        return _Grid(self.scale[direction], self.zero_point[direction], self.onnx_type)

    def product(self, X: Tensor, weight: Tensor) -> Tensor:
        """Quantize X, (..., K), and multiply it with the integers of a weight, (4 H, K)."""
        types = (TensorProto.FLOAT, self.onnx_type)
        return dynamic_quantize_mat_mul(X, weight.T, self.scale, self.zero_point, input_types=types)


@dataclass(frozen=True, kw_only=True)
class _QuantizedWeights(Weights):
    """The weights of one direction; W and R are integers that floats carry."""

    W_grid: _Grid
    R_grid: _Grid

    def of_steps(self, X: Tensor) -> Tensor:
        """The product of the inputs of all steps, which are quantized together, with W."""
        return self.W_grid.product(X, self.W)

    def of_state(self, H: Tensor) -> Tensor:
        """The product of the outputs of a step, which are quantized together, with R."""
        return self.R_grid.product(H, self.R)


@dataclass(frozen=True, kw_only=True)
class _QuantizedLayer(Layer):
    """A layer whose W and R are integers that floats carry."""

    W_grid: _Grid
    R_grid: _Grid

    def weights(self, number: int) -> Weights:
        """Those of one direction."""
        plain = super().weights(number)
        grids = {"W_grid": self.W_grid.of(number), "R_grid": self.R_grid.of(number)}
        return _QuantizedWeights(plain.W, plain.R, plain.B, plain.P, **grids)


def _floats(_: Types, __: Mapping[str, Any]) -> Types:
    return (TensorProto.FLOAT,) * 3


@operator("DynamicQuantizeLSTM", domain=DOMAIN, carries=True, types=_floats)
def dynamic_quantize_lstm(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None,
    sequence_lens: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    P: Tensor | None,
    W_scale: Tensor,
    W_zero_point: Tensor,
    R_scale: Tensor,
    R_zero_point: Tensor,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: Strings | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    input_types: Types,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """Return Y and the last H and C of `LSTM` with quantized products.

    Args:
        X: (T, N, I): steps, batch, inputs.
        W: (D, I, 4 H), transposed to that of `LSTM`; D is the number of directions.
        R: (D, H, 4 H), likewise.
        B: As for `LSTM`, like the other inputs and the attributes that are not here.
        sequence_lens: (N).
        initial_h: (D, N, H).
        initial_c: (D, N, H).
        P: (D, 3 H).
        W_scale: One for each direction, or (D, 4 H).
        W_zero_point: Of the same shape.
        R_scale: One for each direction, or (D, 4 H).
        R_zero_point: Of the same shape.
        activation_alpha: Parameters of the activations.
        activation_beta: Likewise.
        activations: f, g and h of each direction.
        clip: A bound on the magnitude of what f and g are given.
        direction: "forward", "reverse" or "bidirectional".
        hidden_size: Read from the weights.
        input_forget: Whether the forget gate is 1 - the input gate.
        input_types: The types of the inputs.
        outputs: How many are wanted.

    Raises:
        UnsupportedOpError: An activation or a direction that the specification does not have.
        ValueError: The shapes do not fit together.
    """
    del hidden_size
    lens = None if sequence_lens is None else sequence_lens.long()
    plain = (direction, 0, outputs, carried(W).mT, carried(R).mT, B, lens, (initial_h, initial_c), P)
    W_grid, R_grid = _Grid(W_scale, W_zero_point, input_types[1]), _Grid(R_scale, R_zero_point, input_types[2])
    layer = _QuantizedLayer(*plain, W_grid=W_grid, R_grid=R_grid)

    def run(cell: Cell, X: Tensor, weights: Weights, states: States) -> States:
        inputs = _of_running(X, lens)
        return lstm_steps(inputs, weights, states, *cell.functions, input_forget=bool(input_forget), lens=lens)

    kinds = cells(len(layer.backward), _USUAL, activations, activation_alpha, activation_beta, clip)
    return outputs_of(layer, run, kinds, X)


def _of_running(X: Tensor, lens: Tensor | None) -> Tensor:
    """Put 0, which every range contains, where all sequences of (T, N, I) have ended."""
    if lens is None:
        return X
    steps = torch.arange(len(X), device=X.device)[:, None, None]
    return torch.where(steps < lens.amax(), X, 0.0)
