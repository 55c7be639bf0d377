"""Weights that no training leaves behind: NaN, infinities, negative variances, scales that are no scales, zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.checks.concluding import concluded
from onnxvis.checks.readers import REARRANGING, WHOLE, first_layer, uses
from onnxvis.config import CheckSettings
from onnxvis.graph import computed_values, real_inputs
from onnxvis.inspection import Inspection
from onnxvis.model import Model
from onnxvis.outcomes import Detail, Outcome

Array = np.ndarray[Any, Any]

_CHUNK = 1 << 22
"""Elements that are looked at together: weights that lie in a file are never in memory as a whole."""
_WEIGHTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "DeformConv", "FusedMatMul"), frozenset({1})),
    **dict.fromkeys(("Gemm", "MatMul", "FusedGemm"), frozenset({0, 1})),
}
"""Where the weights of linear layers are among their inputs."""
_LEARNED = frozenset(
    {*_WEIGHTS, "BatchNormalization", "GRU", "GroupNormalization", "InstanceNormalization", "LSTM", "RNN"}
    | {"LayerNormalization", "PRelu", "SkipLayerNormalization", "Attention", "SimplifiedLayerNormalization"}
)
"""Operators none of whose weights can be infinite; others mask with -Inf."""
_VARIANCE = 4
_SCALES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), (1,)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), (1, 4, 6)),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu"), (1, 3)),
    **dict.fromkeys(("QLinearSigmoid", "QLinearSoftmax"), (1, 3)),
    "QGemm": (1, 4, 7),
    "DynamicQuantizeMatMul": (2,),
    "MatMulIntegerToFloat": (2, 3),
}
_CONCATENATED = "QLinearConcat"
_TESTING = frozenset({"Equal", "IsNaN", "Pad", "Where"})
"""Operators that NaN is written for as a mark, and not computed with."""
_PRODUCTS = frozenset({"FusedGemm", "FusedMatMul", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Contents:
    """What the numbers of a weight are like.

    Attributes:
        nan: How many are NaN.
        infinite: How many are infinite.
        low: The smallest that is finite; infinite where none is.
        high: The largest, likewise.
    """

    nan: int
    infinite: int
    low: float
    high: float


def check_weights(inspection: Inspection, settings: CheckSettings) -> Outcome:  # noqa: ARG001 - as all checks
    """Look at every float constant of the model, subgraphs included.

    Args:
        inspection: The model.
        settings: As for all checks.
    """
    model = inspection.model
    found = list(constants(model.ir.graph))
    details = [detail for value, tensor in found for detail in _details(model, value, tensor)]
    return concluded("weights", details, f"{len(found)} float weights are finite")


def constants(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Yield the float initializers and results of Constant nodes, of subgraphs too.

    Args:
        graph: The main graph.
    """
    graphs = [graph, *graph.subgraphs()]
    values = [value for each in dict.fromkeys(graphs) for value in each.initializers.values()]
    nodes = [node for node in ir.traversal.RecursiveGraphIterator(graph) if node.op_type == "Constant"]
    for value in [*values, *(node.outputs[0] for node in nodes)]:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None and tensor.dtype.is_floating_point() and tensor.size > 0:
            yield value, tensor


def contents(tensor: ir.TensorProtocol) -> Contents:
    """Look at the numbers of a weight, part by part.

    Args:
        tensor: Of floats; one that lies in a file is mapped and not read as a whole.
    """
    flat = np.asarray(tensor.numpy()).reshape(-1)
    nan = infinite = 0
    low, high = np.inf, -np.inf
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        # Half precision has no fast comparisons, and the smallest types none at all.
        part = part if part.dtype in (np.float32, np.float64) else part.astype(np.float32)
        least, most = float(part.min()), float(part.max())
        if not np.isfinite(least + most):
            nan += int(np.isnan(part).sum())
            infinite += int(np.isinf(part).sum())
            part = part[np.isfinite(part)]
            least, most = float(part.min(initial=np.inf)), float(part.max(initial=-np.inf))
        low, high = min(low, least), max(high, most)
    return Contents(nan, infinite, low, high)


def _details(model: Model, value: ir.Value, tensor: ir.TensorProtocol) -> Iterator[Detail]:
    found = contents(tensor)
    reads = list(uses(value))
    problems = [*_problems(found, tensor, reads)]
    if found.low == found.high == 0 and _is_lost(model, value):
        problems.append(
            ("fail", f"holds {tensor.size} zeros and nothing else: the weights were lost, export the model again")
        )
    for status, problem in problems:
        layer = first_layer(model, value)
        where = "read by no layer" if layer is None else f"first read by {layer!r}"
        figures: dict[str, float | int | str] = {"nan": found.nan, "infinite": found.infinite, "size": tensor.size}
        yield Detail(
            "fail" if status == "fail" and reads else "warn",
            f"weight {value.name!r}, {where}, {problem}",
            layer,
            str(value.name),
            figures,
        )


def _problems(
    found: Contents, tensor: ir.TensorProtocol, reads: list[tuple[ir.Node, int]]
) -> Iterator[tuple[str, str]]:
    learned = [node for node, _ in reads if node.op_type in _LEARNED]
    if found.nan:
        is_mark = _is_mark(reads)
        remedy = "it is a mark as it seems, else export" if is_mark else "train or export"
        yield (
            "warn" if is_mark else "fail",
            f"has {found.nan} NaN among {tensor.size} numbers: {remedy} the model again",
        )
    if found.infinite and learned:
        half = tensor.dtype.itemsize < np.dtype(np.float32).itemsize
        cause = f": too large for {tensor.dtype.name.lower()}, keep it in float32" if half else ""
        yield "fail", f"has {found.infinite} infinite among {tensor.size} numbers{cause or ': export the model again'}"
    if found.low < 0 and any(_is_variance(node, place) for node, place in reads):
        yield "fail", f"is a variance and holds {found.low:g}: a square cannot be negative, export the model again"
    if found.low <= 0 and any(_is_scale(node, place) for node, place in reads):
        worst = "fail" if found.low < 0 or tensor.size == 1 else "warn"
        yield worst, f"is a quantization scale and holds {found.low:g}: scales are above 0, quantize the model again"


def _is_mark(reads: list[tuple[ir.Node, int]]) -> bool:
    """Tell whether a weight is read by tests alone, behind what rearranges it."""
    readers = [node for node, place in reads if node.op_type not in REARRANGING or _is_scale(node, place)]
    return bool(readers) and all(node.op_type in _TESTING for node in readers)


def _is_lost(model: Model, value: ir.Value) -> bool:
    """Tell whether a weight of zeros is all that some layer has."""
    reads = [(node, place) for node, place in uses(value, WHOLE) if place in _WEIGHTS.get(node.op_type, ())]
    if not reads:
        return False
    steady = set(model.ir.graph.initializers.values()) | {output for node in model.ir.graph for output in node.outputs}
    steady -= {*computed_values(model.ir.graph), *real_inputs(model.ir.graph)}
    return any(
        node.op_type not in _PRODUCTS or (len(node.inputs) > 1 and node.inputs[1 - place] not in steady)
        for node, place in reads
    )


def _is_variance(node: ir.Node, place: int) -> bool:
    return node.op_type == "BatchNormalization" and place == _VARIANCE


def _is_scale(node: ir.Node, place: int) -> bool:
    if node.op_type == _CONCATENATED:
        # The result's scale and zero point, then a tensor, its scale and its zero point for each input.
        return place % 3 == 0
    return place in _SCALES.get(node.op_type, ())
