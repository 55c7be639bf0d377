"""The memory that a model asks for, before it is taken: a file of a few bytes may name sizes that no machine has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from onnxvis.errors import InputError, LoweringError

MOST_ELEMENTS = 1 << 28
"""Elements of one tensor, 1 GB of float32: as many as the attention of 16 heads over 64 x 64 patches has."""
_MOST_READ = 1024
_GROWING = frozenset(
    {
        *("AveragePool", "CenterCropPad", "Col2Im", "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose", "DFT"),
        *("DeformConv", "Expand", "EyeLike", "GridSample", "LpPool", "MaxPool", "MaxRoiPool", "MaxUnpool", "OneHot"),
        *("Pad", "QLinearConv", "RandomNormal", "RandomUniform", "Range", "Resize", "RoiAlign", "STFT", "Tile"),
        *("BlackmanWindow", "HammingWindow", "HannWindow", "AffineGrid", "Upsample", "MelWeightMatrix"),
    }
)
"""Operators whose results may be larger than the product of their inputs; all others are bounded by that."""


def refuse_gigantic_inputs(shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse inputs of a size that no machine has.

    Raises:
        InputError: The first such input is named.
    """
    for name, shape in shapes.items():
        if math.prod(shape) > MOST_ELEMENTS:
            message = (
                f"Input {name!r} of shape {tuple(shape)} has more than {MOST_ELEMENTS} elements. Give a smaller size."
            )
            raise InputError(message, name=name, shape=tuple(shape))


def refuse_gigantic_results(
    node: ir.Node, version: int, samples: Sequence[Tensor | None], types: Sequence[int | None], known: Sequence[bool]
) -> None:
    """Refuse to compute a node whose results are larger than memory, as ONNX's inference finds for its very inputs.

    Args:
        node: The node.
        version: The opset of its domain.
        samples: A value of each input; None where it is omitted.
        types: Their ONNX element types.
        known: Which of them have just this value.

    Raises:
        LoweringError: A result has more than `MOST_ELEMENTS` elements.
    """
    bound = math.prod(max(1, sample.numel()) for sample in samples if sample is not None)
    if node.op_type not in _GROWING and bound <= MOST_ELEMENTS:
        return
    for name, shape in _result_shapes(node, version, samples, types, known):
        if math.prod(shape) > MOST_ELEMENTS:
            message = (
                f"Node {node.name or name!r} ({node.op_type}) would make {name!r} of shape {tuple(shape)}, more than "
                f"{MOST_ELEMENTS} elements. Give a smaller size, or take a target before it."
            )
            raise LoweringError(message, node=node.name, tensor=name, shape=tuple(shape))


def _result_shapes(
    node: ir.Node, version: int, samples: Sequence[Tensor | None], types: Sequence[int | None], known: Sequence[bool]
) -> Iterator[tuple[str, list[int]]]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not onnx.defs.has(node.op_type, version, domain):
        return
    proto = ir.to_proto(node)
    inputs = [
        (name, sample, int(dtype), is_known)
        for name, sample, dtype, is_known in zip(proto.input, samples, types, known, strict=True)
        if name and sample is not None and dtype is not None
    ]
    declared = {name: helper.make_tensor_type_proto(dtype, list(sample.shape)) for name, sample, dtype, _ in inputs}
    values = {
        name: numpy_helper.from_array(sample.detach().cpu().numpy(), name)
        for name, sample, _, is_known in inputs
        if is_known and sample.numel() <= _MOST_READ and sample.dtype != torch.bfloat16
    }
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, domain),
            proto,
            declared,
            values,
            opset_imports=[helper.make_opsetid(domain, version)],
        )
    except (KeyError, RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        # What contradicts itself fails when it is computed, and says why.
        return
    for name, type_ in found.items():
        dims = type_.tensor_type.shape.dim
        # An unknown size counts as 1: what is too large with that is too large.
        yield name, [dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims]
