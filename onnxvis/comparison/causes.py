"""Why a tensor differs although what it is computed from agrees: what its node is told, what its error looks like."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.axes import Array, errors
from onnxvis.comparison.operators import is_transparent, kind_of
from onnxvis.comparison.pairs import TensorPair, back, units_of
from onnxvis.comparison.parameters import Setting, differing
from onnxvis.comparison.sides import Recording, Side, constant
from onnxvis.comparison.structure import Correspondence

_EXACT = 1e-3
_FEW = 0.34
_LISTED = 5
_NOTICEABLE = 0.02
_FARTHEST = 32
_RGB = 3
_EXAMPLES = 2048
"""So many places of each unit show what an error looks like."""
_MATRIX, _KERNEL = 2, 4
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
"""Their gates lie one below the other, and directions along the first axis."""


@dataclass(frozen=True)
class Cause:
    """Where two files part, and why.

    Attributes:
        node: The node of the second file that is to blame; None: it has none there.
        first: The node of the first file that it should be.
        reasons: What is different, the most telling first; each a clause without a full stop.
    """

    node: ir.Node | None
    first: ir.Node | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What is known of two files that part.

    Attributes:
        sides: The files.
        recordings: What they compute.
        correspondence: Which tensor is which.
        pairs: The compared tensors.
    """

    sides: tuple[Side, Side]
    recordings: tuple[Recording, Recording]
    correspondence: Correspondence
    pairs: Mapping[str, TensorPair]


def cause_of(known: Evidence, root: str, limit: float) -> Cause:
    """Find out why two files part at a tensor.

    Args:
        known: What is known of them.
        root: The tensor, by the first file's name.
        limit: The relative error from which on two tensors differ.
    """
    with np.errstate(all="ignore"):
        return _cause(known, root, limit)


def _cause(known: Evidence, root: str, limit: float) -> Cause:
    pair = known.pairs[root]
    region = _region(known.sides[0], root, set(known.pairs)), _region_of_second(known, pair)
    lost, added = _strangers(known, region)
    one, other = known.sides[0].producer(root), known.sides[1].producer(pair.second)
    beyond = _beyond(known, root, pair)
    if beyond:
        said = [f"{_called(known.sides[1], node)} is not in the first file" for node in beyond]
        return Cause(beyond[0], one, tuple(said))
    rounded = other is not None and other.op_type == "DequantizeLinear"
    if root in known.correspondence.absorbed and one is not None and not rounded:
        # The second file has no such node: its tensor is that of the node before.
        return Cause(other, one, (f"{_called(known.sides[0], one)}{_behind(known, one)} has no counterpart",))
    settings, blamed = _told_differently(known, region, pair)
    told = _weights_of(blamed, settings) or [str(item) for item in settings]
    if blamed is None and not lost and not added:
        blamed, told = _first_apart(known, one, other, limit)
    looks = list(_looks(known, pair, limit))
    if pair.permutation is not None:
        told = []
    elif told:
        # What a node is told says more than what comes of it.
        scaled = any(text.startswith(("the weight is", "epsilon")) for text in told)
        looks = [
            look for look in looks if not look.startswith("its shape") and not (scaled and look.endswith("ization?)"))
        ]
    if blamed is not None:
        one, other = blamed
    elif added:
        other = added[-1]
    elif lost:
        one = lost[-1]
    reasons = (
        *(f"{_called(known.sides[0], node)}{_behind(known, node)} has no counterpart" for node in lost),
        *(f"{_called(known.sides[1], node)} is not in the first file" for node in added),
        *([] if lost or added else _other_operator(one, other)),
        *told,
        *looks,
    )
    return Cause(other, one, tuple(dict.fromkeys(reasons)))


def _beyond(known: Evidence, root: str, pair: TensorPair) -> list[ir.Node]:
    """Return what the second file does to an output after it holds what the first file's output does."""
    before = known.correspondence.replaced.get(root)
    arrays = known.recordings[0].get(root), known.recordings[1].get(before or "")
    if before is None or arrays[0] is None or arrays[1] is None or arrays[0].size != arrays[1].size:
        return []
    nodes = [node for node in _region(known.sides[1], pair.second, {before}) if not is_transparent(node)]
    reached = before in {str(value.name) for node in nodes for value in node.inputs if value is not None}
    return nodes if reached else []


