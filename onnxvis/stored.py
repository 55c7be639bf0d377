"""Weights that stay in their file until they are used, and are mapped into memory only while they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.errors import ExternalDataError

_CHUNK = 1 << 20
_BYTE = 8


@dataclass(frozen=True)
class Region:
    """Some bytes of a file as it is now.

    Attributes:
        path: The file.
        offset: The first byte.
        length: How many.
        state: What tells whether the file has been written since: time, size, number.
    """

    path: Path
    offset: int
    length: int
    state: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, offset: int, length: int) -> Region:
        """Describe bytes of a file that exists."""
        return cls(path, offset, length, _state(path))

    def mapped(self) -> np.ndarray[Any, Any]:
        """Return the bytes; those that are looked at are read, and memory is given back with the array.

        Raises:
            ExternalDataError: The file has been written or removed since the model was loaded.
        """
        self._check()
        if self.length == 0:
            return np.empty(0, np.uint8)
        return np.memmap(self.path, np.uint8, "r", self.offset, (self.length,)).view(np.ndarray)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, a megabyte at a time.

        Raises:
            ExternalDataError: As for `mapped`.
        """
        self._check()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for begin in range(0, self.length, _CHUNK):
                yield file.read(min(_CHUNK, self.length - begin))

    def _check(self) -> None:
        try:
            is_same = _state(self.path) == self.state
        except OSError:
            is_same = False
        if not is_same:
            message = (
                f"{str(self.path)!r} has been written or removed since the model was loaded. Load the model again."
            )
            raise ExternalDataError(message, path=self.path)


class StoredTensor(ir.LazyTensor):
    """A weight in a file.

    Args:
        name: Its name.
        dtype: Its element type.
        shape: Its shape.
        region: Where its bytes are.
    """

    def __init__(self, name: str | None, dtype: ir.DataType, shape: ir.Shape, region: Region) -> None:
        super().__init__(self._read, dtype=dtype, shape=shape, name=name)
        self.region = region

    def _read(self) -> ir.TensorProtocol:
        sizes = [int(size) for size in self.shape.numpy()]
        content = self.region.mapped()[: byte_count(self.dtype, sizes)]
        if self.dtype.bitwidth < _BYTE:
            return ir.PackedTensor(content, self.dtype, shape=sizes, name=self.name)
        return ir.Tensor(content.view(self.dtype.numpy()).reshape(sizes), dtype=self.dtype, name=self.name)


def byte_count(dtype: ir.DataType, sizes: list[int]) -> int:
    """Return how many bytes a tensor takes in a file."""
    bits = dtype.bitwidth
    for size in sizes:
        bits *= size
    return (bits + _BYTE - 1) // _BYTE


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def leave_in_files(graph: ir.Graph, folder: Path, regions: Mapping[str, Region]) -> None:
    """Make stored tensors of the external tensors of a graph, and of the initializers that lie in these regions.

    Args:
        graph: The graph, which is changed.
        folder: Where the files of external tensors are; they have been checked.
        regions: Bytes by name of initializer.

    Raises:
        ValueError: An initializer's shape does not fit its bytes.
    """
    for inner in (graph, *graph.subgraphs()):
        for value in inner.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _of_external(value.const_value, folder)
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for name, attribute in list(node.attributes.items()):
            if isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, _of_external(attribute.value, folder))
    for name in regions.keys() & graph.initializers.keys():
        tensor = graph.initializers[name].const_value
        if tensor is not None:
            graph.initializers[name].const_value = _of_region(tensor, regions[name])


def stored_tensors(graph: ir.Graph) -> Iterator[StoredTensor]:
    """Yield all tensors of a graph and its subgraphs that lie in a file."""
    found = [value.const_value for inner in (graph, *graph.subgraphs()) for value in inner.initializers.values()]
    for node in ir.traversal.RecursiveGraphIterator(graph):
        found += [attribute.value for attribute in node.attributes.values()]
    yield from (tensor for tensor in found if isinstance(tensor, StoredTensor))


def _of_external(tensor: ir.ExternalTensor, folder: Path) -> StoredTensor:
    sizes = [int(size) for size in tensor.shape.numpy()]
    region = Region.of(folder / tensor.location, tensor.offset or 0, byte_count(tensor.dtype, sizes))
    return StoredTensor(tensor.name, tensor.dtype, tensor.shape, region)


def _of_region(tensor: ir.TensorProtocol, region: Region) -> StoredTensor:
    sizes = [int(size) for size in tensor.shape.numpy()]
    if min(sizes, default=0) < 0 or byte_count(tensor.dtype, sizes) != region.length:
        message = f"weight {tensor.name!r} of shape {tuple(sizes)} cannot lie in {region.length} bytes"
        raise ValueError(message)
    return StoredTensor(tensor.name, tensor.dtype, ir.Shape(sizes), region)
