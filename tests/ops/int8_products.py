"""Nodes of every operator that multiplies uint8 by int8, with numbers over the whole range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tests.ops.oracle import node_model
from tests.ops.quantities import MICROSOFT, integers, scale

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        op_type: The operator.
        inputs: Its inputs.
        domain: Its domain.
        attributes: Its attributes.
        outputs: How many it has.
        weights: Which inputs an exporter writes as weights.
    """

    op_type: str
    inputs: tuple[Array | None, ...]
    domain: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    weights: frozenset[int] = frozenset()

    def model(self, *, constant: bool) -> onnx.ModelProto:
        """Write it, with its weights as such or as inputs of the model."""
        model = node_model(
            self.op_type, self.inputs, 21, outputs=self.outputs, domain=self.domain, **dict(self.attributes)
        )
        for place in sorted(self.weights) if constant else ():
            name = f"x{place}"
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(self.inputs[place]), name))
            model.graph.input.remove(next(value for value in model.graph.input if value.name == name))
        return model

    def feeds(self, model: onnx.ModelProto) -> dict[str, Array]:
        """Return what a model of the case is fed."""
        given = {f"x{place}": array for place, array in enumerate(self.inputs) if array is not None}
        return {value.name: given[value.name] for value in model.graph.input}


def _zero(value: int, dtype: Any) -> Array:
    return np.array(value, dtype)


def cases() -> dict[str, Case]:
    """Return them by name."""
    rng = np.random.default_rng(0)
    u8, s8 = np.uint8, np.int8
    found: dict[str, Case] = {}
    for K in (9, 64, 1000):
        a, b = integers(rng, u8, 8, K), integers(rng, s8, K, 12)
        columns = rng.uniform(0.005, 0.02, 12).astype(np.float32)
        after = (scale(0.05 * K**0.5), _zero(128, u8))
        left, right = (a, scale(0.017), _zero(115, u8)), (scale(0.013), _zero(0, s8))
        found |= {
            f"MatMulInteger {K}": Case("MatMulInteger", (a, b), weights=frozenset({1})),
            f"MatMulInteger of one row {K}": Case(
                "MatMulInteger", (a[:1], b, _zero(3, u8), integers(rng, s8, 12)), weights=frozenset({1, 3})
            ),
            f"QLinearMatMul {K}": Case("QLinearMatMul", (*left, b, *right, *after), weights=frozenset({3, 4, 5})),
            f"QGemm {K}": Case(
                "QGemm",
                (*left, b.T.copy(), *right, None, *after),
                MICROSOFT,
                {"transB": 1},
                weights=frozenset({3, 4, 5}),
            ),
            f"QGemm to floats {K}": Case(
                "QGemm",
                (a.T.copy(), *left[1:], b, columns, integers(rng, s8, 12)),
                MICROSOFT,
                {"transA": 1},
                weights=frozenset({3, 4, 5}),
            ),
            f"MatMulIntegerToFloat {K}": Case(
                "MatMulIntegerToFloat",
                (integers(rng, u8, 2, 4, K), b, scale(0.1), columns),
                MICROSOFT,
                weights=frozenset({1, 3}),
            ),
            f"DynamicQuantizeMatMul {K}": Case(
                "DynamicQuantizeMatMul",
                (rng.normal(size=(2, 4, K)).astype(np.float32), b, scale(0.01)),
                MICROSOFT,
                weights=frozenset({1, 2}),
            ),
        }
    found["MatMulInteger of stacks"] = Case("MatMulInteger", (integers(rng, u8, 2, 4, 64), integers(rng, s8, 2, 64, 5)))
    found["MatMulInteger of rows"] = Case("MatMulInteger", (integers(rng, u8, 64), integers(rng, s8, 64, 5)))
    found["MatMulInteger of columns"] = Case("MatMulInteger", (integers(rng, u8, 3, 64), integers(rng, s8, 64)))
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
        "plain": ((2, 6, 9, 9), (8, 6, 3, 3), {}),
        "few channels": ((1, 3, 9, 9), (8, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
        "groups": ((1, 6, 9, 9), (8, 3, 3, 3), {"group": 2, "pads": [0, 1, 2, 1]}),
        "depthwise": ((1, 8, 9, 9), (8, 1, 3, 3), {"group": 8}),
        "depthwise, twice as many": ((1, 8, 9, 9), (16, 1, 3, 3), {"group": 8}),
        "one channel": ((1, 1, 9, 9), (1, 1, 3, 3), {}),
        "steps": ((1, 5, 9, 9), (8, 5, 3, 3), {"strides": [2, 2], "dilations": [2, 1]}),
        "points": ((1, 63, 3, 3), (33, 63, 1, 1), {}),
        "signals": ((1, 5, 20), (6, 5, 3), {"pads": [1, 1]}),
        "volumes": ((1, 3, 7, 7, 7), (4, 3, 3, 3, 3), {}),
        "same size": ((1, 4, 9, 9), (8, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    }
    for name, (x, w, attributes) in shapes.items():
        taps = int(np.prod(w[1:]))
        image = (integers(rng, u8, *x), scale(0.01), _zero(115, u8))
        filters = (integers(rng, s8, *w), rng.uniform(0.005, 0.02, w[0]).astype(np.float32), np.zeros(w[0], s8))
        bias = rng.integers(-500, 500, w[0]).astype(np.int32)
        quantized = (*image, *filters, scale(0.01 * taps), _zero(128, u8), bias)
        found[f"QLinearConv, {name}"] = Case(
            "QLinearConv", quantized, attributes=attributes, weights=frozenset({3, 4, 5, 8})
        )
        unsigned = (integers(rng, s8, *x), integers(rng, u8, *w), _zero(-5, s8), _zero(3, u8))
        found[f"ConvInteger, {name}"] = Case("ConvInteger", unsigned, attributes=attributes, weights=frozenset({1, 3}))
        if name == "plain":
            last = (np.moveaxis(image[0], 1, -1).copy(), *quantized[1:])
            found["QLinearConv, channels last"] = Case(
                "QLinearConv", last, MICROSOFT, {"channels_last": 1}, weights=frozenset({3, 4, 5, 8})
            )
    attention = (integers(rng, u8, 2, 4, 8), integers(rng, s8, 8, 24), rng.normal(size=24).astype(np.float32))
    attention = (*attention, scale(0.017), scale(0.01), None, _zero(115, u8), _zero(0, s8))  # type: ignore[assignment]
    found["QAttention"] = Case("QAttention", attention, MICROSOFT, {"num_heads": 2}, weights=frozenset({1, 2, 4, 7}))
    for directions, direction in ((1, "forward"), (2, "bidirectional")):
        lstm = (
            rng.normal(size=(6, 3, 20)).astype(np.float32),
            integers(rng, s8, directions, 20, 32),
            integers(rng, s8, directions, 8, 32),
            *(None,) * 5,
            np.full(directions, 0.004, np.float32),
            np.zeros(directions, s8),
            np.full(directions, 0.005, np.float32),
            np.zeros(directions, s8),
        )
        found[f"DynamicQuantizeLSTM, {direction}"] = Case(
            "DynamicQuantizeLSTM",
            lstm,
            MICROSOFT,
            {"hidden_size": 8, "direction": direction},
            outputs=3,
            weights=frozenset({1, 2, 8, 9, 10, 11}),
        )
    return found


CASES = cases()
EXACT = frozenset({"QLinearConv, depthwise", "QLinearConv, one channel"})
"""Those whose kernel pairs no products."""
