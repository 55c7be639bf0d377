"""From a path to a `ModelProto`; the large weights of a large file are left where they are.

The file is walked as the wire format of protocol buffers lays it out (https://protobuf.dev/programming-guides/encoding):
ModelProto.graph.initializer.raw_data. So a file whose weights take more than the 2 GB of a protocol buffer is read too.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from onnxvis.errors import ModelFileError
from onnxvis.stored import Region

LARGE_FILE = 64 << 20
"""Bytes of a file from which on its weights stay in it; a smaller one is read at once."""
_LARGE_WEIGHT = 64 << 10
_MOST_FIELDS = 5_000_000
"""Fields that are looked at one by one: a file of more is parsed as a whole."""
_MOST_BYTES = (1 << 31) - 1
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
_VARINT, _DELIMITED = 0, 2
_SIZES = {1: 8, 5: 4}
"""Bytes of the other kinds of fields."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        proto: The model, without what is in `regions`.
        sha256: The checksum of all bytes.
        regions: Where the values of initializers are that were not read, by name.
    """

    proto: onnx.ModelProto
    sha256: str
    regions: Mapping[str, Region]


def read(path: Path) -> Content:
    """Read a model's file.

    Raises:
        ModelFileError: It is missing, unreadable, truncated, or not ONNX.
    """
    try:
        if path.stat().st_size >= LARGE_FILE:
            return _read_large(path)
        content = path.read_bytes()
    except FileNotFoundError:
        message = f"No file {str(path)!r}. Check the path; the folder {_existing_parent(path)} exists."
        raise ModelFileError(message, path=path) from None
    except (OSError, ValueError) as error:
        # ValueError: a null byte in the path.
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"Cannot read {str(path)!r}: {reason}. Give the path of an .onnx file that you may read."
        raise ModelFileError(message, path=path) from error
    return Content(parse(content, path.name), hashlib.sha256(content).hexdigest(), {})


def parse(content: bytes, name: str, size: int | None = None) -> onnx.ModelProto:
    """Parse the bytes of a model.

    Args:
        content: The bytes.
        name: What messages call it.
        size: The bytes of its file, where some of them are left out here.

    Raises:
        ModelFileError: They are no model.
    """
    if content.startswith(b"version https://git-lfs"):
        message = f"{name} is a Git LFS pointer, not the model itself. Run 'git lfs pull' in its repository."
        raise ModelFileError(message)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        # Every exporter writes ir_version, field 1, first: such a file was once ONNX.
        kind = "is truncated or damaged" if content[:1] == b"\x08" else "is not an ONNX file"
        count = len(content) if size is None else size
        message = f"{name} {kind} ({count} bytes cannot be parsed as a ModelProto). Copy or export it again."
        raise ModelFileError(message) from error
    return proto


def checksum_of(proto: onnx.ModelProto) -> str:
    """Return the checksum of the bytes that a model would be written as.

    Raises:
        ModelFileError: It is too large for one protocol buffer, as with external weights read into it.
    """
    try:
        return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
    except (EncodeError, ValueError) as error:
        message = "The model is too large for one ModelProto (2 GB). Give the path of its file instead."
        raise ModelFileError(message) from error


def _existing_parent(path: Path) -> str:
    return repr(str(next((parent for parent in path.parents if parent.is_dir()), Path())))


def _read_large(path: Path) -> Content:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            walk, size = _Walk(view, path), len(view)
            try:
                content = walk.small_part()
            except (IndexError, KeyError, ValueError):
                # Not the wire format: the parser says what it is.
                walk.regions.clear()
                content = view[:_MOST_BYTES]
    return Content(parse(content, path.name, size), checksum, walk.regions)


@dataclass(frozen=True)
class _Field:
    number: int
    kind: int
    begin: int
    payload: int
    end: int


class _Walk:
    """One walk through a file, which notes where the large weights are."""

    def __init__(self, view: mmap.mmap, path: Path) -> None:
        self.view, self.path = view, path
        self.regions: dict[str, Region] = {}
        self._seen = 0

    def small_part(self) -> bytes:
        """Copy the ModelProto without the large weights of its graph."""
        parts = []
        for field in self._fields(0, len(self.view)):
            if field.number == _GRAPH and field.kind == _DELIMITED:
                parts.append(_delimited(_GRAPH, self._small_graph(field)))
            else:
                parts.append(self.view[field.begin : field.end])
        return b"".join(parts)

    def _small_graph(self, graph: _Field) -> bytes:
        parts = []
        for field in self._fields(graph.payload, graph.end):
            is_large = field.number == _INITIALIZER and field.end - field.payload >= _LARGE_WEIGHT
            small = self._small_weight(field) if is_large else None
            parts.append(self.view[field.begin : field.end] if small is None else _delimited(_INITIALIZER, small))
        return b"".join(parts)

    def _small_weight(self, weight: _Field) -> bytes | None:
        """Copy a TensorProto without its `raw_data`, and note where they are; None: it has none."""
        name, raw, parts = "", None, []
        for field in self._fields(weight.payload, weight.end):
            if field.number == _RAW_DATA and field.kind == _DELIMITED:
                raw = field
                continue
            if field.number == _NAME and field.kind == _DELIMITED:
                name = self.view[field.payload : field.end].decode()
            parts.append(self.view[field.begin : field.end])
        if raw is None:
            return None
        self.regions[name] = Region.of(self.path, raw.payload, raw.end - raw.payload)
        return b"".join(parts)

    def _fields(self, begin: int, end: int) -> Iterator[_Field]:
        at = begin
        while at < end:
            self._seen += 1
            tag, payload = _varint(self.view, at)
            kind = tag & 7
            if kind == _DELIMITED:
                length, payload = _varint(self.view, payload)
                after = payload + length
            elif kind == _VARINT:
                _, after = _varint(self.view, payload)
            else:
                after = payload + _SIZES[kind]
            if after > end or self._seen > _MOST_FIELDS:
                message = f"field {self._seen} ends at byte {after} of {end}"
                raise ValueError(message)
            yield _Field(tag >> 3, kind, at, payload, after)
            at = after


def _varint(view: mmap.mmap, at: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, the lowest first; return it and where it ends."""
    value = 0
    for index in range(10):
        byte = view[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, at + index + 1
    message = "a number of more than ten bytes"
    raise ValueError(message)


def _delimited(number: int, content: bytes) -> bytes:
    return _written(number << 3 | _DELIMITED) + _written(len(content)) + content


def _written(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - as above
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
