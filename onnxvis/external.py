"""Weights that are stored in files beside a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxvis.errors import ExternalDataError, innermost_reason


def check_external_data(proto: onnx.ModelProto, name: str, path: Path | None) -> None:
    """Refuse a model whose weights are not where they should be.

    Args:
        proto: The model.
        name: Its name, for messages.
        path: Where it lies; None if it came from memory.

    Raises:
        ExternalDataError: Weights are missing, too short, or outside the model's folder.
    """
    tensors = [*_tensors(proto.graph.node, proto.graph.initializer)]
    tensors += [tensor for function in proto.functions for tensor in _tensors(function.node)]
    problems = [
        problem
        for tensor in tensors
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for problem in [_external_problem(tensor, path)]
        if problem is not None
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"{name}: {problems[0]}{more}."
        raise ExternalDataError(message, problems=problems)


def sha256_with_weights(checksum: str, graph: ir.Graph) -> str:
    """Extend a model file's checksum by its external weights; without any it is returned as it is."""
    weights = [(name, value.const_value) for name, value in sorted(graph.initializers.items())]
    external = [(name, tensor) for name, tensor in weights if isinstance(tensor, ir.ExternalTensor)]
    if not external:
        return checksum
    digest = hashlib.sha256(checksum.encode())
    for name, tensor in external:
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _external_problem(tensor: onnx.TensorProto, path: Path | None) -> str | None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if path is None:
        return f"weight {tensor.name!r} lies in the file {location!r} beside the model; load the model by its path"
    try:
        folder = path.parent.resolve()
        file = (folder / location).resolve()
        found = file.is_file()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # Too long, a loop of symbolic links, not UTF-8, a null byte.
        reason = innermost_reason(error)
        return f"weight {tensor.name!r} points to {str(location)[:80]!r}: {reason}; export the model again"
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        return (
            f"weight {tensor.name!r} points to {location!r}, outside the model's folder; save its data beside the model"
        )
    if not found:
        return f"weight {tensor.name!r} needs the file {location!r} beside the model; copy it there too"
    return _too_short(tensor, entries, file)


def _too_short(tensor: onnx.TensorProto, entries: Mapping[str, str], file: Path) -> str | None:
    bits = ir.DataType(tensor.data_type).bitwidth if tensor.data_type in set(ir.DataType) else 0
    size = (int(np.prod(tensor.dims, dtype=object)) * bits + 7) // 8
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        return f"weight {tensor.name!r} has an offset or length that is not a number; export the model again"
    if offset < 0 or length < size or any(dim < 0 for dim in tensor.dims):
        return (
            f"weight {tensor.name!r} of shape {tuple(tensor.dims)} cannot lie in {length} bytes at offset {offset}; "
            "export the model again"
        )
    if file.stat().st_size < offset + length:
        return (
            f"weight {tensor.name!r} needs {offset + length} bytes of {file.name!r}, which has {file.stat().st_size}; "
            "copy the file again"
        )
    return None


def _tensors(
    nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto] = ()
) -> Iterator[onnx.TensorProto]:
    yield from initializers
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(inner.node, inner.initializer)