def _first_apart(
    known: Evidence, one: ir.Node | None, other: ir.Node | None, limit: float
) -> tuple[tuple[ir.Node, ir.Node] | None, list[str]]:
    """Go back from two nodes to the first two of the same operators that return other numbers for the same ones.

    A tensor that holds the same in another order of axes, or that another node reads here, agrees with something, and
    is not what its reader expects.
    """
    found: tuple[ir.Node, ir.Node] | None = None
    said: list[str] = []
    for _ in range(_FARTHEST):
        if one is None or other is None or one.op_type != other.op_type:
            break
        found, said = (one, other), []
        pairs = zip(known.sides[0].data_inputs(one), known.sides[1].data_inputs(other), strict=False)
        apart = next((pair for pair in pairs if _are_apart(known, *pair, limit)), None)
        if apart is None:
            break
        if _is_sound(known, *apart):
            wanted = known.correspondence[apart[0]]
            instead = f" instead of {known.sides[1].name(wanted)!r}" if wanted not in (None, apart[1]) else ""
            said = [f"it reads {known.sides[1].name(apart[1])!r}{instead}"]
            break
        one, other = known.sides[0].producer(apart[0]), known.sides[1].producer(apart[1])
    if found is None:
        return None, []
    settings = differing(known.sides, found, same_axes=True)
    return found, said or _weights_of(found, settings) or [str(setting) for setting in settings]


def _is_sound(known: Evidence, first: str, second: str) -> bool:
    """Whether a tensor of the second file is what its own node should make: then it is its reader that is wrong.

    Under the name of the tensor that is wanted it is not: then the node has mixed up what it returns.
    """
    if first == second:
        return False
    for name, pair in known.pairs.items():
        if pair.second == second and pair.agrees and name != first:
            return known.sides[0].model.values[name].index() == known.sides[1].model.values[second].index()
    return False


def _are_apart(known: Evidence, first: str, second: str, limit: float) -> bool:
    """Whether two tensors differ, element by element."""
    pair = known.pairs.get(first)
    if pair is not None and pair.second == second and pair.agrees and pair.alignment is not None:
        return not pair.alignment.is_identity
    arrays = known.recordings[0].get(first), known.recordings[1].get(second)
    if arrays[0] is None or arrays[1] is None:
        return False
    return arrays[0].shape != arrays[1].shape or errors(arrays[0], arrays[1]).relative > limit


def _behind(known: Evidence, lost: ir.Node) -> str:
    """Say behind which node of the second file a node of the first is missing."""
    name = known.correspondence[str(lost.outputs[0].name)]
    return f" behind {known.sides[1].name(name)!r}" if name is not None and known.sides[1].producer(name) else ""


def _called(side: Side, node: ir.Node) -> str:
    return f"{node.op_type} {side.name(str(node.outputs[0].name))!r}"


def _region(side: Side, tensor: str, known: set[str]) -> list[ir.Node]:
    """Return the nodes between a tensor and the nearest known ones before it, the tensor's own first."""
    found: list[ir.Node] = []
    waiting = [side.producer(tensor)]
    while waiting:
        node = waiting.pop(0)
        if node is None or node in found:
            continue
        found.append(node)
        waiting += [side.producer(name) for name in side.data_inputs(node) if name not in known]
    return found


def _region_of_second(known: Evidence, pair: TensorPair) -> list[ir.Node]:
    seconds = {item.second for item in known.pairs.values() if item is not pair}
    return _region(known.sides[1], pair.second, seconds)


def _strangers(
    known: Evidence, region: tuple[Sequence[ir.Node], Sequence[ir.Node]]
) -> tuple[list[ir.Node], list[ir.Node]]:
    """Return the nodes of each file's part, but for its last, that have no counterpart in the other file."""
    same = known.correspondence.same
    matched = set(same), {*same.values(), *known.correspondence.replaced.values()}
    own = [
        [
            node
            for node in nodes[1:]
            if not is_transparent(node) and not names & {str(item.name) for item in node.outputs}
        ]
        for nodes, names in zip(region, matched, strict=True)
    ]
    return own[0], own[1]


def _other_operator(one: ir.Node | None, other: ir.Node | None) -> Iterator[str]:
    if one is not None and other is not None and kind_of(one) != kind_of(other):
        yield f"it is {other.op_type} instead of {one.op_type}"


def _told_differently(
    known: Evidence, region: tuple[Sequence[ir.Node], Sequence[ir.Node]], pair: TensorPair
) -> tuple[list[Setting], tuple[ir.Node, ir.Node] | None]:
    """Return what two nodes are told differently; one pair of nodes in a part without others is looked at."""
    for one, other in itertools.product(*region):
        same = [node for node in region[0] if node.op_type == one.op_type]
        same_second = [node for node in region[1] if node.op_type == one.op_type]
        if one.op_type != other.op_type or len(same) > 1 or len(same_second) > 1:
            continue
        found = differing(known.sides, (one, other), same_axes=pair.alignment is None or pair.alignment.is_identity)
        if found:
            return found, (one, other)
    return [], None


