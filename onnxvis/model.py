"""A model as its file describes it; nothing here computes, and nothing changes it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_ir
from onnx_ir.passes.common import TopologicalSortPass

from onnxvis.channels import channel_axes
from onnxvis.errors import InvalidModelError, ModelFileError, OnnxvisError, innermost_reason
from onnxvis.external import check_external_data, check_weights, sha256_with_weights
from onnxvis.functions import inline_functions
from onnxvis.graph import computed_values, is_default_domain, opset, quantized_values, real_inputs
from onnxvis.names import NameIndex
from onnxvis.protofile import Content, checksum_of, parse, read
from onnxvis.shapes import TensorSpec, inferred, skeleton
from onnxvis.sparse import densified, has_sparse
from onnxvis.stored import leave_in_files, stored_tensors

_SMALL = 64
"""Elements up to which an integer constant is read while looking at a model: axes and shapes, not indices."""


@dataclass(frozen=True)
class NodeSpec:
    """One tensor that can be visualized.

    Attributes:
        name: The shortest name that `--node` understands.
        op_type: The operator that computes it.
        shape: Its shape as far as the file says.
        filters: The number of channels; None where the channel axis is not known.
        node: The node's full name in the file, "" where it has none.
        tensor: The tensor's name in the file.
        channel_axis: The axis of the channels, or None.
    """

    name: str
    op_type: str
    shape: tuple[int | str | None, ...] | None
    filters: int | None
    node: str
    tensor: str
    channel_axis: int | None


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        name: The file's name, or "the model".
        path: Where it came from, if from a file.
        file_sha256: The checksum of the file's bytes.
        ir: The graph, functions inlined and nodes sorted. Do not change it.
        known_shapes: Shapes that have been found by running the model, by tensor name.
    """

    name: str
    path: Path | None
    file_sha256: str
    ir: onnx_ir.Model = field(repr=False)
    known_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def at(self, shapes: Mapping[str, tuple[int, ...]]) -> Model:
        """Return the same model with these tensors known to have these shapes."""
        return self._with_inference(dataclasses.replace(self, known_shapes={**self.known_shapes, **shapes}))

    def with_graph(self, graph_model: onnx_ir.Model) -> Model:
        """Return this model with a part of its graph instead of the whole."""
        return self._with_inference(dataclasses.replace(self, ir=graph_model))

    def _with_inference(self, other: Model) -> Model:
        # The names mean the same tensors there: what has been inferred once need not be inferred again.
        other.__dict__["inference"] = self.inference
        return other

    @functools.cached_property
    def sha256(self) -> str:
        """The checksum of the file; with weights in other files, of it and of those weights, which are read for it."""
        return sha256_with_weights(self.file_sha256, stored_tensors(self.ir.graph), self.path)

    @functools.cached_property
    def inference(self) -> Mapping[str, TensorSpec]:
        """What ONNX's inference finds, by tensor name."""
        with _silenced("onnx_ir"):
            return inferred(self.ir)

    @functools.cached_property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Types and shapes by tensor name, as far as ONNX's inference finds them, or running has."""
        specs = dict(self.inference)
        for name, shape in self.known_shapes.items():
            specs[name] = TensorSpec(name, specs[name].dtype if name in specs else "UNDEFINED", shape)
        return specs

    @functools.cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that have to be fed (weights that are listed as inputs are not among them)."""
        return tuple(self.spec(value) for value in real_inputs(self.ir.graph))

    @functools.cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs, in the file's order."""
        return tuple(self.spec(value) for value in self.ir.graph.outputs)

    @functools.cached_property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """All tensors that can be visualized, in the order of computation: see `activations`."""
        return tuple(self._node_spec(value) for value in self.activations if not _is_mask(value))

    @functools.cached_property
    def activations(self) -> tuple[onnx_ir.Value, ...]:
        """The values computed from the inputs that are floats, or quantized integers that stand for floats."""
        quantized = quantized_values(self.ir.graph)
        return tuple(
            value for value in computed_values(self.ir.graph) if self.spec(value).is_float or value in quantized
        )

    @functools.cached_property
    def values(self) -> Mapping[str, onnx_ir.Value]:
        """The values of the main graph by tensor name."""
        return onnx_ir.convenience.create_value_mapping(self.ir.graph, include_subgraphs=False)

    @functools.cached_property
    def names(self) -> NameIndex:
        """The names by which tensors are found."""
        return NameIndex(self.ir.graph, self.activations, {name: spec.shape for name, spec in self.tensors.items()})

    @functools.cached_property
    def channel_axes(self) -> Mapping[str, int]:
        """The channel axis of each tensor that has a known one."""
        shapes = {name: spec.shape for name, spec in self.tensors.items()}
        return channel_axes(self.ir.graph, shapes, _small_integers(self.ir.graph))

    @property
    def opset(self) -> int:
        """The version of the ONNX operator set."""
        return opset(self.ir)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's `metadata_props`."""
        return self.ir.metadata_props

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """Class names from the metadata key `onnxvis.labels` (a JSON list, or one name a line); empty if none."""
        text = self.metadata.get("onnxvis.labels", "")
        try:
            names = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            # Lists in lists without end are no names either.
            names = text.splitlines()
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def spec(self, value: onnx_ir.Value) -> TensorSpec:
        """Return the type and shape of a value of the graph."""
        name = str(value.name)
        return self.tensors.get(name) or TensorSpec(name, "UNDEFINED", None)

    def _node_spec(self, value: onnx_ir.Value) -> NodeSpec:
        node = value.producer()
        shape = self.spec(value).shape
        axis = self.channel_axes.get(str(value.name))
        size = None if axis is None or shape is None or axis >= len(shape) else shape[axis]
        return NodeSpec(
            name=self.names.short_name(value),
            op_type="" if node is None else node.op_type,
            shape=shape,
            filters=size if isinstance(size, int) else None,
            node="" if node is None else node.name or "",
            tensor=str(value.name),
            channel_axis=axis,
        )

    def __str__(self) -> str:
        lines = [
            f"{self.name}: opset {self.opset}, {len(self.ir.graph)} nodes, by {self.ir.producer_name or 'unknown'}"
        ]
        lines += [f"  input   {spec}" for spec in self.inputs]
        lines += [f"  output  {spec}" for spec in self.outputs]
        return "\n".join(lines)


