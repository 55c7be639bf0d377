"""Weights that are stored in files beside a model."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import helper

from onnxvis.errors import ExternalDataError, InvalidModelError, innermost_reason
from onnxvis.stored import StoredTensor, byte_count

_BYTE = 8
_NUMBERS = frozenset(dtype.value for dtype in ir.DataType if dtype not in (ir.DataType.UNDEFINED, ir.DataType.STRING))


def check_external_data(proto: onnx.ModelProto, name: str, path: Path | None) -> None:
    """Refuse a model whose weights are not where they should be.

    Args:
        proto: The model.
        name: Its name, for messages.
        path: Where it lies; None if it came from memory.

    Raises:
        ExternalDataError: Weights are missing, too short, or outside the model's folder.
    """
    problems = [
        problem
        for tensor in _all_tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for problem in [_external_problem(tensor, path)]
        if problem is not None
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"{name}: {problems[0]}{more}."
        raise ExternalDataError(message, problems=problems)


def check_weights(proto: onnx.ModelProto, elsewhere: Container[str]) -> None:
    """Refuse a model with a tensor that has more or fewer values than its shape says.

    Args:
        proto: The model.
        elsewhere: Names of the initializers whose values have not been read.

    Raises:
        InvalidModelError: The first such tensor is named.
    """
    for tensor in _all_tensors(proto):
        is_here = tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.name not in elsewhere
        if not is_here or tensor.data_type not in _NUMBERS:
            continue
        found, wanted = _held(tensor)
        if found != wanted:
            message = (
                f"The tensor {tensor.name!r} of shape {tuple(tensor.dims)} should hold {wanted} numbers or bytes, and "
                f"holds {found}. Export the model again."
            )
            raise InvalidModelError(message, name=tensor.name)


def sha256_with_weights(checksum: str, weights: Iterable[StoredTensor], path: Path | None) -> str:
    """Extend a model file's checksum by its weights in other files; without any it is returned as it is.

    Args:
        checksum: The checksum of the model's file.
        weights: All weights that stay in a file.
        path: The model's file, whose own weights have been counted.
    """
    external = [tensor for tensor in weights if tensor.region.path != path]
    if not external:
        return checksum
    digest = hashlib.sha256(checksum.encode())
    for tensor in sorted(external, key=lambda tensor: str(tensor.name)):
        digest.update(str(tensor.name).encode())
        for chunk in tensor.region.chunks():
            digest.update(chunk)
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
    is_inside = file.is_relative_to(folder)
    if found and not is_inside and (folder / location).is_symlink():
        return (
            f"weight {tensor.name!r} needs {location!r}, a link to a file outside the model's folder; put a copy there "
            "instead of the link (cp -L)"
        )
    if not location or Path(location).is_absolute() or not is_inside:
        return (
            f"weight {tensor.name!r} points to {location!r}, outside the model's folder; save its data beside the model"
        )
    if not found:
        return f"weight {tensor.name!r} needs the file {location!r} beside the model; copy it there too"
    return _too_short(tensor, entries, file)


def _too_short(tensor: onnx.TensorProto, entries: Mapping[str, str], file: Path) -> str | None:
    if tensor.data_type not in _NUMBERS:
        return (
            f"weight {tensor.name!r} has element type {tensor.data_type}, which no file holds; export the model again"
        )
    size = byte_count(ir.DataType(tensor.data_type), list(tensor.dims))
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


def _held(tensor: onnx.TensorProto) -> tuple[int, int]:
    """Return how many bytes or list entries a tensor has, and how many it should have."""
    dtype = ir.DataType(tensor.data_type)
    size = byte_count(dtype, list(tensor.dims)) if min(tensor.dims, default=0) >= 0 else -1
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), size
    entries = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    # Lists hold a number each, or two for a complex one; what is smaller than a byte is packed into bytes.
    parts = 2 if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128) else 1
    return entries, size if dtype.bitwidth < _BYTE else size * _BYTE * parts // dtype.bitwidth


def _all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _tensors(proto.graph.node, proto.graph.initializer)
    for function in proto.functions:
        yield from _tensors(function.node)


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
