"""What tools make of an exported file: onnxruntime's optimizer and quantizers, its float16 converter, onnxslim.

Each function reads one file and writes another, whose weights it holds itself.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

_SAMPLES = 8
_QUIET = 4


class Noise(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Uniform noise in the shape of a file's inputs, the same each time.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path, load_external_data=False).graph
        weights = {tensor.name for tensor in graph.initializer}
        shapes = {
            info.name: [max(dim.dim_value, 1) for dim in info.type.tensor_type.shape.dim]
            for info in graph.input
            if info.name not in weights
        }
        self._feeds = _noise(shapes)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the next feeds, or None at the end."""
        return next(self._feeds, None)


def _noise(shapes: dict[str, list[int]]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    generator = np.random.default_rng(0)
    for _ in range(_SAMPLES):
        yield {name: generator.random(shape, dtype=np.float32) for name, shape in shapes.items()}


def optimized(source: Path, target: Path) -> None:
    """Write what onnxruntime's extended optimizations make of a file: fused operators, no machine's own layout."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _quantized(source: Path, target: Path, form: QuantFormat, **settings: Any) -> None:
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    logging.disable(logging.WARNING)
    try:
        quantize_static(prepared, target, Noise(prepared), quant_format=form, **settings)
    finally:
        logging.disable(logging.NOTSET)


def qdq(source: Path, target: Path) -> None:
    """Quantize activations to uint8 and weights to int8, one scale a channel, as pairs of (de)quantizing operators."""
    settings = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    _quantized(source, target, QuantFormat.QDQ, **settings)


def qoperator(source: Path, target: Path) -> None:
    """Quantize activations and weights to uint8, as operators on integers."""
    _quantized(source, target, QuantFormat.QOperator, activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8)


def half(source: Path, target: Path) -> None:
    """Convert weights and arithmetic to float16; inputs and outputs stay float32."""
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def slim(source: Path, target: Path) -> None:
    """Simplify a file by onnxslim: constants folded, patterns fused."""
    library = importlib.import_module("onnxslim")  # which no other variant needs
    onnx.save(library.slim(onnx.load(source)), target)


def check(path: Path) -> None:
    """Let onnxruntime load a file: some tools write files that are not valid."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


VARIANTS: dict[str, Callable[[Path, Path], None]] = {
    "ort-extended": optimized,
    "qdq": qdq,
    "qoperator": qoperator,
    "float16": half,
    "onnxslim": slim,
}
"""The variants by name."""
