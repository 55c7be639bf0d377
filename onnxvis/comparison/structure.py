"""Which node of one file is which of the other, by what they are connected to: where responses no longer agree.

Starting from tensors that are known to be the same, pairs of nodes are found that do the same kind of thing to the same
tensors. A node that the other file has not, because it is part of a neighbor there, is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.operators import family_of, is_absorbed, is_transparent, kind_of
from onnxvis.comparison.sides import Side, constant

_FARTHEST = 6
"""How many nodes without a counterpart are passed over between two that have one."""
_LIKE_WEIGHTS, _LIKE_NAME, _LIKE_ATTRIBUTES, _LIKE_SHAPE = 8.0, 4.0, 3.0, 2.0


@dataclass
class Correspondence:
    """What is known of which tensor is which.

    Attributes:
        same: Tensors of the second file by those of the first that do the same thing to the same tensors, in order.
        absorbed: The same for tensors whose node the second file has not: where it stands instead.
        replaced: What outputs would correspond to, if they did not go by their names.
    """

    same: dict[str, str] = field(default_factory=dict)
    absorbed: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, tensor: str) -> str | None:
        return self.same.get(tensor, self.absorbed.get(tensor))

    def pair(self, first: str, second: str) -> None:
        """Say that two tensors are to be the same."""
        before = self[first]
        if before not in (None, second):
            self.replaced[first] = str(before)
        self.absorbed.pop(first, None)
        self.same[first] = second


def extend(sides: tuple[Side, Side], known: Mapping[str, str]) -> Correspondence:
    """Find the counterpart of each node of the first file, from the tensors that are known to be the same.

    Args:
        sides: The two files.
        known: Tensors of the second file by those of the first, the inputs among them.
    """
    found = Correspondence(dict(known))
    search = _Search(sides, set(known.values()))
    for node in sides[0].model.ir.graph:
        outputs = [str(value.name) for value in node.outputs if value.name in sides[0].computed]
        if not outputs or any(name in found.same for name in outputs):
            continue
        data = sides[0].data_inputs(node)
        sources = [found[name] for name in data]
        partner = None if None in sources else search.partner(node, [str(source) for source in sources])
        if partner is None:
            partner = search.by_weights(node) or search.by_name(node)
        if partner is not None:
            pairs = zip(node.outputs, partner.outputs, strict=False)
            found.same.update({str(one.name): str(other.name) for one, other in pairs if one.name and other.name})
            if outputs[0] in sides[0].scales and found.same.get(outputs[0]) not in sides[1].scales:
                # What one operator rounds is rounded behind it in the other file.
                found.same[outputs[0]] = _requantized(sides[1], found.same[outputs[0]])
        elif sources[:1] not in ([None], []) and is_absorbed(node, len(data)):
            source = str(sources[0])
            found.absorbed[outputs[0]] = _requantized(sides[1], source) if _rectifies(node) else source
        elif (stand_in := search.stand_in(node, sources)) is not None:
            found.absorbed[outputs[0]] = stand_in
    return found


class _Search:
    """Looks for counterparts among the nodes of the second file, each of which is taken once."""

    def __init__(self, sides: tuple[Side, Side], taken: set[str]) -> None:
        self.sides = sides
        self.nodes = [node for node in sides[1].model.ir.graph if node.outputs]
        self.free = [node for node in self.nodes if not any(value.name in taken for value in node.outputs)]
        self.known = taken
        self.behind = _behind(sides[1])
        self.signatures = [_signatures(side) for side in sides]

    def partner(self, node: ir.Node, sources: list[str]) -> ir.Node | None:
        """Return the node that does the same to these tensors of the second file; else one of the same family."""
        for likeness in (kind_of, family_of):
            wanted = likeness(node)
            fitting = [
                other
                for other in self.nodes
                if likeness(other) == wanted
                and self._reads(other, sources)
                and _fit(_weight_shape(node), _weight_shape(other))
                and not self._is_of_another(node, other)
            ]
            if fitting:
                best = max(fitting, key=lambda other: self._score(node, other))
                # What is another's counterpart is none of this one, even if the rest fits worse.
                return self._take(best) if best in self.free else None
        return None

    def _is_of_another(self, node: ir.Node, other: ir.Node) -> bool:
        """Whether a node of the second file has the weights of one other node of the first, and this one's are lost."""
        signature, own = self.signatures[1].get(_key(other)), self.signatures[0].get(_key(node))
        if (
            signature is None
            or own in self.signatures[1].values()
            or list(self.signatures[1].values()).count(signature) > 1
        ):
            return False
        owners = [name for name, found in self.signatures[0].items() if found == signature]
        return len(owners) == 1 and owners[0] != _key(node)

    def by_weights(self, node: ir.Node) -> ir.Node | None:
        """Return the one node of the second file with the same weights, if no other of the first has them."""
        signature = self.signatures[0].get(_key(node))
        if signature is None or list(self.signatures[0].values()).count(signature) != 1:
            return None
        same = [other for other in self.free if self.signatures[1].get(_key(other)) == signature]
        return self._take(same[0]) if len(same) == 1 and kind_of(same[0]) == kind_of(node) else None

    def by_name(self, node: ir.Node) -> ir.Node | None:
        """Return the node that does the same kind of thing under the same name."""
        same = [other for other in self.free if _key(other) == _key(node) and kind_of(other) == kind_of(node)]
        return self._take(same[0]) if same else None

    def stand_in(self, node: ir.Node, sources: Sequence[str | None]) -> str | None:
        """Return the one of some tensors that is read where a node is missing that joins them."""
        readers = {kind_of(use.node) for value in node.outputs for use in value.uses()}
        for source in sources:
            if source is not None and any(
                kind_of(other) in readers and self._reads(other, [source]) for other in self.free
            ):
                return source
        return None

    def _take(self, node: ir.Node) -> ir.Node:
        self.free.remove(node)
        return node

    def _reads(self, other: ir.Node, sources: list[str]) -> bool:
        """Whether a node reads these tensors and no others, perhaps through nodes without a counterpart."""
        data = self.sides[1].data_inputs(other)
        if not data or not sources:
            return False
        reached = [self.behind.get(name, frozenset()) for name in data]
        return all(not one.isdisjoint(sources) for one in reached) and all(
            any(source in one for one in reached) for source in sources
        )

    def _score(self, node: ir.Node, other: ir.Node) -> tuple[float, bool, float]:
        one, two = self.signatures[0].get(_key(node)), self.signatures[1].get(_key(other))
        shapes = [_weight_shape(item) for item in (node, other)]
        score = _LIKE_WEIGHTS * (one is not None and one == two)
        score += _LIKE_NAME * (_key(node) == _key(other))
        score += _LIKE_ATTRIBUTES * (shapes[0] == shapes[1]) + _LIKE_ATTRIBUTES * (
            _attributes(node) == _attributes(other)
        )
        score += _LIKE_SHAPE * (_size(self.sides[0], node) == _size(self.sides[1], other))
        # Of equals one that is free, then the first.
        return score, other in self.free, -float(self.sides[1].position[_key(other)])


