"""How the weights of two nodes differ, where that has a name: turned, scaled, pruned, of some filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.axes import Array
from onnxvis.comparison.parameters import Setting
from onnxvis.comparison.sides import constant

_EXACT = 1e-3
_FEW = 0.34
_LISTED = 5
_NOTICEABLE = 0.02
_RGB = 3
_MATRIX, _KERNEL = 2, 4
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
"""Their gates lie one below the other, and directions along the first axis."""


def weights_of(nodes: tuple[ir.Node, ir.Node] | None, settings: Sequence[Setting]) -> list[str]:
    """Say how the weights differ, where that has a name."""
    changed = [setting for setting in settings if setting.weight and setting.second and setting.first]
    if nodes is None or not any(setting.name == "weight" for setting in changed):
        return []
    one, other = (_weight(node) for node in nodes)
    if (
        nodes[0].op_type in _RECURRENT
        or one is None
        or other is None
        or one.shape != other.shape
        or len(one.shape) < _MATRIX
    ):
        return []
    said = next((text for text, turned in _turns(one) if _same(turned, other)), None)
    if said is None:
        said = _factor(one, other) or _pruned(one, other) or _rows(one, other)
    rest = [str(setting) for setting in settings if setting.name != "weight"]
    return [said or "it has other weights", *rest]


def _weight(node: ir.Node) -> Array | None:
    arrays = [array for value in node.inputs if (array := constant(value)) is not None]
    largest = max(arrays, key=lambda array: array.size, default=None)
    return None if largest is None or largest.dtype.kind not in "fiu" else largest.astype(np.float64)


def _turns(weight: Array) -> Iterator[tuple[str, Array]]:
    """Yield a weight turned as exporters turn it by mistake."""
    if weight.ndim >= _KERNEL:
        yield "the kernel's height and width are swapped", np.swapaxes(weight, -1, -2)
        yield "the kernel is flipped", weight[..., ::-1, ::-1]
        yield "the kernel is flipped in height", weight[..., ::-1, :]
    if weight.ndim > _MATRIX:
        yield "the kernel is flipped in width", weight[..., ::-1]
    yield "the weight's first two axes are swapped", np.swapaxes(weight, 0, 1)
    if weight.shape[1] >= _RGB:
        colors = " (RGB and BGR)" if weight.shape[1] == _RGB else ""
        yield f"the input's channels are in the opposite order{colors}", weight[:, ::-1]
    yield "the filters are in the opposite order", weight[::-1]
    if weight.ndim > _MATRIX:
        turned = np.moveaxis(weight.reshape(len(weight), weight.shape[1], -1), 1, 2)
        yield "the weight's channels and places are mixed up", turned.reshape(weight.shape)


def _same(one: Array, other: Array) -> bool:
    scale = float(np.max(np.abs(other), initial=0.0))
    return one.shape == other.shape and bool(np.max(np.abs(one - other), initial=0.0) <= _EXACT * scale)


def _factor(one: Array, other: Array) -> str | None:
    size = float(np.sum(one * one))
    factor = float(np.sum(one * other)) / size if size else 0.0
    told = abs(factor - 1) > _NOTICEABLE and factor != 0
    return f"the weight is {factor:.3g} times as large" if told and _same(factor * one, other) else None


def _pruned(one: Array, other: Array) -> str | None:
    """Say how many weights have become zero, where the others are as they were."""
    lost = (other == 0) & (one != 0)
    if lost.mean() <= _NOTICEABLE or not _same(np.where(lost, 0, one), other) or len(np.flatnonzero(other)) == 0:
        return None
    rows = lost.reshape(len(lost), -1).any(axis=1)
    return f"{lost.mean():.0%} of the weights are zero here alone" if rows.mean() > _FEW else None


def _rows(one: Array, other: Array) -> str | None:
    """Say which filters' weights differ, where they are few."""
    scale = float(np.max(np.abs(one), initial=0.0))
    different = np.flatnonzero(np.abs(one - other).reshape(len(one), -1).max(axis=1) > _EXACT * scale)
    if not 0 < len(different) <= max(1, _FEW * len(one)):
        return None
    zero = not other[different].any() and one[different].any()
    what = "only zero weights" if zero else "other weights"
    plural, verb = ("", "has") if len(different) == 1 else ("s", "have")
    return f"filter{plural} {listed(different)} {verb} {what}"


def listed(numbers: Sequence[int] | Array) -> str:
    """Write the first of some numbers."""
    more = ", ..." if len(numbers) > _LISTED else ""
    return ", ".join(str(int(number)) for number in numbers[:_LISTED]) + more
