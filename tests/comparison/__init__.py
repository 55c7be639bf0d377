"""Small networks, and pairs of them, for the tests of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from onnxvis.comparison.compare import Comparison, Request, compare_models
from onnxvis.comparison.feeds import probes
from onnxvis.comparison.pairing import Pairing
from onnxvis.comparison.sides import Array, Side
from onnxvis.model import load
from tests.models import parsed

NET = """net (float[1, 3, 16, 16] x) => (float[1, 5] y) {
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu (c1)
    c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
    r2 = Relu (c2)
    p = GlobalAveragePool (r2)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w3, b3)
}"""
ROW = """row (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    ar = Relu (a)
    b = Conv <pads = [1, 1, 1, 1]> (ar, w2)
    br = Relu (b)
    c = Conv <pads = [1, 1, 1, 1]> (br, w3)
    y = Relu (c)
}"""


def drawn(*shape: int, seed: int = 0) -> Array:
    """Draw weights under which nothing explodes or dies."""
    scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.3
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def net(text: str, opset: Any = 17, **weights: Any) -> onnx.ModelProto:
    """Parse a graph and give it weights; numbers become float32."""
    arrays = {name: np.float32(array) if isinstance(array, float) else array for name, array in weights.items()}
    given = {name: np.asarray(array) for name, array in arrays.items()}
    return parsed(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}', **given)


def ints(*numbers: int) -> Array:
    """Return whole numbers, as shapes and axes are."""
    return np.asarray(numbers, np.int64)


def floats(*numbers: float) -> Array:
    """Return numbers in single precision."""
    return np.asarray(numbers, np.float32)


def net_weights() -> dict[str, Array]:
    """Return weights for NET."""
    return {
        "w1": drawn(8, 3, 3, 3, seed=1),
        "b1": drawn(8, seed=1),
        "w2": drawn(10, 8, 3, 3, seed=2),
        "b2": drawn(10, seed=2),
        "w3": drawn(5, 10, seed=3),
        "b3": drawn(5, seed=3),
    }


def row_weights() -> dict[str, Array]:
    """Return weights for ROW."""
    return {"w1": drawn(4, 3, 3, 3, seed=1), "w2": drawn(4, 4, 3, 3, seed=2), "w3": drawn(4, 4, 3, 3, seed=3)}


def compared(first: onnx.ModelProto, second: onnx.ModelProto, **request: Any) -> Comparison:
    """Compare two models."""
    return compare_models(load(first), load(second), Request(**request))


def run_both(first: onnx.ModelProto, second: onnx.ModelProto) -> tuple[tuple[Side, Side], Any]:
    """Run two models of the same input on the same."""
    models = load(first), load(second)
    spec = models[0].inputs[0]
    shapes = {spec.name: tuple(int(dim) for dim in spec.shape or () if isinstance(dim, int))}
    pairing = Pairing(((spec.name, models[1].inputs[0].name),), (shapes, shapes))
    fed = probes(models[0], pairing, overrides={}, held={})
    sides = Side.of(models[0]), Side.of(models[1])
    return sides, (sides[0].run(fed), sides[1].run([{models[1].inputs[0].name: item[spec.name]} for item in fed]))
