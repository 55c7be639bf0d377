"""What an operator is to a comparison: of one kind with others, transparent, or a quantizer."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

_SAME: Mapping[str, str] = {
    "ConvInteger": "Conv",
    "FusedConv": "Conv",
    "NhwcConv": "Conv",
    "NhwcFusedConv": "Conv",
    "QLinearConv": "Conv",
    "DynamicQuantizeMatMul": "Gemm",
    "FusedGemm": "Gemm",
    "FusedMatMul": "Gemm",
    "MatMul": "Gemm",
    "MatMulInteger": "Gemm",
    "MatMulIntegerToFloat": "Gemm",
    "MatMulNBits": "Gemm",
    "QGemm": "Gemm",
    "QLinearMatMul": "Gemm",
    "TransposeMatMul": "Gemm",
    "DynamicQuantizeLSTM": "LSTM",
    "NhwcMaxPool": "MaxPool",
    "QLinearAveragePool": "AveragePool",
    "GlobalAveragePool": "ReduceMean",
    "QLinearGlobalAveragePool": "ReduceMean",
    "QLinearReduceMean": "ReduceMean",
    "GlobalMaxPool": "ReduceMax",
    "Sum": "Add",
    "QLinearAdd": "Add",
    "QLinearMul": "Mul",
    "QLinearConcat": "Concat",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "SpaceToDepth": "DepthToSpace",
    "Upsample": "Resize",
    "SkipLayerNormalization": "LayerNormalization",
    "SimplifiedLayerNormalization": "LayerNormalization",
    "BiasGelu": "Gelu",
    "FastGelu": "Gelu",
    "QuickGelu": "Gelu",
}
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "pooling": ("MaxPool", "AveragePool", "LpPool", "ReduceMean", "ReduceMax", "ReduceSum"),
    "arithmetic": ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Pow"),
    "activation": (
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Erf", "Mish"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Softplus", "Softsign"),
    ),
    "normalization": (
        *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LRN"),
        *("RMSNormalization", "MeanVarianceNormalization", "LpNormalization"),
    ),
    "exponential": ("Softmax", "LogSoftmax", "Hardmax"),
    "convolution": ("Conv", "ConvTranspose", "DeformConv"),
}
_FAMILY_OF = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}
REARRANGING = frozenset(
    {"Identity", "Dropout", "Cast", "CastLike", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
)
QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ABSORBED = frozenset(
    {"BatchNormalization", "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Pad", "ImageScaler", "LeakyRelu", "Sigmoid"}
)
"""Operators that an optimizer or an exporter writes into a neighbor, where their other inputs are constants."""
_OUTPUT_SCALES: Mapping[str, int] = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QGemm": 7,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QLinearLeakyRelu": 3,
    "QLinearSigmoid": 3,
    "QLinearSoftmax": 3,
    "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3,
    "QLinearReduceMean": 3,
    "QLinearConcat": 0,
    "QLinearWhere": 7,
}
"""Where these operators take the scale of their output; its zero point comes next."""


def kind_of(node: ir.Node) -> str:
    """Return what an operator does, whatever its form: `QLinearConv` and `FusedConv` are convolutions."""
    return _SAME.get(node.op_type, node.op_type)


def family_of(node: ir.Node) -> str:
    """Return the operators for which this one may have been taken by mistake, by a common name."""
    return _FAMILY_OF.get(kind_of(node), kind_of(node))


def is_transparent(node: ir.Node) -> bool:
    """Whether an operator hands on what it gets, in another order or type."""
    return node.op_type in REARRANGING | QUANTIZING


def is_absorbed(node: ir.Node, inputs: int) -> bool:
    """Whether an operator may be part of its neighbor in another file.

    Args:
        node: The node.
        inputs: How many of its inputs depend on the model's.
    """
    return inputs == 1 and (is_transparent(node) or node.op_type in _ABSORBED)


def is_quantized(node: ir.Node) -> bool:
    """Whether an operator computes with integers that stand for floats, or with weights that were such."""
    named = ("DequantizeLinear", "MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
    return node.op_type in named or node.op_type.endswith("Integer") or node.op_type.startswith("QLinear")


def output_scale(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None] | None:
    """Return scale and zero point of the integers that a node makes; None: it quantizes nothing."""
    at = _OUTPUT_SCALES.get(node.op_type)
    if at is None:
        return None
    inputs = [*node.inputs, None, None]
    return inputs[at], inputs[at + 1] if at + 1 < len(node.inputs) else None
