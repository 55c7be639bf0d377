"""Whether torch's gradients are those of the model: central differences of the reference tell."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from torch import fx

from onnxvis.checks.agreement import precision_of
from onnxvis.checks.concluding import concluded, skipped
from onnxvis.checks.slopes import Slope, Slopes, is_slow
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Detail, Outcome
from onnxvis.probes import Probe
from onnxvis.quantizers import quantizers_of

_TOLERANCE = 5e-2
_SAMPLED = 9
_SAMPLED_OF_LARGE = 4
_SAMPLED_OF_SLOW = 2
_NATURAL = "natural"
_OTHER_STEPS = (3e-3, 3e-4, 3e-5)
_OTHER_DIRECTIONS = 4


@dataclass(frozen=True)
class Eligible:
    """Which tensors have a gradient that differences can tell.

    Attributes:
        tensors: Their names, in the order of computation.
        rounded: How many are left out, because rounding lets the gradient pass straight through.
        cut: How many are left out, because some operator before them cuts the gradient.
    """

    tensors: tuple[str, ...]
    rounded: int
    cut: int


def check_gradients(inspection: Inspection, settings: CheckSettings) -> Outcome:
    """Compare directional derivatives at sampled tensors; on a disagreement find the layer from which on they differ.

    Args:
        inspection: The model.
        settings: `tolerances` at "gradients": relative to what such derivatives typically are.

    Raises:
        OnnxvisError: Nothing can be lowered.
    """
    if not inspection.lowered.names:
        return skipped("gradients", "no float tensor can be lowered, or none is computed from the input")
    probe = next((each for each in inspection.probes if each.name.startswith(_NATURAL)), inspection.probes[0])
    moved = moved_inputs(inspection, probe)
    if not moved:
        return skipped("gradients", "no input of floats can be moved")
    if precision_of(inspection) in ("float16", "bfloat16"):
        return skipped("gradients", "the model computes in half precision, in which differences are all rounding")
    eligible = eligible_tensors(inspection)
    center = inspection.reference(probe)
    known = [name for name in eligible.tensors if np.isfinite(center[name]).all()]
    if not known:
        return skipped("gradients", f"no tensor has a gradient to compare: {_left_out(eligible)}")
    looks = Looks(inspection, probe, tuple(moved), tuple(known), settings.tolerances.get("gradients", _TOLERANCE))
    return _concluded(inspection, looks, sampled(inspection, known), eligible)


class Looks:
    """Two looks at the derivatives: kinks may deceive one, and what is wrong is wrong in both.

    Args:
        inspection: The model.
        probe: Where the first look is.
        moved: The inputs along which directions lead.
        tensors: What may be asked for.
        tolerance: From which error on a derivative is wrong.
    """

    def __init__(
        self, inspection: Inspection, probe: Probe, moved: Sequence[str], tensors: Sequence[str], tolerance: float
    ) -> None:
        self.tolerance = tolerance
        self.tensors = tensors
        self.inspection = inspection
        self.moved = moved
        self.first = Slopes(inspection, probe, moved, tensors)

    @functools.cached_property
    def second(self) -> Slopes:
        """Another point, other directions and steps; made only when the first look finds something."""
        return Slopes(
            self.inspection, self.inspection.probes[0], self.moved, self.tensors, _OTHER_STEPS, _OTHER_DIRECTIONS
        )

    def is_wrong(self, tensor: str) -> bool:
        """Tell whether a tensor's derivative is wrong along some direction, in both looks.

        Args:
            tensor: Its name.
        """
        return self._errs(self.first.of(tensor)) and self._errs(self.second.of(tensor))

    def _errs(self, slopes: Sequence[Slope]) -> bool:
        return any(slope.is_resolved and not slope.error <= self.tolerance for slope in slopes)


def _concluded(inspection: Inspection, looks: Looks, names: Sequence[str], eligible: Eligible) -> Outcome:
    found = {name: looks.first.of(name) for name in names}
    bad = next((name for name in names if looks.is_wrong(name)), None)
    details = [] if bad is None else [_failure(inspection, looks, bad)]
    errors = {name: max(slope.error for slope in slopes) for name, slopes in found.items()}
    told = [
        name
        for name, slopes in found.items()
        if errors[name] <= looks.tolerance and all(slope.is_resolved for slope in slopes)
    ]
    most = max((errors[name] for name in told), default=0.0)
    how = f"largest relative error {most:.1e}" if most > 0 else "as far as rounding lets them be told"
    good = f"{len(told)} tensors agree with differences, {how}"
    notes = [f"{len(names) - len(told)} too faint or too rough to tell"] if len(told) < len(names) else []
    notes += [f"left out: {_left_out(eligible)}"] if eligible.rounded + eligible.cut else []
    if is_slow(inspection):
        notes.append(f"one direction, as a run takes {inspection.run_seconds:.1f} s")
    return concluded("gradients", details, "; ".join([good, *notes]))


def _left_out(eligible: Eligible) -> str:
    parts = [
        f"{eligible.rounded} behind rounding" if eligible.rounded else "",
        f"{eligible.cut} whose gradient is cut" if eligible.cut else "",
    ]
    return ", ".join(part for part in parts if part) or "none is computed from the input by differentiable operators"


def moved_inputs(inspection: Inspection, probe: Probe) -> list[str]:
    """Return the names of the float inputs that are not held.

    Args:
        inspection: The model.
        probe: What is fed.
    """
    held = inspection.settings.inputs or {}
    names = inspection.lowered.network.input_names
    return [name for name in names if name not in held and probe.feeds[name].dtype.kind == "f"]


def eligible_tensors(inspection: Inspection) -> Eligible:
    """Tell the tensors whose gradient is the true one from those behind rounding, or behind a cut.

    Args:
        inspection: The model.
    """
    lowered = inspection.lowered
    quantizers = set(quantizers_of(lowered.network, inspection.model.values))
    rounded, cut = _behind(lowered.network.graph.nodes, quantizers)
    output = next(node for node in lowered.network.graph.nodes if node.op == "output")
    results = output.args[0] if isinstance(output.args[0], tuple) else output.args[:1]
    nodes = dict(zip(lowered.names, results, strict=True))
    live = {name: node for name, node in nodes.items() if isinstance(node, fx.Node)}
    free = [name for name, node in live.items() if node.meta["differentiable"] and node not in rounded | cut]
    return Eligible(
        tensors=tuple(free),
        rounded=sum(node in rounded for node in live.values()),
        cut=sum(node in cut and node not in rounded for node in live.values()),
    )


def _behind(nodes: Iterable[fx.Node], quantizers: set[str]) -> tuple[set[fx.Node], set[fx.Node]]:
    """Return the nodes behind a quantizer, and those behind an operator that cuts the gradient."""
    rounded: set[fx.Node] = set()
    cut: set[fx.Node] = set()
    for node in nodes:
        sources = node.all_input_nodes
        if str(node.meta.get("onnx_value", "")) in quantizers or not rounded.isdisjoint(sources):
            rounded.add(node)
        if not cut.isdisjoint(sources) or _is_cut(node):
            cut.add(node)
    return rounded, cut


def _is_cut(node: fx.Node) -> bool:
    return not node.meta.get("differentiable", True) and any(
        source.meta.get("differentiable", False) for source in node.all_input_nodes
    )


def sampled(inspection: Inspection, names: Sequence[str]) -> list[str]:
    """Choose some tensors: the first, the model's outputs, and others evenly between.

    Args:
        inspection: The model.
        names: What there is, in the order of computation.
    """
    outputs = {str(value.name) for value in inspection.model.ir.graph.outputs}
    most = _SAMPLED_OF_LARGE if inspection.is_large else _SAMPLED
    most = _SAMPLED_OF_SLOW if is_slow(inspection) else most
    count = min(len(names), max(most - len(outputs & set(names)), 2))
    evenly = {names[round(place)] for place in np.linspace(0, len(names) - 1, count)}
    return [name for name in names if name in evenly | outputs]


def _failure(inspection: Inspection, looks: Looks, tensor: str) -> Detail:
    first = first_wrong(inspection, looks, tensor)
    worst = max(looks.first.of(first), key=lambda slope: slope.error)
    node = inspection.model.values[first].producer()
    layer = inspection.layer(first)
    text = (
        f"torch's gradient is wrong from {layer!r} on ({'' if node is None else node.op_type}): "
        f"{worst.torch:.3g} along a direction, where differences of {inspection.oracle.engine} give "
        f"{worst.differences[1]:.3g}: a bug of onnxvis or of the operator"
    )
    figures: dict[str, float | int | str] = {
        "relative_error": worst.error,
        "tolerance": looks.tolerance,
        "torch": worst.torch,
        "differences": worst.differences[1],
    }
    return Detail("fail", text, layer, first, figures)


def first_wrong(inspection: Inspection, looks: Looks, tensor: str) -> str:
    """Return a tensor whose gradient is wrong while those of all that it is computed from are right.

    Args:
        inspection: The model.
        looks: The derivatives.
        tensor: One whose gradient is wrong.
    """
    known = set(looks.tensors)
    names = [str(value.name) for value in inspection.before(tensor) if value.name in known]
    right, wrong = -1, len(names) - 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        right, wrong = (right, middle) if looks.is_wrong(names[middle]) else (middle, wrong)
    found = names[wrong]
    while True:
        # Along branches the order of computation is not that of dependence.
        sources = _sources(inspection.model.values[found])
        earlier = [name for name in sources if name in known and looks.is_wrong(name)]
        if not earlier:
            return found
        found = earlier[0]


def _sources(value: ir.Value) -> list[str]:
    node = value.producer()
    return [] if node is None else [str(source.name) for source in node.inputs if source is not None]
