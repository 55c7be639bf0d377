"""ONNX graph → torch.fx.GraphModule, by partial evaluation at fixed input shapes.

The graph is walked once, and every operator runs once on real tensors. What does not depend on the values of the inputs
(weights, constants, the shape of anything, arithmetic on those) is thereby computed and becomes a buffer or a Python
value; everything else becomes one `call_function` node. The result is a straight graph without shape arithmetic.
"""

from __future__ import annotations

import keyword
import operator as python_operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from onnxvis.errors import LoweringError, OnnxvisError, SettingError, UnsupportedOpError, innermost_reason
from onnxvis.fallbacks import body_of, has_body, is_registered, module_of
from onnxvis.graph import SHAPE_ONLY, ancestors, inputs_of, opset, real_inputs
from onnxvis.model import Model
from onnxvis.network import LeafTracer, Network
from onnxvis.ops import Operator, bind, cuts_gradient, find
from onnxvis.ops.bind import Known, Slot
from onnxvis.sizes import InputShapes, input_shapes
from onnxvis.tensors import as_dtype, attribute_value, constant, widened

Replacements = Mapping[str, Callable[..., Any]]

_SEED = 0
_CONVERTED = frozenset({"FLOAT16", "BFLOAT16", "DOUBLE"})
_TAKEN = frozenset({"meta", "input_names", "output_names", "replaced"})
"""Attributes that a finished network has, besides those of its class."""


@dataclass(frozen=True)
class Entry:
    """What is known of one ONNX value while lowering.

    Attributes:
        sample: The value at a random input.
        node: The fx node that computes it; None for what is known beforehand.
        differentiable: Whether a gradient reaches the model's inputs from here.
    """

    sample: Tensor
    node: fx.Node | None
    differentiable: bool


