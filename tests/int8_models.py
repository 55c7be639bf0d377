"""Networks that onnxruntime's quantizer wrote in integers of 8 bits, in all of its ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tests.models import parsed

CONVOLUTIONS = """<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 16, 16] x) => (float[1, 5] y) {
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
    r1 = Relu (c1)
    c2 = Conv <pads = [1, 1, 1, 1], group = 8> (r1, w2)
    c3 = Conv (c2, w3)
    r3 = Relu (c3)
    g = GlobalAveragePool (r3)
    f = Flatten (g)
    y = MatMul (f, w4)
}"""
PERCEPTRON = """<ir_version: 8, opset_import: ["": 17]> net (float[4, 32] x) => (float[4, 5] y) {
    a = MatMul (x, w1)
    r = Relu (a)
    y = MatMul (r, w2)
}"""
RECURRENT = """<ir_version: 8, opset_import: ["": 14]> net (float[6, 1, 24] x) => (float[6, 2, 1, 16] y) {
    y, h, c = LSTM <direction = "bidirectional", hidden_size = 16> (x, w, r, b)
}"""
_SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    CONVOLUTIONS: {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (12, 8, 3, 3), "w4": (12, 5)},
    PERCEPTRON: {"w1": (32, 24), "w2": (24, 5)},
    RECURRENT: {"w": (2, 64, 24), "r": (2, 64, 16), "b": (2, 128)},
}


def floats(text: str, folder: Path) -> Path:
    """Write a network; its weights are uniform, so that many are large."""
    generator = np.random.default_rng(0)
    weights = {name: generator.uniform(-1, 1, shape).astype(np.float32) for name, shape in _SHAPES[text].items()}
    path = folder / "floats.onnx"
    onnx.save(parsed(text, **weights), path)
    return path


def fed(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Draw what a network is fed, from 0 to 1."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).random(shape, np.float32)}


class _Drawn(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        self.left = [fed(model, seed) for seed in range(1, 5)]

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """The next one, by the name of the model's input."""
        return self.left.pop() if self.left else None


def static(
    folder: Path, *, form: QuantFormat = QuantFormat.QDQ, activations: QuantType = QuantType.QUInt8, **settings: Any
) -> Path:
    """Quantize the convolutions; the weights are int8 unless `weight_type` says otherwise."""
    path = folder / "integers.onnx"
    source = floats(CONVOLUTIONS, folder)
    settings = {"weight_type": QuantType.QInt8, **settings}
    quantize_static(source, path, _Drawn(source), quant_format=form, activation_type=activations, **settings)
    return path


def dynamic(folder: Path, text: str = PERCEPTRON, **settings: Any) -> Path:
    """Quantize the weights, and activations when the network runs."""
    path = folder / "integers.onnx"
    quantize_dynamic(floats(text, folder), path, **{"weight_type": QuantType.QInt8, **settings})
    return path


CLIPPED: Mapping[str, Callable[[Path], Path]] = {
    "static, per tensor": static,
    "static, per channel": lambda folder: static(folder, per_channel=True),
    "static, int8 activations": lambda folder: static(folder, activations=QuantType.QInt8),
    "QOperator": lambda folder: static(folder, form=QuantFormat.QOperator),
    "dynamic": dynamic,
    "recurrent": lambda folder: dynamic(folder, RECURRENT),
}
"""Those in which onnxruntime multiplies uint8 by int8."""
EXACT: Mapping[str, Callable[[Path], Path]] = {
    "uint8 weights": lambda folder: static(folder, weight_type=QuantType.QUInt8),
    "QOperator, int8 activations": lambda folder: static(
        folder, form=QuantFormat.QOperator, activations=QuantType.QInt8
    ),
    "dynamic, uint8 weights": lambda folder: dynamic(folder, weight_type=QuantType.QUInt8),
    "float": lambda folder: floats(CONVOLUTIONS, folder),
}
"""Those in which it does not."""
REDUCED: Mapping[str, Callable[[Path], Path]] = {
    "static, 7 bits": lambda folder: static(folder, reduce_range=True),
    "static per channel, 7 bits": lambda folder: static(folder, reduce_range=True, per_channel=True),
    "dynamic, 7 bits": lambda folder: dynamic(folder, reduce_range=True),
}
"""Those in which it does, and no sum can overflow."""
