"""What is known of the ONNX values while a model is lowered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, fx

from onnxvis.ops import Operator
from onnxvis.ops.dtypes import onnx_dtype


@dataclass(frozen=True, eq=False)
class Entry:
    """What is known of one tensor while lowering.

    Attributes:
        sample: The value at a random input.
        node: The fx node that computes it; None for what is known beforehand.
        differentiable: Whether a gradient reaches the model's inputs from here.
        type: The ONNX element type of the values, which the sample's dtype need not tell: see `onnxvis.ops.table`.
    """

    sample: Tensor
    node: fx.Node | None
    differentiable: bool
    type: ir.DataType

    @property
    def is_carrier(self) -> bool:
        """Whether floats carry quantized integers, so that a gradient passes."""
        return self.sample.is_floating_point() and self.type.is_integer()


class Absent:
    """An optional value without an element."""


Value = Entry | tuple[Any, ...] | Absent
"""A tensor, a sequence as the tuple of its elements, or an optional without one (one that has an element is it)."""


def result_types(
    operator: Operator,
    entries: Sequence[Entry | None],
    results: Sequence[Tensor],
    types: Sequence[int | None],
    attributes: Mapping[str, Any],
) -> list[ir.DataType]:
    """Return the ONNX types of an operator's results."""
    own = [ir.DataType(onnx_dtype(result.dtype)) for result in results]
    if operator.types is not None:
        said = [*operator.types(tuple(types), attributes), *[None] * len(own)]
        return [kind if given is None else ir.DataType(given) for kind, given in zip(own, said, strict=False)]
    if not operator.carries:
        return own
    held = {
        entry.sample.dtype: entry.type
        for entry in reversed(entries)
        if entry is not None and int(entry.type) != onnx_dtype(entry.sample.dtype)
    }
    return [held.get(result.dtype, kind) for result, kind in zip(results, own, strict=True)]


def described(node: str, op_type: str, value: str, sample: Tensor, *, differentiable: bool) -> dict[str, Any]:
    """Return what an fx node tells of the ONNX value that it computes."""
    return {
        "onnx_node": node,
        "onnx_op": op_type,
        "onnx_value": value,
        "shape": tuple(sample.shape),
        "differentiable": differentiable,
    }


def random_sample(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Draw an input in [0, 1); integers and flags are zero, which is valid everywhere as an index."""
    if not dtype.is_floating_point:
        return torch.zeros(tuple(shape), dtype=dtype)
    drawn = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.rand(tuple(shape), generator=generator, dtype=drawn).to(dtype)


def first_name(node: ir.Node) -> str:
    """Return the name of a node's first output that has one, which tells nodes apart better than their own names."""
    return next((str(value.name) for value in node.outputs if value.name), node.op_type)