def _weights_of(nodes: tuple[ir.Node, ir.Node] | None, settings: Sequence[Setting]) -> list[str]:
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
    return f"filter{plural} {_listed(different)} {verb} {what}"


def _listed(numbers: Sequence[int] | Array) -> str:
    more = ", ..." if len(numbers) > _LISTED else ""
    return ", ".join(str(int(number)) for number in numbers[:_LISTED]) + more


def _looks(known: Evidence, pair: TensorPair, limit: float) -> Iterator[str]:
    """Say what the error looks like, where that has a name."""
    one, other = known.recordings[0][pair.first], known.recordings[1][pair.second]
    if pair.verdict == "shape" or pair.alignment is None:
        yield f"its shape is {tuple(other.shape[1:])} instead of {tuple(one.shape[1:])}"
        return
    if not np.isfinite(other).all() and np.isfinite(one).all():
        yield f"it holds {'NaN' if np.isnan(other).any() else 'infinity'}, which the other does not"
        return
    if pair.permutation is not None:
        moved = [index for index, place in enumerate(pair.permutation) if index != place]
        yield f"the same filters in another order ({len(moved)} of {len(pair.permutation)} are elsewhere)"
        return
    axis = known.sides[0].model.channel_axes.get(pair.first)
    turned = back(pair.alignment, one, other)
    some = np.unique(np.linspace(0, units_of(one, axis).shape[1] - 1, _EXAMPLES).astype(int))
    units = [units_of(array, axis)[:, some].astype(np.float64) for array in (one, turned)]
    for look in _LOOKS:
        said = look(units[0], units[1], limit)
        if said is not None:
            yield said
            break
    yield from _border(one, turned, axis, limit)


def _some_units(one: Array, other: Array, limit: float) -> str | None:
    scale = float(np.abs(one).max())
    wrong = np.flatnonzero(np.abs(one - other).max(axis=1) > limit * scale)
    if not 0 < len(wrong) <= _FEW * len(one):
        return None
    constant_now = bool(np.ptp(other[wrong], axis=1).max() == 0) and np.ptp(one[wrong], axis=1).max() > 0
    plural = "" if len(wrong) == 1 else "s"
    says = " (constant there)" if constant_now else ""
    return f"only filter{plural} {_listed(wrong)} of {len(one)} differ{'s' if not plural else ''}{says}"


def _constant_factor(one: Array, other: Array, limit: float) -> str | None:
    size = float(np.sum(one * one))
    factor = float(np.sum(one * other)) / size if size else 0.0
    near = np.abs(factor * one - other).max() <= max(limit, _EXACT) * np.abs(other).max()
    told = near and factor != 0 and abs(factor - 1) > _NOTICEABLE
    return f"its values are {factor:.3g} times as large" if told else None


def _own_factors(one: Array, other: Array, limit: float) -> str | None:
    """Recognize a scale and an offset of each unit, as those of a normalization or a bias."""
    centered = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    size = np.sum(centered[0] ** 2, axis=1, keepdims=True)
    slope = np.sum(centered[0] * centered[1], axis=1, keepdims=True) / np.where(size > 0, size, 1)
    rest = np.abs(slope * centered[0] - centered[1]).max()
    if one.shape[1] <= _MATRIX or rest > max(limit, _EXACT) * np.abs(other).max():
        return None
    if np.allclose(slope[size > 0], 1, atol=_EXACT):
        return "each filter is off by a constant (a bias?)"
    return "each filter is scaled, and off by a constant (a normalization?)"


_LOOKS: Sequence[Callable[[Array, Array, float], str | None]] = (_constant_factor, _some_units, _own_factors)


def _border(one: Array, other: Array, axis: int | None, limit: float) -> Iterator[str]:
    """Recognize an error at the border alone: other pads."""
    if axis is None or one.ndim < _KERNEL:
        return
    spatial = [place for place in range(2, one.ndim) if place != axis + 1 and one.shape[place] > _KERNEL]
    wrong = np.abs(one - other) > limit * np.abs(one).max()
    inner = wrong[tuple(slice(1, -1) if place in spatial else slice(None) for place in range(one.ndim))]
    if wrong.any() and not inner.any():
        yield "only at the border (pads?)"
