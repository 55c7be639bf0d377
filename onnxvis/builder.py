"""The torch.fx graph while a model is lowered: what is known of each ONNX value, and the calls emitted so far.

Every operator runs once on real tensors. What depends on no input is thereby known, and becomes a buffer or a Python
value where it is read; everything else is one `call_function` node.
"""

from __future__ import annotations

import dataclasses
import operator as python_operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from onnxvis.budget import refuse_gigantic_results
from onnxvis.entries import Absent, Entry, Value, described, first_name, random_sample, result_types
from onnxvis.errors import LoweringError, OnnxvisError, UnsupportedOpError
from onnxvis.graph import HANDING_ON, SHAPE_ONLY, is_default_domain, real_inputs
from onnxvis.model import Model
from onnxvis.network import LeafTracer, Network
from onnxvis.ops import Operator, bind, cuts_gradient, find
from onnxvis.ops.bind import Known, Slot
from onnxvis.ops.dtypes import onnx_dtype
from onnxvis.python_names import FreeNames, identifier
from onnxvis.replacement import tried_replacement
from onnxvis.tensors import (
    HALF,
    WIDER,
    Precision,
    as_dtype,
    attribute_value,
    computed_type,
    constant,
    from_array,
    held_dtype,
)

Replacements = Mapping[str, Callable[..., Any]]
Versions = Callable[[str], int]
"""The version of each operator set, by domain."""

_SEED = 0
_OPSET = 18
"""The operator set of what is emitted beside the file's own nodes."""
MOST_NODES = 100_000
"""Nodes after which a loop is taken for endless: each takes a fraction of a millisecond."""
_ERRORS = (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError)
"""What torch and the operators raise for shapes and attributes that do not fit."""


Handler = Callable[["Builder", ir.Node, Versions], Sequence[Value]]
"""Lowers a node that is no function of tensors, and returns its outputs."""


