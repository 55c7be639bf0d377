"""onnxruntime as the reference: what a model really computes, at any of its tensors."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByOrt

from onnxvis.errors import OnnxvisError, OracleError
from onnxvis.exact_sums import graphs_of, with_exact_sums
from onnxvis.graph import ancestors, inputs_of, read_values
from onnxvis.model import Model

Arrays = dict[str, np.ndarray[Any, Any]]
Weights = Mapping[str, ir.TensorProtocol]

_QUIET = 4
_NEWEST_ORT_IR = 13
_BYTE = 8
_LARGE = 64 << 10
"""Bytes from which on weights are handed over beside the model: with all of them in it, it could be too large."""
_OLDEST_OPSET = 7
"""onnxruntime promises nothing before."""
_ROUNDED_BY_THREAD = frozenset({"DynamicQuantizeLSTM"})
"""onnxruntime quantizes each thread's part of a batch by itself: what it computes is up to the number of threads."""
_CAST_SUFFIX = "/visible"
_INVISIBLE = {
    dtype.name: ir.DataType.INT8 if dtype.is_integer() else ir.DataType.FLOAT
    for dtype in ir.DataType
    if dtype == ir.DataType.BFLOAT16
    or (dtype.is_floating_point() and dtype.bitwidth <= _BYTE)
    or (dtype.is_integer() and dtype.bitwidth < _BYTE)
}
"""Types that numpy has no arrays of, and those to which they are converted to be seen."""
_log = logging.getLogger(__name__)


class _Session(Protocol):
    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]: ...


class Oracle:
    """A session over the original model with more tensors as outputs, unoptimized, on the CPU.

    Sums of 8-bit products are exact on every processor, see `onnxvis.exact_sums`. onnxruntime knows operator sets only
    up to some version; a newer file in which no operator has changed since is run at that version, and any other by the
    ONNX project's reference implementation. `engine` says which it was.

    Args:
        model: The model.
        tensors: The tensors to observe.

    Raises:
        OracleError: The model cannot be run.
    """

    def __init__(self, model: Model, tensors: Sequence[str]) -> None:
        self.tensors = list(tensors)
        self.types = {spec.name: spec.dtype for spec in model.inputs}
        self._outputs = [_visible(model, name) for name in self.tensors]
        self.engine, self._session = _session(model, *with_exact_sums(*observed(model, self.tensors)))

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        """Return the observed tensors for these inputs; arrays are converted to the types that the file declares."""
        given = {name: typed(array, self.types[name]) for name, array in feeds.items() if name in self.types}
        try:
            values = self._session.run(self._outputs, given)
        except Exception as error:
            # onnxruntime's exceptions derive from Exception alone.
            message = f"{self.engine} cannot run the model on this input: {' '.join(str(error).split())[:300]}"
            raise OracleError(message) from error
        return dict(zip(self.tensors, (np.asarray(value) for value in values), strict=True))


def observed(model: Model, tensors: Sequence[str]) -> tuple[onnx.ModelProto, Weights]:
    """Write the model with these tensors as its only outputs, and nothing that they do not need.

    Returns:
        tuple: The model, and its large weights by name: the model says that their values lie in another file.
    """
    graph = model.ir.graph
    values = [model.values[name] for name in tensors]
    needed = ancestors(values)
    nodes = [node for node in graph if node in needed]
    read = {value for node in nodes for value in read_values(node)} | set(values)
    weights = [value for value in graph.initializers.values() if value in read]
    large = {
        str(value.name): tensor for value in weights if (tensor := value.const_value) is not None and _is_large(tensor)
    }
    view = ir.GraphView(
        inputs_of(graph, values),
        # Written below, with their types.
        [],
        nodes=nodes,
        initializers=[value for value in weights if value.name not in large],
        name=graph.name or "observed",
        opset_imports=graph.opset_imports,
    )
    proto = onnx.ModelProto(ir_version=model.ir.ir_version)
    proto.opset_import.extend(helper.make_opsetid(*entry) for entry in model.ir.opset_imports.items())
    ir.serde.serialize_graph_into(proto.graph, view)  # type: ignore[arg-type] # a view is what it takes, declared read-only
    proto.graph.initializer.extend(_placeholder(name, tensor) for name, tensor in large.items())
    for name in tensors:
        if _visible(model, name) != name:
            proto.graph.node.append(_cast(model, name))
        proto.graph.output.append(_output(model, name))
    return proto, large


def _is_large(tensor: ir.TensorProtocol) -> bool:
    # What is smaller than a byte is packed, and onnxruntime's Python interface knows no array of it.
    return tensor.dtype.bitwidth >= _BYTE and tensor.nbytes >= _LARGE


def _placeholder(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """Declare a weight whose values are handed over when the session is made."""
    written = onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=list(tensor.shape.numpy()))
    written.data_location = onnx.TensorProto.EXTERNAL
    written.external_data.add(key="location", value="handed over")
    return written


def _visible(model: Model, name: str) -> str:
    """Return the output at which a tensor is seen: numpy has no arrays of the smallest types and of bfloat16."""
    dtype = model.tensors[name].dtype if name in model.tensors else ""
    return f"{name}{_CAST_SUFFIX}" if dtype in _INVISIBLE else name


def _cast(model: Model, name: str) -> onnx.NodeProto:
    to = _INVISIBLE[model.tensors[name].dtype]
    return helper.make_node("Cast", [name], [_visible(model, name)], to=int(to))


