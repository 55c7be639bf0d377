"""What a faulty twin is, and how one is made by an edit of one node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from tests.twins.edits import editing, making
from tests.twins.sources import label, slug

Edit = Callable[[ModelProto, NodeProto], None]


@dataclass(frozen=True)
class Fault:
    """A file that computes something else than its source, though nothing says so.

    The wrong layer is the first node of the faulty file whose output is not what the node in its place in the source
    computes. What is inserted, removed or constant has no such place: then it is the first node after it that has.

    Attributes:
        name: Unique and readable.
        source: File name under samples/ or ../shared/models, or a key of `sources.GENERATED`.
        kind: What is wrong.
        layer: Name of the wrong node in the faulty file; None where the file names no nodes.
        tensor: Name of its (first) output.
        make: The twin of a source, which is left as it is.
    """

    name: str
    source: str
    kind: str
    layer: str | None
    tensor: str
    make: Callable[[ModelProto], ModelProto]

    @property
    def id(self) -> str:
        """The name without spaces."""
        return slug(self.name)


def fault(source: str, kind: str, where: str | tuple[str | None, str], edit: Edit, *, at: str | None = None) -> Fault:
    """A fault of the layer `where`, its node's and its output's name; the edit is given the node that makes `at`."""
    layer, tensor = (where, where) if isinstance(where, str) else where
    edited = tensor if at is None else at
    name = f"{label(source)}: {kind} at {tensor if layer is None else layer}"
    make = editing(lambda model: edit(model, making(model, edited)))
    return Fault(name=name, source=source, kind=kind, layer=layer, tensor=tensor, make=make)