class Builder:
    """The graph so far, and what is known of each ONNX value.

    Args:
        model: The model.
        replacements: Functions to use instead of the table's, by operator name.
        handlers: What lowers control flow and sequences, by operator name.
        substitute: What lowers operators that the table does not have.
        precision: What half-precision floats are computed in.
    """

    def __init__(
        self,
        model: Model,
        replacements: Replacements,
        handlers: Mapping[str, Handler],
        substitute: Handler,
        precision: Precision,
    ) -> None:
        self.model = model
        self.replacements = replacements
        self.handlers = handlers
        self.substitute = substitute
        self.precision = precision
        self.replaced: dict[str, int] = {}
        self.graph = fx.Graph(tracer_cls=LeafTracer)
        self.root = torch.nn.Module()
        self.known: dict[ir.Value, Value] = {}
        self.buffers: dict[Entry, fx.Node] = {}
        self.prefix = ""
        self.free_names = FreeNames(self.root)
        self.generator = torch.Generator().manual_seed(_SEED)
        self.count = 0

    def add_input(self, value: ir.Value, shape: Sequence[int], dtype: str) -> None:
        """Add an argument of the network, and a random sample of it.

        Raises:
            LoweringError: It does not fit into memory.
            UnsupportedOpError: It holds strings.
        """
        declared = ir.DataType[dtype]
        computed = computed_type(declared, self.precision)
        node = self.graph.placeholder(self.free_names.take(str(value.name)))
        try:
            sample = random_sample(shape, held_dtype(computed), self.generator)
        except (MemoryError, RuntimeError) as error:
            message = (
                f"Input {value.name!r} of shape {tuple(shape)} is too large for this machine. Give a smaller size."
            )
            raise LoweringError(message, name=value.name, shape=tuple(shape)) from error
        meta = described("", "Input", str(value.name), sample, differentiable=sample.is_floating_point())
        node.meta = dict(meta)
        if declared.is_floating_point() and declared != ir.DataType.FLOAT:
            # Whatever float type is fed, the graph computes in its own.
            node = self.graph.call_function(as_dtype, (node, sample.dtype))
            node.meta = dict(meta)
        self.known[value] = Entry(sample, node, sample.is_floating_point(), computed)

    def add_constant(self, value: ir.Value, given: Any, dtype: str) -> None:
        """Add an input that is known beforehand: an array, a list of them (a sequence), None (an empty optional)."""
        self.known[value] = self._given(given, ir.DataType[dtype] if dtype in ir.DataType.__members__ else None)

    def add_nodes(self, nodes: Iterable[ir.Node], version: Versions) -> None:
        """Lower nodes in their order."""
        for node in nodes:
            self.count += 1
            try:
                self._check_length(node)
                self._add_node(node, version)
            except OnnxvisError as error:
                if not self.prefix:
                    # A node of the file itself, not of what is inlined for it.
                    error.details["value"] = first_name(node)
                raise
            except _ERRORS as error:
                raise self._failure(node, error) from error

    def finish(self, outputs: Sequence[ir.Value], input_names: list[str]) -> Network:
        """Close the graph with its outputs and compile it to a module."""
        results = [self.fx_of(self.value(value), str(value.name)) for value in outputs]
        self.graph.output(results[0] if len(results) == 1 else tuple(results))
        network = Network(self.root, self.graph, class_name="Lowered")
        network.graph.eliminate_dead_code()
        network.recompile()
        network.input_names = input_names
        network.output_names = [str(value.name) for value in outputs]
        network.replaced = dict(self.replaced)
        network.eval()
        return network

    def value(self, value: ir.Value) -> Value:
        """Return what is known of a value.

        Raises:
            LoweringError: Nothing computes it before it is read.
        """
        if value not in self.known:
            tensor = value.const_value
            if tensor is None:
                message = f"{self.model.name}: tensor {value.name!r} is read before it is computed."
                raise LoweringError(message, tensor=value.name)
            self.known[value] = self.constant_entry(
                constant(tensor, self.precision), computed_type(tensor.dtype, self.precision)
            )
        return self.known[value]

    def tensor(self, value: ir.Value | None) -> Entry | None:
        """Return what is known of a tensor; None for an omitted input and for an empty optional.

        Raises:
            UnsupportedOpError: It is a sequence.
        """
        found = None if value is None else self.value(value)
        if isinstance(found, tuple):
            message = f"{value.name if value else ''!r} is a sequence, and a tensor is needed"
            raise UnsupportedOpError(message)
        return found if isinstance(found, Entry) else None

    def constant_entry(self, tensor: Tensor, dtype: ir.DataType | None = None) -> Entry:
        """Return an entry of what is known beforehand."""
        return Entry(tensor, None, differentiable=False, type=dtype or ir.DataType(onnx_dtype(tensor.dtype)))

    def empty(self, shape: Sequence[int], dtype: ir.DataType | None) -> Entry:
        """Return an entry of a tensor without elements."""
        computed = computed_type(dtype or ir.DataType.FLOAT, self.precision)
        return self.constant_entry(torch.zeros(tuple(shape), dtype=held_dtype(computed)), computed)

    def apply(
        self,
        op_type: str,
        inputs: Sequence[Entry | None],
        node: ir.Node,
        label: str,
        outputs: int = 1,
        **attributes: Any,
    ) -> list[Entry]:
        """Emit an operator of the table that the file does not name; `label` tells what it computes for which node."""
        found = find(op_type, _OPSET)
        if found is None:
            message = f"{op_type} is not in the table"
            raise LookupError(message)
        names = [f"{label}.{index}" if outputs > 1 else label for index in range(outputs)]
        return self.call(found, inputs, attributes, names, node, own=False)

    def emit(self, function: Callable[..., Tensor], inputs: Sequence[Entry], node: ir.Node, label: str) -> Entry:
        """Emit a function that is no ONNX operator; its result has the type of its first input."""
        result = function(*(entry.sample for entry in inputs))
        arguments = tuple(self.fx_of(entry, f"{label}.{index}") for index, entry in enumerate(inputs))
        call = self.graph.create_node("call_function", function, arguments, {}, name=identifier(label))
        reached = any(entry.differentiable for entry in inputs)
        return self.emitted(
            call, [result], [inputs[0].type], [label], node, node.op_type, differentiable=reached, indexed=False
        )[0]

    def inline(self, nodes: Iterable[ir.Node], version: Versions, label: str) -> None:
        """Lower nodes in place of another one; what they compute bears its name before their own."""
        outside, self.prefix = self.prefix, f"{self.prefix}{label}/"
        try:
            self.add_nodes(nodes, version)
        finally:
            self.prefix = outside

    def body(self, body: ir.Graph, given: Sequence[Value | None], version: Versions, label: str) -> list[Value]:
        """Lower a subgraph on these inputs, and return its outputs."""
        for inner, value in zip(body.inputs, given, strict=True):
            if value is not None:
                self.known[inner] = value
        self.inline(body, version, label)
        return [self.value(value) for value in body.outputs]

    def _given(self, given: Any, dtype: ir.DataType | None) -> Value:
        if given is None:
            return Absent()
        if isinstance(given, list | tuple):
            return tuple(self._given(item, dtype) for item in given)
        array = np.asarray(given)
        if array.dtype.kind in "OSU":
            held_dtype(ir.DataType.STRING)
        own = computed_type(dtype or ir.DataType.from_numpy(array.dtype), self.precision)
        return self.constant_entry(from_array(array, held_dtype(own)), own)

    def _check_length(self, node: ir.Node) -> None:
        if self.count > MOST_NODES:
            message = (
                f"{self.model.name}: more than {MOST_NODES} nodes, at {first_name(node)!r}, loops written out. "
                "Take a target before that, or a shorter input."
            )
            raise LoweringError(message, node=node.name)

    def _add_node(self, node: ir.Node, version: Versions) -> None:
        handler = self.handlers.get(node.op_type if is_default_domain(node.domain) else f"{node.domain}.{node.op_type}")
        if handler is not None:
            self._store(node, handler(self, node, version))
            return
        if node.op_type == "Identity" and node.inputs[0] is not None:
            found = self.value(node.inputs[0])
            if not isinstance(found, Entry):
                self._store(node, (found,))
                return
        entries = [self.tensor(value) for value in node.inputs]
        operator = find(node.op_type, version(node.domain), node.domain)
        if operator is not None:
            refuse_gigantic_results(
                node,
                version(node.domain),
                [None if entry is None else entry.sample for entry in entries],
                [None if entry is None else int(entry.type) for entry in entries],
                [entry is not None and entry.node is None for entry in entries],
            )
            names = [str(value.name or "") for value in node.outputs]
            self._store(node, self.call(operator, entries, self.attributes(node), names, node))
            return
        self._store(node, self.substitute(self, node, version))

    def attributes(self, node: ir.Node) -> dict[str, Any]:
        """Return the attributes of a node as Python values, without subgraphs."""
        return {
            name: attribute_value(name, attribute, self.precision)
            for name, attribute in node.attributes.items()
            if attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        }

    def call(
        self,
        operator: Operator,
        given: Sequence[Entry | None],
        attributes: dict[str, Any],
        names: Sequence[str],
        node: ir.Node,
        *,
        own: bool = True,
    ) -> list[Entry]:
        """Compute an operator on entries, and emit it where they depend on the model's inputs.

        Args:
            operator: The entry of the table.
            given: Its inputs; None where one is omitted.
            attributes: Its attributes.
            names: Names of its outputs; "" where one is not wanted.
            node: The node that it is computed for.
            own: Whether it is that node's operator, on that node's inputs.
        """
        entries = self._handed_over(operator, given, node)
        known = [None if entry is None else entry.sample if entry.node is None else Known.DYNAMIC for entry in entries]
        types = tuple(None if entry is None else int(entry.type) for entry in entries)
        args, kwargs = bind(operator, known, attributes, len(names), types)
        samples = [entries[arg.index].sample if isinstance(arg, Slot) else arg for arg in args]  # type: ignore[union-attr] # a slot has an entry
        returned = operator.function(*samples, **kwargs)
        results = _as_tuple(returned)
        kinds = result_types(operator, entries, results, types, attributes)
        if operator.op_type in SHAPE_ONLY or all(entry is None or entry.node is None for entry in entries):
            return [
                self._held(self.constant_entry(result, dtype), node)
                for result, dtype in zip(results, kinds, strict=True)
            ]
        function = self._function(operator, node, results, samples, kwargs)
        label = next(filter(None, names), node.op_type)
        inputs = [
            self.fx_of(entries[arg.index], self._input_name(node, arg.index) if own else f"{label}.{arg.index}")  # type: ignore[arg-type] # a slot has an entry
            if isinstance(arg, Slot)
            else arg
            for arg in args
        ]
        settings = {
            key: self.fx_of(self.constant_entry(value), f"{label}.{key}") if isinstance(value, Tensor) else value
            for key, value in kwargs.items()
        }
        reached = any(entry is not None and entry.differentiable for entry in entries)
        return self.emitted(
            self.graph.create_node("call_function", function, tuple(inputs), settings, name=identifier(label)),
            results,
            kinds,
            names,
            node,
            operator.op_type,
            differentiable=reached and not cuts_gradient(operator, attributes),
            indexed=isinstance(returned, tuple),
            cuts=operator.cuts,
        )

    def _function(
        self,
        operator: Operator,
        node: ir.Node,
        results: Sequence[Tensor],
        samples: Sequence[Any],
        settings: dict[str, Any],
    ) -> Callable[..., Any]:
        """Return what computes an operator: the table's function, or what the user has given instead."""
        given = self.replacements.get(operator.op_type)
        if given is None:
            return operator.function
        self.replaced[operator.op_type] = self.replaced.get(operator.op_type, 0) + 1
        return tried_replacement(operator.op_type, node, given, results, samples, settings)

    def _handed_over(self, operator: Operator, entries: Sequence[Entry | None], node: ir.Node) -> list[Entry | None]:
        """Convert carried integers where an operator takes none; where it does, the integers beside them."""
        carriers = [entry for entry in entries if entry is not None and entry.is_carrier]
        if not carriers or (operator.carries and operator.types is not None):
            return list(entries)
        data = HANDING_ON.get(operator.op_type) if is_default_domain(operator.domain) else None
        taken = [operator.carries and (data is None or index in data) for index in range(len(entries))]
        kinds = {entry.type: entry.sample.dtype for entry in reversed(carriers)}
        return [
            entry
            if entry is None or entry.type not in kinds
            else self.converted(entry, kinds[entry.type] if takes else held_dtype(entry.type), node)
            for entry, takes in zip(entries, taken, strict=True)
        ]

    def converted(self, entry: Entry, dtype: torch.dtype, node: ir.Node) -> Entry:
        """Convert a tensor for a node, which cuts the gradient where it becomes integers."""
        if entry.sample.dtype == dtype:
            return entry
        sample = entry.sample.to(dtype)
        passes = entry.differentiable and dtype.is_floating_point
        if entry.node is None:
            return Entry(sample, None, differentiable=False, type=entry.type)
        converted = self.graph.call_function(as_dtype, (entry.node, dtype))
        # Without a shape: it is none of the model's tensors.
        cutting = {"onnx_node": node.name or first_name(node), "onnx_op": node.op_type, "onnx_value": ""}
        converted.meta = {**cutting, "differentiable": passes}
        return Entry(sample, converted, passes, entry.type)

    def emitted(
        self,
        call: fx.Node,
        results: Sequence[Tensor],
        types: Sequence[ir.DataType],
        names: Sequence[str],
        node: ir.Node,
        op_type: str,
        *,
        differentiable: bool,
        indexed: bool,
        cuts: frozenset[int] = frozenset(),
    ) -> list[Entry]:
        """Return the entries of a call's results, named in the meta of its fx nodes; `indexed`: it returns a tuple."""
        entries = []
        for index, (name, result, dtype) in enumerate(zip(names, results, types, strict=False)):
            source = call
            if indexed:
                source = self.graph.create_node(
                    "call_function", python_operator.getitem, (call, index), {}, name=identifier(name or node.op_type)
                )
            passes = differentiable and result.is_floating_point() and index not in cuts
            source.meta = described(node.name or "", op_type, f"{self.prefix}{name}", result, differentiable=passes)
            source.meta["integers"] = dtype.is_integer()
            if not call.meta and name:
                call.meta = dict(source.meta)
            entries.append(Entry(result, source, passes, dtype))
        return [self._held(entry, node) for entry in entries]

    def _held(self, entry: Entry, node: ir.Node) -> Entry:
        """Convert what an operator returns in a dtype that others do not compute in."""
        own = entry.sample.dtype
        if self.precision == "float32" and own in HALF:
            return dataclasses.replace(self.converted(entry, torch.float32, node), type=ir.DataType.FLOAT)
        wider = self.converted(entry, WIDER.get(own, own), node)
        if wider is not entry and wider.node is not None and entry.node is not None:
            # It stands for the result from here on, and bears its name.
            wider.node.meta = dict(entry.node.meta)
        return wider

    def fx_of(self, value: Value, name: str) -> Any:
        """Return the fx node of a value; one that is known beforehand becomes a buffer."""
        if isinstance(value, tuple):
            return tuple(self.fx_of(item, f"{name}.{index}") for index, item in enumerate(value))
        if isinstance(value, Absent):
            return None
        if value.node is not None:
            return value.node
        if value not in self.buffers:
            free = self.free_names.take(name)
            self.root.register_buffer(free, value.sample.detach())
            self.buffers[value] = self.graph.get_attr(free)
            self.buffers[value].meta = described("", "Constant", name, value.sample, differentiable=False)
        return self.buffers[value]

    def _store(self, node: ir.Node, results: Sequence[Value]) -> None:
        """Keep a node's outputs; what was computed inside of it bears its name now."""
        for value, result in zip(node.outputs, results, strict=False):
            if not value.name:
                continue
            if isinstance(result, Entry) and result.node is not None:
                inner = str(result.node.meta.get("onnx_value", ""))
                name = f"{self.prefix}{value.name}"
                if inner.startswith(f"{self.prefix}{first_name(node)}/"):
                    result.node.meta |= {"onnx_node": node.name or "", "onnx_value": name}
                elif inner != name and not self.prefix:
                    # The same tensor under another name: of the file's own, each has a node.
                    self.known[value] = self.apply("Identity", [result], node, str(value.name))[0]
                    continue
            self.known[value] = result

    def _input_name(self, node: ir.Node, index: int) -> str:
        value = node.inputs[index] if index < len(node.inputs) else None
        named = value is not None and value.name
        return f"{self.prefix}{value.name}" if value is not None and named else f"{first_name(node)}.{index}"

    def _failure(self, node: ir.Node, error: BaseException) -> LoweringError:
        shapes = [
            tuple(found.sample.shape)
            for value in node.inputs
            if value is not None and isinstance(found := self.known.get(value), Entry)
        ]
        inputs = {
            str(value.name): tuple(found.sample.shape)
            for value in real_inputs(self.model.ir.graph)
            if isinstance(found := self.known.get(value), Entry)
        }
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        sizes = ", ".join(f"{name!r} {shape}" for name, shape in inputs.items())
        message = (
            f"{self.model.name}: node {node.name or first_name(node)!r} ({node.op_type}) cannot be computed on shapes "
            f"{shapes} at input {sizes}: {reason}. Try another input size."
        )
        return LoweringError(message, node=node.name, op_type=node.op_type)


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)
