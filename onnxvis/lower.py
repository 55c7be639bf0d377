"""ONNX graph → torch.fx.GraphModule, by partial evaluation at fixed input shapes.

The graph is walked once, and every operator runs once on real tensors. What does not depend on the values of the inputs
(weights, constants, the shape of anything, arithmetic on those) is thereby computed and becomes a buffer or a Python
value; everything else becomes one `call_function` node. Branches whose condition is known are taken, loops are written
out. The result is a straight graph without shape arithmetic and control flow.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
import torch

from onnxvis.builder import Builder, Handler, Replacements
from onnxvis.control_flow import CONTROL_FLOW
from onnxvis.errors import InputError, SettingError, UnsupportedOpError
from onnxvis.fallbacks import has_body, is_registered
from onnxvis.fused import FUSED
from onnxvis.graph import ancestors, inputs_of, is_default_domain, opset
from onnxvis.model import Model
from onnxvis.network import Network
from onnxvis.ops import find, refusals
from onnxvis.sequences import SEQUENCES
from onnxvis.sizes import InputShapes, input_shapes
from onnxvis.substitutes import substitute
from onnxvis.tensors import Precision

_HANDLERS: Mapping[str, Handler] = {**CONTROL_FLOW, **SEQUENCES, **FUSED}
_BLOCKED_LAYOUT = "com.microsoft.nchwc"


def lower(
    model: Model,
    outputs: Sequence[str] | None = None,
    shapes: InputShapes | None = None,
    replacements: Replacements | None = None,
    constants: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
) -> Network:
    """Convert a model, or its part up to some tensors, to a differentiable torch graph in eval mode.

    Weights are buffers: no gradient is computed for them. The graph's attribute `input_names` names its arguments in
    order, `output_names` its results. Each fx node carries the ONNX names in `node.meta`: "onnx_node", "onnx_value",
    "onnx_op", and with them "shape" and "differentiable". Quantized integers are carried by floats.

    Args:
        model: The model; it is not changed.
        outputs: Tensor names; None: the graph's outputs in the file's order.
        shapes: Input shapes where the file leaves sizes open.
        replacements: Functions to use instead of the table's, by operator name: replaced backward passes.
        constants: Inputs that are known beforehand, by name: what depends on nothing else is computed now, branches
            that they decide are taken, and they are no arguments of the result. Arrays; for sequences lists of arrays.
        precision: What float16 and bfloat16 are computed in: "float32", in which gradients do not vanish, or
            "declared", what the file says.

    Returns:
        A module that returns one tensor for one output, else a tuple; a sequence is a tuple of tensors.

    Raises:
        UnsupportedOpError: Operators without an implementation; all of them are named.
        UnknownSizeError: Input sizes that neither the file nor `shapes` gives.
        InputError: A constant is for no input, or of another shape than the file says.
        SettingError: There is no such precision.
        LoweringError: An operator cannot be computed at these shapes.
        DataDependentShapeError: A shape or argument depends on the values of the input.
    """
    graph = model.ir.graph
    wanted = list(graph.outputs) if outputs is None else [model.values[name] for name in outputs]
    needed_nodes = ancestors(wanted)
    nodes = [node for node in graph if node in needed_nodes]
    _check_supported(model, nodes)
    needed = inputs_of(graph, wanted)
    builder = Builder(model, replacements or {}, _HANDLERS, substitute, precision)
    fixed = constants or {}
    _check_given(model, fixed, precision)
    free = [value for value in needed if value.name not in fixed]
    _check_tensors(model, free)
    sizes = input_shapes(model, shapes, [str(value.name) for value in free])
    for value in needed:
        name = str(value.name)
        if name in fixed:
            builder.add_constant(value, fixed[name], model.spec(value).dtype)
        else:
            builder.add_input(value, sizes[name], model.spec(value).dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder.add_nodes(nodes, lambda domain: opset(model.ir, domain))
    return builder.finish(wanted, [str(value.name) for value in free])


def _check_given(model: Model, constants: Mapping[str, Any], precision: str) -> None:
    if precision not in get_args(Precision):
        message = f"precision must be {' or '.join(get_args(Precision))}, not {precision!r}."
        raise SettingError(message, precision=precision)
    inputs = {spec.name: spec for spec in model.inputs}
    for name, value in constants.items():
        if name not in inputs:
            listed = ", ".join(map(repr, inputs))
            message = f"{model.name} has no input {name!r} that could be a constant. Its inputs: {listed}."
            raise InputError(message, name=name)
        declared = inputs[name].shape
        if inputs[name].dtype not in ir.DataType.__members__ or declared is None:
            continue
        shape = np.shape(value)
        # A batch may be larger than the file says, as for the other inputs.
        fits = len(declared) == len(shape) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(declared[1:], shape[1:], strict=True)
        )
        if not fits:
            message = f"Input {name!r} of {model.name} cannot be of shape {shape}: the file says {inputs[name]}."
            raise InputError(message, name=name, shape=shape)


def _check_tensors(model: Model, inputs: Iterable[ir.Value]) -> None:
    for value in inputs:
        kind = model.spec(value).dtype
        if kind not in ir.DataType.__members__:
            message = (
                f"Input {value.name!r} of {model.name} is no tensor but of kind {kind.lower()}: give its value as a "
                "constant, constants= in Python."
            )
            raise UnsupportedOpError(message, name=value.name)


def unsupported(model: Model, nodes: Iterable[ir.Node] | None = None) -> list[ir.Node]:
    """Return the nodes of the main graph that need an operator without an implementation."""
    candidates = model.ir.graph if nodes is None else nodes
    return [node for node in candidates if next(_lacking(model, node), None) is not None]


def _lacking(model: Model, node: ir.Node) -> Iterator[ir.Node]:
    """Yield what has no implementation: the node, or nodes in the graphs that it holds."""
    if is_default_domain(node.domain) and node.op_type in _HANDLERS:
        bodies = [_lacking_in(model, graph) for graph in _subgraphs(node)]
        if node.op_type == "If" and not all(bodies):
            return  # Which branch is taken is known only while lowering.
        for lacking in bodies:
            yield from lacking
    elif not _is_supported(model, node):
        yield node


def _lacking_in(model: Model, graph: ir.Graph) -> list[ir.Node]:
    return [lacking for node in graph for lacking in _lacking(model, node)]


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    return [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]


def _is_supported(model: Model, node: ir.Node) -> bool:
    version = opset(model.ir, node.domain)
    if find(node.op_type, version, node.domain) is not None:
        return True
    return has_body(node, version) or is_registered(node, version)


def _check_supported(model: Model, nodes: Iterable[ir.Node]) -> None:
    missing = [lacking for node in nodes for lacking in _lacking(model, node)]
    if not missing:
        return
    by_op: dict[str, list[str]] = {}
    for node in missing:
        label = node.op_type if is_default_domain(node.domain) else f"{node.domain}.{node.op_type}"
        by_op.setdefault(label, []).append(node.name or str(node.outputs[0].name))
    listed = "; ".join(f"{op} ({_some(names)})" for op, names in sorted(by_op.items()))
    remedy = "Take a target before these nodes, or register a converter with onnx2torch's add_converter."
    if any(node.domain == _BLOCKED_LAYOUT for node in missing):
        remedy = (
            "onnxruntime has stored this file in the blocked layout of one machine: use the model as it was before, "
            "or save it at the level ORT_ENABLE_EXTENDED."
        )
    reasons = {refusals.remedy(node.op_type, node.domain) for node in missing} - {None}
    if reasons:
        remedy = f"{'; '.join(sorted(map(str, reasons)))}."
    message = f"{model.name}, opset {model.opset}: no implementation of {listed}. {remedy[0].upper()}{remedy[1:]}"
    raise UnsupportedOpError(message, operators=by_op)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004 - the three shown above
