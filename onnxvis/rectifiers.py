"""Find the rectifiers of a lowered network: single operators, and those that exporters write out of elementary ones.

A rectifier passes large numbers as they are and holds negative ones back. Which operators write it does not matter:
what lies between one tensor x and one tensor y, elementwise, is run on a grid of numbers and judged by its values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional

from onnxvis.network import Network
from onnxvis.ops import entries

_PIECEWISE = frozenset({"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu"})
_CONDITIONAL = frozenset({"Clip", "Max"})  # rectifiers if a bound is zero
_SMOOTH_OPERATORS = frozenset({"Gelu", "Swish", "HardSwish", "Mish", "Softplus"})
_SMOOTH: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Gelu": functional.gelu,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "QuickGelu": lambda x: x * torch.sigmoid(1.702 * x),
    "Silu": functional.silu,
    "Softplus": functional.softplus,
}
_OTHER = "SmoothRectifier"
_BOUNDED = "HardSigmoid"
"""Not a rectifier; recognized because the Clip inside it looks like one."""

RECTIFIERS = tuple(sorted({*_PIECEWISE, *_SMOOTH_OPERATORS, *_SMOOTH, *_CONDITIONAL, _OTHER}))
"""What a rectifier can be: an operator, or the name of the function that several of them compute."""

_ARITHMETIC = frozenset({"Add", "Div", "Identity", "Mean", "Mul", "Neg", "Sub", "Sum"})
_COMPARISONS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where"})
_FUNCTIONS = frozenset({"Abs", "Cast", "Erf", "Exp", "Log", "Max", "Min", "Pow", "Reciprocal", "Sign", "Sqrt"})
_SIGMOIDS = frozenset({"HardSigmoid", "ScaledTanh", "Sigmoid", "Softsign", "Tanh"})
_CURVED = _COMPARISONS | _FUNCTIONS | _SIGMOIDS | _SMOOTH_OPERATORS | (_PIECEWISE - {"PRelu"}) | {"Clip"}
_LARGEST_CONE = 16
_LARGEST_CONSTANT = 1 << 14  # numbers, one for each channel

_SAME = 1e-5  # relative: constants of a file are rounded to float32
_SAME_NAME = 2e-3  # the two forms of Gelu are that close, no two functions are
_VANISHES = 1e-40  # a constant that float32 can hold, as in max(x, 1e-12), is above
_FARTHEST = 0.7  # from max(x, 0); Softplus is log 2 away at 0
_FLAT = 0.9  # mean slope below zero from which on a function is rather a line than a rectifier


@dataclass(frozen=True)
class Rectifier:
    """A rectifier y = f(x) in a network.

    Attributes:
        name: One of `RECTIFIERS`: the type of the operator; of several operators, what they compute.
        smooth: Whether it is differentiable everywhere, and then negative, or not zero, below zero too.
        x: The node that it rectifies.
        y: The node of its result.
        nodes: All nodes that compute y from x, y included.
    """

    name: str
    smooth: bool
    x: fx.Node
    y: fx.Node
    nodes: frozenset[fx.Node]


def find_rectifiers(network: Network) -> list[Rectifier]:
    """Return the rectifiers of a network in graph order; of nested ones the outermost.

    Constants may be numbers, or vectors of one number for each channel. Operators whose function is not the table's,
    such as replaced ones, are not looked at.
    """
    search = _Search(network)
    candidates = {node: search.ending_at(node) for node in search.order}
    found: list[Rectifier] = []
    covered: set[fx.Node] = set()
    for node in reversed(search.order):
        for rectifier in () if node in covered else candidates[node]:
            inner = [part for part in rectifier.nodes if part is not node and _is_any(candidates[part])]
            # What rectifies for other readers too is a rectifier of its own.
            if all(user in rectifier.nodes for part in inner for user in part.users):
                covered |= rectifier.nodes
                found.append(rectifier)
                break
    return [rectifier for rectifier in reversed(found) if rectifier.name != _BOUNDED]


def _is_any(candidates: list[Rectifier]) -> bool:
    return any(rectifier.name != _BOUNDED for rectifier in candidates)


class _Search:
    """A network, and what can be asked of its nodes."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.order = {node: index for index, node in enumerate(network.graph.nodes)}
        self.functions = frozenset(entry.function for entry in entries())

    def ending_at(self, y: fx.Node) -> list[Rectifier]:
        """Return the rectifiers with the result y, the largest first."""
        operator = self.operator(y)
        if not y.meta.get("differentiable", False) or not operator:
            return []
        found = []
        if operator in _PIECEWISE | _SMOOTH_OPERATORS:
            smooth = operator in _SMOOTH_OPERATORS
            found.append(Rectifier(operator, smooth, y.all_input_nodes[0], y, frozenset({y})))
        for x, nodes in self.cones(y):
            kind = self.kind(x, nodes) if len(nodes) > 1 or operator in _CONDITIONAL else None
            if kind is not None:
                found.append(Rectifier(operator if len(nodes) == 1 else kind[0], kind[1], x, y, nodes))
        return found[::-1]

    def operator(self, node: fx.Node) -> str:
        """Return the type of an operator that the table computes, else ""."""
        is_ours = node.op == "call_function" and node.target in self.functions
        return str(node.meta.get("onnx_op", "")) if is_ours else ""

    def cones(self, y: fx.Node) -> Iterator[tuple[fx.Node, frozenset[fx.Node]]]:
        """Yield each x that y is an elementwise function of, with the nodes in between, from near to far."""
        inside: set[fx.Node] = set()
        open_ends = {y}
        while open_ends and len(inside) < _LARGEST_CONE:
            # The latest first: what all ways pass is then alone at some time.
            node = max(open_ends, key=self.order.__getitem__)
            if self.operator(node) not in _ARITHMETIC | _CURVED or not self.has_small_constants(node):
                return
            open_ends.remove(node)
            inside.add(node)
            open_ends.update(source for source in node.all_input_nodes if source.op != "get_attr")
            if len(open_ends) == 1:
                (x,) = open_ends
                if x.meta.get("differentiable", False) and x.meta["shape"] == y.meta["shape"]:
                    yield x, frozenset(inside)

    def has_small_constants(self, node: fx.Node) -> bool:
        """Whether no constant that a node reads is larger than a vector of channels."""
        constants = [source for source in node.all_input_nodes if source.op == "get_attr"]
        return all(self.network.get_buffer(str(source.target)).numel() <= _LARGEST_CONSTANT for source in constants)

    def kind(self, x: fx.Node, nodes: frozenset[fx.Node]) -> tuple[str, bool] | None:
        """Return the name of the rectifier that some nodes compute and whether it is smooth, or None."""
        if all(self.operator(node) in _ARITHMETIC for node in nodes):
            return None
        values = self.values(x, sorted(nodes, key=self.order.__getitem__))
        if not bool(values.isfinite().all()):
            return None
        name = _piecewise_kind(values)
        if name is not None:
            return name, False
        name = _smooth_kind(values)
        return None if name is None else (name, True)

    @torch.no_grad()
    def values(self, x: fx.Node, nodes: list[fx.Node]) -> Tensor:
        """Run some nodes on the grid; (G, C), C being 1 where all channels have the same constants."""
        # The grid gets an axis of its own, so that constants are broadcast as they are in the network.
        known = {x: _grid().reshape(-1, *[1] * len(x.meta["shape"]))}

        def value(node: fx.Node) -> Tensor:
            return known[node] if node in known else _double(self.network.get_buffer(str(node.target)).cpu())

        for node in nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), value)
            known[node] = _double(node.target(*args, **kwargs))  # type: ignore[operator] # a function of the table
        return known[nodes[-1]].reshape(len(_grid()), -1)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