def _output(model: Model, name: str) -> onnx.ValueInfoProto:
    dtype = ir.DataType[model.tensors[name].dtype].value if name in model.tensors else 0
    if _visible(model, name) != name:
        return helper.make_tensor_value_info(_visible(model, name), int(_INVISIBLE[model.tensors[name].dtype]), None)
    # Without a type onnxruntime infers it.
    return helper.make_tensor_value_info(name, dtype, None) if dtype else onnx.ValueInfoProto(name=name)


def _session(model: Model, proto: onnx.ModelProto, weights: Weights) -> tuple[str, _Session]:
    failures: list[Exception] = []
    for written in declarations(proto):
        try:
            return "onnxruntime", open_session(written, weights)
        except OnnxvisError:
            raise
        except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions derive from Exception alone
            failures.append(error)
    unknown = not _OLDEST_OPSET <= _declared(proto) <= _newest_opset()
    if unknown or isinstance(failures[-1], NotImplementedByOrt):
        with contextlib.suppress(Exception):
            return "onnx.reference", ReferenceEvaluator(whole(proto, weights))  # type: ignore[return-value] # returns the same as a session
    reason = " ".join(str(failures[0]).split())[:300]
    engine = f"onnxruntime {onnxruntime.__version__}"
    message = f"{engine} refuses {model.name}: {reason}. Export it again, or update onnxruntime."
    raise OracleError(message, reason=reason) from failures[0]


def whole(proto: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """Return a model with the large weights in it that have been left out.

    Args:
        proto: The model.
        weights: By name.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(proto)
    for written in filled.graph.initializer:
        if written.name in weights:
            name = written.name
            written.CopyFrom(ir.serde.serialize_tensor(weights[name]))
            written.name = name
    return filled


def declarations(proto: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Yield a model as it is, then as other operator sets that onnxruntime may run instead say the same.

    Args:
        proto: The model.
    """
    yield proto
    for otherwise in (_at_known_versions, _modernized):
        written = otherwise(proto)
        if written is not None:
            yield written


def _declared(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def open_session(proto: onnx.ModelProto, weights: Weights) -> _Session:
    """Open a session of onnxruntime, unoptimized, on the CPU.

    Args:
        proto: The model.
        weights: Those whose values lie elsewhere, by name.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    # As many threads as torch has, of which the user's settings speak; onnxruntime asks the machine alone.
    options.intra_op_num_threads = torch.get_num_threads()
    if any(node.op_type in _ROUNDED_BY_THREAD for graph in graphs_of(proto.graph) for node in graph.node):
        options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    handed = [_handed(tensor) for tensor in weights.values()]
    options.add_external_initializers(list(weights), handed)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return _Kept(session, handed)


def _handed(tensor: ir.TensorProtocol) -> onnxruntime.OrtValue:
    """Return a weight as onnxruntime takes it: without a copy, where its bytes lie as the processor wants them."""
    array = np.require(tensor.numpy(), requirements=["ALIGNED", "C_CONTIGUOUS"])
    if array.dtype.kind in "biufc":
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = array.view(f"u{array.dtype.itemsize}")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, int(tensor.dtype))


@dataclass(frozen=True)
class _Kept:
    """A session, and the weights that it reads and does not own."""

    session: _Session
    weights: Sequence[onnxruntime.OrtValue]

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        return self.session.run(output_names, feeds)


def _modernized(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """Write a file of opsets that onnxruntime promises nothing for as one of the first that it does; else None."""
    if _declared(proto) >= _OLDEST_OPSET:
        return None
    with contextlib.suppress(Exception):  # a RuntimeError of C++ for what has no newer form
        return onnx.version_converter.convert_version(proto, _OLDEST_OPSET + 1)
    return None


def _at_known_versions(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """Declare an older operator set where that changes the meaning of no node; else None."""
    newest = _newest_opset()
    declared = next((entry for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if declared is None or declared.version <= newest or not _same_meaning(proto.graph, declared.version, newest):
        return None
    older = onnx.ModelProto()
    older.CopyFrom(proto)
    for entry in older.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = newest
    older.ir_version = min(older.ir_version, _NEWEST_ORT_IR)
    return older


@functools.cache
def _newest_opset() -> int:
    """Ask onnxruntime for the newest operator set that it runs."""
    for version in range(onnx.defs.onnx_opset_version(), 0, -1):
        probe = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["": {version}]> g (float[1] x) => (float[1] y) {{ y = Identity(x) }}'
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        try:
            onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - as above
            _log.debug("onnxruntime does not know opset %d", version)
        else:
            return version
    return 1


def _same_meaning(graph: onnx.GraphProto, declared: int, newest: int) -> bool:
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        try:
            since = onnx.defs.get_schema(node.op_type, declared, "").since_version
        except onnx.defs.SchemaError:
            return False
        if since > newest:
            return False
        subgraphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        if not all(_same_meaning(inner, declared, newest) for inner in subgraphs):
            return False
    return True


def typed(array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Return an array in the type that a file declares for an input.

    Args:
        array: Any.
        dtype: As `onnx_ir.DataType` names it, or "UNDEFINED".
    """
    # A single number keeps its rank.
    return np.asarray(array if dtype == "UNDEFINED" else array.astype(ir.DataType[dtype].numpy()), order="C")
