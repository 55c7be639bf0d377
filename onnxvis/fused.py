"""Operators of onnxruntime that end with an activation, as two: the product, and the activation itself.

What replaces or gates the backward pass of a rectifier thereby finds it in an optimized file too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxvis.builder import Builder, Handler, Versions
from onnxvis.entries import Value, first_name
from onnxvis.ops import find
from onnxvis.ops.contrib_activation import ACTIVATIONS, DOMAIN

_PREFIX = "activation_"


def _apart(builder: Builder, node: ir.Node, version: Versions) -> Sequence[Value]:
    attributes = builder.attributes(node)
    activation = str(attributes.get("activation", ""))
    operator = find(node.op_type, version(node.domain), node.domain)
    if operator is None:
        message = f"{node.op_type} is not in the table"
        raise LookupError(message)
    inputs = [builder.tensor(value) for value in node.inputs]
    name = first_name(node)
    if activation not in ACTIVATIONS:
        return builder.call(operator, inputs, attributes, [name], node)
    names = ACTIVATIONS[activation][1]
    listed = attributes.get("activation_params", ())
    settings = dict(zip(names, listed, strict=False)) or {
        key: attributes[_PREFIX + key] for key in names if _PREFIX + key in attributes
    }
    plain = {key: value for key, value in attributes.items() if not key.startswith("activation")}
    (product,) = builder.call(operator, inputs, {**plain, "activation": ""}, [f"{name}/product"], node)
    return builder.apply(activation, [product], node, name, **settings)


FUSED: Mapping[str, Handler] = {
    f"{DOMAIN}.{op_type}": _apart for op_type in ("FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMulActivation")
}
