"""Where exporters write which layer a tensor belongs to: in names of nodes, tensors and weights, and in metadata.

A scope is written as torch writes modules, `layer4.2.conv3`, whoever wrote the file:

- torch's dynamo exporter records the modules of each node, from the outermost inwards, and the traced function last;
- its TorchScript exporter, TensorFlow and Keras name nodes by paths, `/layer4/layer4.2/conv3/Conv`;
- Paddle names tensors after layers, `conv2d_0.tmp_0`, and all name weights after layers;
- onnxruntime's fusions keep the name of one node, and the tensor that the last one computed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import onnx_ir as ir

_TORCH_SCOPES = "pkg.torch.onnx.name_scopes"
_TORCH_NAMESPACE = "namespace"
_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul"), (1, 2)),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "GroupNormalization"), (1, 2)),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), (1, 2)),
    "Add": (0, 1),
    "QGemm": (3, 6),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
}
"""Which inputs can be weights, without the scales of quantized tensors."""
_STORING = frozenset({"Cast", "DequantizeLinear", "Identity", "Transpose"})
_WEIGHT = re.compile(
    r"(?:[A-Z]\w*?Fusion_(?:(?:W|BN|B|Add|Mul)_)+)?(?P<module>.+?)[._](?:weights?|w(?:_0)?|kernel|scale|bias|b(?:_0)?)"
    r"(?:_quantized|_DequantizeLinear_Output)*"
)
_TENSOR_SUFFIX = re.compile(r"(?:_output_[0-9]+|:[0-9]+)?(?:_quantized|_DequantizeLinear_Output)*$")
_PADDLE = re.compile(r"(?P<name>.+)\.tmp_[0-9]+|p2o\.pd_op\.(?P<op>.+?)_?\.(?P<number>[0-9]+)\.[0-9]+")
_COUNTED = re.compile(r"node_\w+|(?P<op>[A-Za-z]+)[@._]?[0-9]*")
_FUSED = re.compile(r"^fused |/\w*Fusion\w*/?$|_quant$")


def dotted(path: str) -> str:
    """Write an exporter's path as a module path: `/layer4/layer4.2/conv3` is `layer4.2.conv3`."""
    parts: list[str] = []
    previous = ""
    for part in path.strip("/").split("/"):
        inner = previous and part.startswith(previous + ".")
        parts.append(part[len(previous) + 1 :] if inner else part)
        previous = part
    return ".".join(parts)


def paths(value: ir.Value) -> list[str]:
    """Return the slash-separated names of what computes a value; tf2onnx joins those of fused nodes with semicolons."""
    tensor = str(value.name)
    name = _node_name(value) or tensor
    own = [name, _TENSOR_SUFFIX.sub("", tensor)] if "/" in tensor else [name]
    return list(dict.fromkeys(part.strip("/") for text in own for part in text.split(";") if part.strip("/")))


def scopes(value: ir.Value) -> list[str]:
    """Return the scopes that a value lies in as module paths, from the outermost inwards."""
    found = _recorded(value)
    for path in paths(value):
        parts = path.split("/")
        found += [dotted("/".join(parts[:end])) for end in range(1, len(parts))]
    return list(dict.fromkeys([*found, *layers(value)]))


def module(value: ir.Value) -> str | None:
    """Return the torch module that computes a value, where a torch exporter has written it down."""
    recorded = _recorded(value)
    if recorded:
        # The last entry is the traced node, the ones before it are modules, from the outermost inwards.
        return _weight_layer(value) or (recorded[-2] if len(recorded) > 1 else None)
    name = _node_name(value)
    return dotted(name.rpartition("/")[0]) if name.startswith("/") and name.count("/") > 1 else None


def parts(value: ir.Value) -> list[str]:
    """Return names for one of several tensors of a recorded module: by the traced function, and by the operator."""
    recorded, node = _recorded(value), value.producer()
    if len(recorded) < len(("module", "function")) or node is None:
        return []
    return [f"{recorded[-2]}.{recorded[-1]}", f"{recorded[-2]}.{node.op_type}"]


def layers(value: ir.Value) -> list[str]:
    """Return the layer that the weights or the tensor itself are named after, if they are."""
    return list(dict.fromkeys(name for name in (_tensor_layer(value), _weight_layer(value)) if name))


def is_counted(value: ir.Value) -> bool:
    """Whether an exporter has only numbered a node, or not named it at all."""
    node, name = value.producer(), _node_name(value)
    if node is None:
        return False
    match = _COUNTED.fullmatch(name)
    return not name or (match is not None and match["op"] in (None, node.op_type))


def _node_name(value: ir.Value) -> str:
    """Return the name of a value's node without what onnxruntime adds where it fuses and quantizes."""
    node = value.producer()
    return "" if node is None else _FUSED.sub("", node.name or "")


def _recorded(value: ir.Value) -> list[str]:
    node = value.producer()
    if node is None:
        return []
    text = node.metadata_props.get(_TORCH_SCOPES, "")
    if not text:
        # Written by older versions: "outer: its class/outer.inner: its class/conv2d: aten.conv2d.default".
        entries = node.metadata_props.get(_TORCH_NAMESPACE, "").split("/")
        return [name for entry in entries if (name := entry.partition(": ")[0].strip()) and ": " in entry]
    try:
        found = ast.literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        # All that `literal_eval` raises for text that is no list.
        return []
    return [scope for scope in found if isinstance(scope, str) and scope] if isinstance(found, list) else []


def _weight_layer(value: ir.Value) -> str | None:
    """Return the layer whose weight, or else whose bias, makes a value.

    Where an exporter has fused a batch normalization into a convolution, the recorded scopes are those of the former.
    """
    node = value.producer()
    if node is None or value is not node.outputs[0]:
        return None
    for position in _PARAMETERS.get(node.op_type, ()):
        weight = node.inputs[position] if position < len(node.inputs) else None
        match = _WEIGHT.fullmatch(str(weight.name)) if weight is not None and _is_stored(weight) else None
        if match:
            return dotted(match["module"])
    return None


def _is_stored(weight: ir.Value) -> bool:
    """Whether a value is a weight of the file, perhaps quantized, and not computed from an input."""
    node = weight.producer()
    if node is None:
        return weight.is_initializer()
    first = next(iter(node.inputs), None)
    return node.op_type == "Constant" or (node.op_type in _STORING and first is not None and _is_stored(first))


def _tensor_layer(value: ir.Value) -> str | None:
    match = _PADDLE.fullmatch(str(value.name))
    if match is None:
        return None
    return match["name"] or f"{match['op']}_{match['number']}"