def _rectifies(node: ir.Node) -> bool:
    return node.op_type in ("Relu", "Clip")


def _requantized(side: Side, tensor: str) -> str:
    """Return what is left of a tensor behind its quantizer: integers from zero on rectify, and need no Relu."""
    for wanted in ("QuantizeLinear", "DequantizeLinear"):
        readers = [use.node for use in side.model.values[tensor].uses()]
        if not readers or any(node.op_type != wanted for node in readers):
            return tensor
        tensor = _key(readers[0])
    return tensor


def _key(node: ir.Node) -> str:
    return str(node.outputs[0].name)


def _behind(side: Side) -> dict[str, frozenset[str]]:
    """Return for each tensor those before it that nodes without a counterpart may have handed on, and itself."""
    found: dict[str, frozenset[str]] = {spec.name: frozenset([spec.name]) for spec in side.model.inputs}
    depth: dict[str, int] = dict.fromkeys(found, 0)
    for node in side.model.ir.graph:
        data = side.data_inputs(node)
        for value in node.outputs:
            name = str(value.name)
            found[name], depth[name] = frozenset([name]), 0
            if is_absorbed(node, len(data)) and data[0] in found:
                steps = depth[data[0]] + (not is_transparent(node))
                if steps < _FARTHEST:
                    found[name], depth[name] = found[name] | found[data[0]], steps
    return found


def _signatures(side: Side) -> dict[str, Any]:
    """Return what tells the weights of each node, in any layout, by the name of its first output."""
    found = {}
    for node in side.model.ir.graph:
        arrays = [array for value in node.inputs if (array := constant(value)) is not None]
        weight = max(arrays, key=lambda array: array.size, default=None)
        if weight is not None and weight.size > 1 and weight.dtype.kind in "fiu" and node.outputs:
            values = np.asarray(weight, np.float64)
            with np.errstate(all="ignore"):
                numbers = (values.mean(), values.std(), np.abs(values).max())
            if all(map(np.isfinite, numbers)):
                found[_key(node)] = (weight.size, *(f"{number:.4g}" for number in numbers))
    return found


def _weight_shape(node: ir.Node) -> tuple[int, ...]:
    arrays = [array for value in node.inputs if (array := constant(value)) is not None]
    return tuple(sorted(max(arrays, key=lambda array: array.size).shape)) if arrays else ()


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two weights may be the same; a node without any may have got one."""
    return one == other or not one or not other


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.FLOAT)
    }


def _size(side: Side, node: ir.Node) -> list[Any] | None:
    shape = side.model.spec(node.outputs[0]).shape
    return None if shape is None else sorted((dim for dim in shape if dim != 1), key=str)