def _is_mask(value: onnx_ir.Value) -> bool:
    """Old opsets declare the mask of a Dropout as floats."""
    node = value.producer()
    return node is not None and node.op_type == "Dropout" and value is not node.outputs[0]


def load(source: str | os.PathLike[str] | bytes | onnx.ModelProto | Model) -> Model:
    """Read and check a model; weights stored beside it stay on disk until they are used.

    Args:
        source: A path, the bytes of a file, or a `ModelProto` (which is not changed).

    Raises:
        ModelFileError: The file is missing, unreadable, truncated, or not ONNX.
        InvalidModelError: The model has no operator set, no graph, or is refused by the ONNX checker.
        ExternalDataError: Weights beside the file are missing, too short, or outside its folder.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, onnx.ModelProto):
        return _checked(Content(source, checksum_of(source), {}), "the model", None)
    if isinstance(source, bytes):
        content = Content(parse(source, "the model"), hashlib.sha256(source).hexdigest(), {})
        return _checked(content, "the model", None)
    path = Path(source)
    content = read(path)
    return _checked(content, path.name, path)


def _checked(content: Content, name: str, path: Path | None) -> Model:
    proto = content.proto
    if not proto.HasField("graph"):
        message = (
            f"{name} holds no graph ({proto.ByteSize()} bytes): not an ONNX model, or truncated. "
            "Copy or export it again."
        )
        raise ModelFileError(message)
    if not proto.opset_import:
        message = (
            f"{name} imports no operator set, so its operators have no meaning. Export it again, or add opset_import."
        )
        raise InvalidModelError(message)
    try:
        with _silenced("onnx_ir"):
            check_external_data(proto, name, path)
            model = _simplified(content, name, path)
            onnx.checker.check_model(_with_shapes(skeleton(model)))
    except OnnxvisError:
        raise
    except Exception as error:
        # onnx-ir raises many kinds for malformed graphs; all of them mean the same to the user.
        reason = innermost_reason(error)
        message = f"{name} is not a valid ONNX model: {reason}. Export it again, or repair it and run onnx.checker."
        raise InvalidModelError(message, reason=reason) from error
    return Model(name, path, content.sha256, model)


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Declare inputs and outputs of unknown rank as scalars: the checker wants a shape there, onnxruntime does not."""
    for value in [*proto.graph.input, *proto.graph.output]:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    return proto


def _simplified(content: Content, name: str, path: Path | None) -> onnx_ir.Model:
    """Write out sparse tensors and functions, and sort the nodes; weights that lie in files stay there."""
    proto = densified(content.proto) if has_sparse(content.proto) else content.proto
    check_weights(proto, content.regions)
    model = onnx_ir.from_proto(proto)
    inline_functions(model, name)
    TopologicalSortPass()(model)
    _check_constants(model.graph)
    if path is not None:
        leave_in_files(model.graph, path.parent, content.regions)
    return model


def _check_constants(graph: onnx_ir.Graph) -> None:
    """Refuse what the checker lets pass, and readers of constants do not."""
    for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
        if node.op_type == "Constant" and is_default_domain(node.domain) and len(node.attributes) != 1:
            message = f"Constant {node.outputs[0].name!r} has {len(node.attributes)} values, and not one"
            raise ValueError(message)


@contextmanager
def _silenced(logger: str) -> Iterator[None]:
    """Keep a library's log from stderr, where it goes if nobody has set up logging: the error says all."""
    handler = logging.NullHandler()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(logger).removeHandler(handler)


def _small_integers(graph: onnx_ir.Graph) -> dict[str, list[int]]:
    found = {}
    for value in [*graph.initializers.values(), *(output for node in graph for output in node.outputs)]:
        tensor = onnx_ir.convenience.get_const_tensor(value)
        if tensor is not None and tensor.size <= _SMALL and tensor.dtype.is_integer():
            found[str(value.name)] = [int(number) for number in tensor.numpy().reshape(-1)]
    return found
