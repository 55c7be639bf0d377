"""The LSTM of domain com.microsoft with quantized weights, to which its inputs and states are quantized on the way.

Each direction quantizes the inputs of all steps at once, and before each step the outputs of the step before, for all
sequences together: over the range of their values and 0, to uint8. The products are exact, as in
`onnxvis.ops.quantized`, and the rest is float32. The gradient is that of the same layer without rounding.

So an output depends a little on its neighbors in the batch. onnxruntime with more than one thread quantizes the states
of parts of the batch, one for each thread; here it is always the whole batch, which onnxruntime does with one thread.
Elsewhere the two differ by the rounding of float32, until this moves a state across the border between two integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from onnxvis.ops.contrib_activation import DOMAIN
from onnxvis.ops.contrib_quantized_products import dynamic_quantize_mat_mul
from onnxvis.ops.recurrence import Cell, States, Weights, cells, lstm_steps
from onnxvis.ops.recurrent import Layer, Strings, outputs_of
from onnxvis.ops.table import Floats, Types, operator

_USUAL = ("sigmoid", "tanh", "tanh")


@dataclass(frozen=True)
class _Quantized:
    """A matrix of integers for each direction.

    Attributes:
        values: (D, K, 4 H).
        scale: (D), or (D, 4 H).
        zero_point: Of the same shape.
        onnx_type: That of the values: uint8 or int8.
    """

    values: Tensor
    scale: Tensor
    zero_point: Tensor
    onnx_type: int | None

    def of(self, number: int) -> _Quantized:
        """That of one direction, (K, 4 H)."""
        return _Quantized(self.values[number], self.scale[number], self.zero_point[number], self.onnx_type)

    def product(self, X: Tensor) -> Tensor:
        """Quantize X over its range and multiply it from the left."""
        types = (TensorProto.FLOAT, self.onnx_type)
        return dynamic_quantize_mat_mul(X, self.values, self.scale, self.zero_point, input_types=types)


@dataclass(frozen=True)
class _QuantizedWeights(Weights):
    """The weights of one direction; W and R are integers."""

    quantized: tuple[_Quantized, _Quantized] = ...

    def of_steps(self, X: Tensor) -> Tensor:
        """Quantize the inputs of all steps together."""
        return self.quantized[0].product(X)

    def of_state(self, H: Tensor) -> Tensor:
        """Quantize the outputs of a step."""
        return self.quantized[1].product(H)
