"""onnxruntime as the reference: what a model really computes, at any of its tensors."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByOrt

from onnxvis.errors import OracleError
from onnxvis.graph import ancestors, inputs_of, real_inputs
from onnxvis.model import Model

Arrays = dict[str, np.ndarray[Any, Any]]

_QUIET = 4
_NEWEST_ORT_IR = 13
_log = logging.getLogger(__name__)


class _Session(Protocol):
    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]: ...


class Oracle:
    """A session over the original model with more tensors as outputs, unoptimized, on the CPU.

    onnxruntime knows operator sets only up to some version; a newer file in which no operator has changed since is run
    at that version, and any other by the ONNX project's reference implementation. `engine` says which it was.

    Args:
        model: The model.
        tensors: The tensors to observe.

    Raises:
        OracleError: The model cannot be run.
    """

    def __init__(self, model: Model, tensors: Sequence[str]) -> None:
        self.tensors = list(tensors)
        self.types = {spec.name: spec.dtype for spec in model.inputs}
        proto = observed(model, self.tensors)
        self.engine, self._session = _session(model, proto)

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        """Return the observed tensors for these inputs; arrays are converted to the types that the file declares."""
        typed = {name: _typed(array, self.types[name]) for name, array in feeds.items() if name in self.types}
        try:
            values = self._session.run(self.tensors, typed)
        except Exception as error:
            # onnxruntime's exceptions derive from Exception alone.
            message = f"{self.engine} cannot run the model on this input: {' '.join(str(error).split())[:300]}"
            raise OracleError(message) from error
        return dict(zip(self.tensors, (np.asarray(value) for value in values), strict=True))


def observed(model: Model, tensors: Sequence[str]) -> onnx.ModelProto:
    """Write the model with these tensors as its only outputs, and nothing that they do not need."""
    proto = ir.to_proto(model.ir)
    values = [model.values[name] for name in tensors]
    needed = ancestors(values)
    nodes = [written for node, written in zip(model.ir.graph, proto.graph.node, strict=True) if node in needed]
    unread = {str(value.name) for value in real_inputs(model.ir.graph)}
    unread -= {str(value.name) for value in inputs_of(model.ir.graph, values)}
    inputs = [info for info in proto.graph.input if info.name not in unread]
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend(nodes)
    proto.graph.input.extend(inputs)
    types = {name: spec.dtype for name, spec in model.tensors.items()}
    del proto.graph.output[:]
    for name in tensors:
        dtype = ir.DataType[types[name]].value if name in types else 0
        # Without a type onnxruntime infers it.
        info = helper.make_tensor_value_info(name, dtype, None) if dtype else onnx.ValueInfoProto(name=name)
        proto.graph.output.append(info)
    return proto


def _session(model: Model, proto: onnx.ModelProto) -> tuple[str, _Session]:
    failures: list[Exception] = []
    for declared in (_as_declared, _at_known_versions):
        written = declared(proto)
        if written is None:
            continue
        try:
            return "onnxruntime", _onnxruntime(model, written)
        except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions derive from Exception alone
            failures.append(error)
    is_newer = _declared(proto) > _newest_opset()
    if (is_newer or isinstance(failures[-1], NotImplementedByOrt)) and not _has_external_data(model):
        with contextlib.suppress(Exception):
            return "onnx.reference", ReferenceEvaluator(proto)  # type: ignore[return-value] # returns the same as a session
    reason = " ".join(str(failures[0]).split())[:300]
    engine = f"onnxruntime {onnxruntime.__version__}"
    message = f"{engine} refuses {model.name}: {reason}. Export it again, or update onnxruntime."
    raise OracleError(message, reason=reason) from failures[0]


def _as_declared(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    return proto


def _declared(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _onnxruntime(model: Model, proto: onnx.ModelProto) -> _Session:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if model.path is not None:
        folder = str(model.path.parent.resolve())
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    session: _Session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session


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


def _has_external_data(model: Model) -> bool:
    return any(isinstance(value.const_value, ir.ExternalTensor) for value in model.ir.graph.initializers.values())


def _typed(array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array if dtype == "UNDEFINED" else array.astype(ir.DataType[dtype].numpy()))
