"""Why a tensor differs although what it is computed from agrees: what its node is told, what its error looks like."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.axes import errors
from onnxvis.comparison.operators import is_transparent, kind_of
from onnxvis.comparison.pairs import TensorPair
from onnxvis.comparison.parameters import Setting, differing
from onnxvis.comparison.sides import Recording, Side
from onnxvis.comparison.structure import Correspondence
from onnxvis.comparison.symptoms import symptoms
from onnxvis.comparison.weights import weights_of

_FARTHEST = 32


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
    told = weights_of(blamed, settings) or [str(item) for item in settings]
    if blamed is None and not lost and not added:
        blamed, told = _first_apart(known, one, other, limit)
    looks = list(_symptoms(known, pair, limit))
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


def _symptoms(known: Evidence, pair: TensorPair, limit: float) -> Iterator[str]:
    arrays = known.recordings[0][pair.first], known.recordings[1][pair.second]
    return symptoms(arrays, pair, known.sides[0].model.channel_axes.get(pair.first), limit)


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
    return found, said or weights_of(found, settings) or [str(setting) for setting in settings]


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