def lower(
    model: Model,
    outputs: Sequence[str] | None = None,
    shapes: InputShapes | None = None,
    replacements: Replacements | None = None,
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Network:
    """Convert a model, or its part up to some tensors, to a differentiable torch graph in eval mode.

    The graph computes in float32 where the file says float16. Weights are buffers: no gradient is computed for them.
    Its attribute `input_names` names its arguments in order, `output_names` its results. Each fx node carries the ONNX
    names in `node.meta`: "onnx_node", "onnx_value", "onnx_op", and with them "shape" and "differentiable".

    Args:
        model: The model; it is not changed.
        outputs: Tensor names; None: the graph's outputs in the file's order.
        shapes: Input shapes where the file leaves sizes open.
        replacements: Functions to use instead of the table's, by operator name: replaced backward passes.
        constants: Inputs that are known beforehand, by name: what depends on nothing else is computed now, branches
            that they decide are taken, and they are no arguments of the result.

    Returns:
        A module that returns one tensor for one output, else a tuple.

    Raises:
        UnsupportedOpError: Operators without an implementation; all of them are named.
        UnknownSizeError: Input sizes that neither the file nor `shapes` gives.
        LoweringError: An operator cannot be computed at these shapes.
        DataDependentShapeError: A shape or argument depends on the values of the input.
    """
    graph = model.ir.graph
    wanted = list(graph.outputs) if outputs is None else [model.values[name] for name in outputs]
    needed_nodes = ancestors(wanted)
    nodes = [node for node in graph if node in needed_nodes]
    _check_supported(model, nodes)
    needed = inputs_of(graph, wanted)
    builder = _Builder(model, replacements or {})
    fixed = constants or {}
    free = [value for value in needed if value.name not in fixed]
    sizes = input_shapes(model, shapes, [str(value.name) for value in free])
    for value in needed:
        name = str(value.name)
        if name in fixed:
            builder.add_constant(value, fixed[name])
        else:
            builder.add_input(value, sizes[name], model.spec(value).dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder.add_nodes(nodes, lambda domain: opset(model.ir, domain))
    return builder.finish(wanted, [str(value.name) for value in free])


def unsupported(model: Model, nodes: Iterable[ir.Node] | None = None) -> list[ir.Node]:
    """Return the nodes whose operator has no implementation."""
    candidates = model.ir.graph if nodes is None else nodes
    return [node for node in candidates if not _is_supported(model, node)]


def _is_supported(model: Model, node: ir.Node) -> bool:
    if node.op_type == "If":
        branches = [attribute.as_graph() for attribute in node.attributes.values()]
        # Which branch is taken is known only while lowering.
        return any(all(_is_supported(model, inner) for inner in branch) for branch in branches)
    version = opset(model.ir, node.domain)
    if find(node.op_type, version, node.domain) is not None:
        return True
    return has_body(node, version) or is_registered(node, version)


def _check_supported(model: Model, nodes: Iterable[ir.Node]) -> None:
    missing = unsupported(model, nodes)
    if not missing:
        return
    by_op: dict[str, list[str]] = {}
    for node in missing:
        label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        by_op.setdefault(label, []).append(node.name or str(node.outputs[0].name))
    listed = "; ".join(f"{op} ({_some(names)})" for op, names in sorted(by_op.items()))
    message = (
        f"{model.name}, opset {model.opset}: no implementation of {listed}. Take a target before these nodes, "
        "or register a converter with onnx2torch's add_converter."
    )
    raise UnsupportedOpError(message, operators=by_op)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004 - the three shown above


class _Builder:
    """The fx graph so far, and what is known of each ONNX value."""

    def __init__(self, model: Model, replacements: Replacements) -> None:
        self.model = model
        self.replacements = replacements
        self.replaced: dict[str, int] = {}
        self.graph = fx.Graph(tracer_cls=LeafTracer)
        self.root = torch.nn.Module()
        self.known: dict[ir.Value, Entry] = {}
        self.buffers: dict[ir.Value, fx.Node] = {}
        self.prefix = ""
        self.placeholders: set[str] = set()
        self.generator = torch.Generator().manual_seed(_SEED)

    def add_input(self, value: ir.Value, shape: Sequence[int], dtype: str) -> None:
        name = self._free_name(str(value.name))
        self.placeholders.add(name)
        node = self.graph.placeholder(name)
        try:
            sample = _sample(shape, dtype, self.generator)
        except (MemoryError, RuntimeError) as error:
            message = (
                f"Input {value.name!r} of shape {tuple(shape)} is too large for this machine. Give a smaller size."
            )
            raise LoweringError(message, name=value.name, shape=tuple(shape)) from error
        meta = _meta("", "Input", str(value.name), sample, differentiable=sample.is_floating_point())
        node.meta = dict(meta)
        if dtype in _CONVERTED:
            # Whatever float type is fed, the graph computes in its own.
            node = self.graph.call_function(as_dtype, (node, sample.dtype))
            node.meta = dict(meta)
        self.known[value] = Entry(sample, node, sample.is_floating_point())

    def add_constant(self, value: ir.Value, array: np.ndarray[Any, Any]) -> None:
        sample = widened(torch.from_numpy(np.array(array)))
        self.known[value] = Entry(sample, None, differentiable=False)

    def add_nodes(self, nodes: Iterable[ir.Node], version: Callable[[str], int]) -> None:
        for node in nodes:
            try:
                self._add_node(node, version)
            except OnnxvisError as error:
                if not self.prefix:
                    # A node of the file itself, not of what is inlined for it.
                    error.details["value"] = _first_name(node)
                raise
            except (
                ArithmeticError,
                AttributeError,
                IndexError,
                KeyError,
                RuntimeError,
                TypeError,
                ValueError,
            ) as error:
                raise self._failure(node, error) from error

    def finish(self, outputs: Sequence[ir.Value], input_names: list[str]) -> Network:
        """Close the graph with its outputs and compile it to a module."""
        results = [self._fx(value) for value in outputs]
        self.graph.output(results[0] if len(results) == 1 else tuple(results))
        network = Network(self.root, self.graph, class_name="Lowered")
        network.graph.eliminate_dead_code()
        network.recompile()
        network.input_names = input_names
        network.output_names = [str(value.name) for value in outputs]
        network.replaced = dict(self.replaced)
        network.eval()
        return network

    def _add_node(self, node: ir.Node, version: Callable[[str], int]) -> None:
        if node.op_type == "If":
            self._add_branch(node, version)
            return
        attributes = {
            name: attribute_value(name, attribute)
            for name, attribute in node.attributes.items()
            if attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        }
        entries = [None if value is None else self._entry(value) for value in node.inputs]
        operator = find(node.op_type, version(node.domain), node.domain)
        if operator is not None:
            self._call(node, operator, entries, attributes)
            return
        module = module_of(node, version(node.domain), *self._inputs(node))
        if module is not None:
            self._call_module(node, *module)
            return
        self._add_body(node, entries, version)

    def _call(
        self, node: ir.Node, operator: Operator, entries: Sequence[Entry | None], attributes: dict[str, Any]
    ) -> None:
        known = [None if entry is None else entry.sample if entry.node is None else Known.DYNAMIC for entry in entries]
        args, kwargs = bind(operator, known, attributes, len(node.outputs))
        samples = [entries[arg.index].sample if isinstance(arg, Slot) else arg for arg in args]  # type: ignore[union-attr] # a slot has an entry
        results = _as_tuple(operator.function(*samples, **kwargs))
        given = self.replacements.get(node.op_type)
        function = operator.function if given is None else _replacement(node, given, results, samples, kwargs)
        dynamic = any(entry is not None and entry.node is not None for entry in entries)
        if not dynamic or node.op_type in SHAPE_ONLY:
            self._store(node, results, None, differentiable=False)
            return
        if node.op_type in self.replacements:
            self.replaced[node.op_type] = self.replaced.get(node.op_type, 0) + 1
        inputs = [self._fx(node.inputs[arg.index]) if isinstance(arg, Slot) else arg for arg in args]  # type: ignore[arg-type] # a slot has a value
        call = self.graph.create_node(
            "call_function", function, tuple(inputs), kwargs, name=_identifier(_first_name(node))
        )
        reached = any(entry is not None and entry.differentiable for entry in entries)
        self._store(node, results, call, differentiable=reached and not cuts_gradient(operator, attributes))

    def _call_module(self, node: ir.Node, module: torch.nn.Module, names: Sequence[str]) -> None:
        by_name = {str(value.name): value for value in node.inputs if value is not None}
        values = [by_name[name] for name in names]
        entries = [self._entry(value) for value in values]
        results = _as_tuple(module(*(entry.sample for entry in entries)))
        if all(entry.node is None for entry in entries):
            self._store(node, results, None, differentiable=False)
            return
        target = self._free_name(_first_name(node))
        self.root.add_module(target, module.requires_grad_(requires_grad=False))
        call = self.graph.create_node("call_module", target, tuple(self._fx(value) for value in values), {})
        self._store(node, results, call, differentiable=any(entry.differentiable for entry in entries))

    def _add_body(self, node: ir.Node, entries: Sequence[Entry | None], version: Callable[[str], int]) -> None:
        """Lower an operator by the function body that its ONNX schema gives."""
        body = body_of(node, version(node.domain), [None if entry is None else entry.sample for entry in entries])
        if body is None:
            message = f"{self.model.name}: no implementation of {node.op_type}."
            raise UnsupportedOpError(message, operators={node.op_type: [node.name]})
        self.known.update(
            {inner: entry for inner, entry in zip(body.inputs, entries, strict=False) if entry is not None}
        )
        named = [value for value in node.outputs if value.name]
        self._inline(
            node, body, zip(named, body.outputs, strict=True), lambda name: body.opset_imports.get(name, version(name))
        )

    def _add_branch(self, node: ir.Node, version: Callable[[str], int]) -> None:
        """Inline the branch of an If whose condition is known."""
        condition = node.inputs[0]
        entry = None if condition is None else self._entry(condition)
        if entry is None or entry.node is not None:
            message = (
                f"{self.model.name}: If {node.name or _first_name(node)!r} depends on the values of the input; "
                "only conditions that are known beforehand can be lowered. Take a target before it."
            )
            raise UnsupportedOpError(message, operators={"If": [node.name]})
        branch = node.attributes["then_branch" if bool(entry.sample) else "else_branch"].as_graph()
        self._inline(node, branch, zip(node.outputs, branch.outputs, strict=True), version)

    def _inline(
        self,
        node: ir.Node,
        nodes: Iterable[ir.Node],
        outputs: Iterable[tuple[ir.Value, ir.Value]],
        version: Callable[[str], int],
    ) -> None:
        """Lower nodes in place of one; what they compute on the way bears the name of that one too."""
        outside, self.prefix = self.prefix, f"{self.prefix}{_first_name(node)}/"
        try:
            self.add_nodes(nodes, version)
            for outer, inner in outputs:
                entry = self._entry(inner)
                if entry.node is not None and str(entry.node.meta["onnx_value"]).startswith(self.prefix):
                    entry.node.meta |= {"onnx_node": node.name or "", "onnx_value": f"{outside}{outer.name}"}
                self.known[outer] = entry
        finally:
            self.prefix = outside

    def _entry(self, value: ir.Value) -> Entry:
        if value not in self.known:
            tensor = value.const_value
            if tensor is None:
                message = f"{self.model.name}: tensor {value.name!r} is read before it is computed."
                raise LoweringError(message, tensor=value.name)
            self.known[value] = Entry(constant(tensor), None, differentiable=False)
        return self.known[value]

    def _fx(self, value: ir.Value) -> fx.Node:
        """Return the fx node of a value; one that is known beforehand becomes a buffer."""
        entry = self._entry(value)
        if entry.node is not None:
            return entry.node
        if value not in self.buffers:
            name = self._free_name(str(value.name))
            self.root.register_buffer(name, entry.sample.detach())
            self.buffers[value] = self.graph.get_attr(name)
            self.buffers[value].meta = _meta("", "Constant", str(value.name), entry.sample, differentiable=False)
        return self.buffers[value]

    def _store(self, node: ir.Node, results: Sequence[Any], call: fx.Node | None, *, differentiable: bool) -> None:
        for index, (value, result) in enumerate(zip(node.outputs, results, strict=False)):
            if not value.name:
                continue
            source = call
            if call is not None and len(results) > 1:
                source = self.graph.create_node(
                    "call_function", python_operator.getitem, (call, index), {}, name=_identifier(value.name)
                )
            tensor = widened(result)
            passes = differentiable and tensor.is_floating_point()
            meta = _meta(node.name or "", node.op_type, f"{self.prefix}{value.name}", tensor, differentiable=passes)
            if source is not None:
                source.meta = dict(meta)
            if call is not None and not call.meta:
                call.meta = dict(meta)
            self.known[value] = Entry(tensor, source, passes)

    def _inputs(self, node: ir.Node) -> tuple[dict[str, Tensor], set[str]]:
        """Return a value of each input of a node by name, and the names of those that are known beforehand."""
        entries = {str(value.name): self._entry(value) for value in node.inputs if value is not None}
        samples = {name: entry.sample for name, entry in entries.items()}
        return samples, {name for name, entry in entries.items() if entry.node is None}

    def _free_name(self, name: str) -> str:
        wanted = _identifier(name)
        free, number = wanted, 1
        while free in _TAKEN | self.placeholders or hasattr(self.root, free) or hasattr(fx.GraphModule, free):
            free, number = f"{wanted}_{number}", number + 1
        return free

    def _failure(self, node: ir.Node, error: Exception) -> LoweringError:
        shapes = [
            tuple(self.known[value].sample.shape) for value in node.inputs if value is not None and value in self.known
        ]
        inputs = {
            str(value.name): tuple(self.known[value].sample.shape)
            for value in real_inputs(self.model.ir.graph)
            if value in self.known
        }
        reason = " ".join(str(error).split())[:200]
        sizes = ", ".join(f"{name!r} {shape}" for name, shape in inputs.items())
        message = (
            f"{self.model.name}: node {node.name or _first_name(node)!r} ({node.op_type}) cannot be computed on shapes "
            f"{shapes} at input {sizes}: {reason}. Try another input size."
        )
        return LoweringError(message, node=node.name, op_type=node.op_type)


def _meta(node: str, op_type: str, value: str, sample: Tensor, *, differentiable: bool) -> dict[str, Any]:
    return {
        "onnx_node": node,
        "onnx_op": op_type,
        "onnx_value": value,
        "shape": tuple(sample.shape),
        "differentiable": differentiable,
    }


def _replacement(
    node: ir.Node, given: Callable[..., Any], results: Sequence[Any], samples: Sequence[Any], kwargs: Mapping[str, Any]
) -> Callable[..., Any]:
    """Try a user's function on the operator's own inputs, and give it the name that torch.fx needs.

    Raises:
        SettingError: It fails there, or returns something of another shape.
    """
    try:
        found = _as_tuple(given(*samples, **kwargs))
    except Exception as error:
        # Whatever a user's function may raise.
        message = f"The function given for {node.op_type} fails at node {node.name!r}: {innermost_reason(error)}"
        raise SettingError(message, operator=node.op_type) from error
    shapes = [tuple(getattr(value, "shape", ())) for value in found]
    wanted = [tuple(value.shape) for value in results]
    if shapes != wanted:
        message = f"The function given for {node.op_type} returns {shapes} at node {node.name!r}, and not {wanted}."
        raise SettingError(message, operator=node.op_type)

    def replaced(*args: Any, **settings: Any) -> Any:
        return given(*args, **settings)

    replaced.__name__ = replaced.__qualname__ = _identifier(f"replaced_{node.op_type}_{id(given)}")
    return replaced


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _sample(shape: Sequence[int], dtype: str, generator: torch.Generator) -> Tensor:
    if dtype in ("FLOAT", "FLOAT16", "BFLOAT16", "UNDEFINED"):
        return torch.rand(tuple(shape), generator=generator)
    if dtype == "DOUBLE":
        return torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
    # Indices and flags: zero is valid everywhere.
    kinds = {"BOOL": torch.bool, "INT64": torch.int64, "INT32": torch.int32, "UINT8": torch.uint8, "INT8": torch.int8}
    return torch.zeros(tuple(shape), dtype=kinds.get(dtype, torch.int64))


def _first_name(node: ir.Node) -> str:
    return next((str(value.name) for value in node.outputs if value.name), node.op_type)


def _identifier(name: str) -> str:
    """Write an ONNX name as a Python identifier that shadows nothing in the code that torch.fx writes."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    is_free = text and not text[0].isdigit() and not keyword.iskeyword(text) and text != "self"
    return text if is_free else f"_{text}"