@functools.cache
def _grid() -> Tensor:
    """Numbers on both sides of zero, densest near it, and far ones at both ends; (G,), ascending."""
    near = torch.linspace(-12, 12, 97, dtype=torch.float64)
    return torch.cat([near.new_tensor([-1000.0, -100.0]), near, near.new_tensor([100.0])])


def _piecewise_kind(values: Tensor) -> str | None:
    grid = _grid()[:, None]
    low, high, floor, top = grid[grid[:, 0] < 0], grid[grid[:, 0] > 0], values[0], values[-1]
    below, zero, above = values[grid[:, 0] < 0], values[grid[:, 0] == 0], values[grid[:, 0] > 0]
    passes = _same(above, high)
    slope = floor / grid[0]
    if bool((below == 0).all()):
        if passes:
            return "Relu"
        return "Clip" if bool((top > 0).all()) and _same(above, torch.minimum(high, top)) else None
    if bool((floor == 0).all()) and bool((top < grid[-1]).all()) and _same(zero, top / 2):
        return _BOUNDED
    if passes and _same(below, slope * low) and float(slope.abs().mean()) < _FLAT:
        return "LeakyRelu" if bool((slope == slope[0]).all()) else "PRelu"
    return "Elu" if passes and bool((floor < 0).all()) and _same(below, -floor * torch.expm1(low)) else None


def _smooth_kind(values: Tensor) -> str | None:
    grid = _grid()[:, None]
    vanishes = bool((values[0].abs() < _VANISHES).all())
    distance = float((values - torch.relu(grid)).abs().max())
    if not vanishes or not _same(values[-1], grid[-1]) or distance > _FARTHEST:
        return None
    distances = {name: float((values - function(grid)).abs().max()) for name, function in _SMOOTH.items()}
    nearest = min(distances, key=distances.__getitem__)
    return nearest if distances[nearest] < _SAME_NAME else _OTHER


def _same(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted.expand_as(found), rtol=_SAME, atol=0)
