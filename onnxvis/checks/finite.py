"""NaN and infinities on the way through a model, and the layer that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxvis.checks.concluding import concluded
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection, Seen
from onnxvis.outcomes import Detail, Outcome, Status
from onnxvis.probes import Probe

_TO_INFINITY = frozenset({"Log"})
"""Operators that make -Inf of what is ordinary: the logarithm of nothing."""

_STEEP = frozenset({"Div", "Exp", "Log", "Pow", "Reciprocal", "Sqrt"})
"""Operators that reach infinity from ordinary numbers, on purpose or not."""


@dataclass(frozen=True)
class _Origin:
    """A tensor that is not finite although all that it is computed from is.

    Attributes:
        tensor: Its name.
        nan: Whether it holds NaN.
        rises: Whether it holds +Inf, which no mask does.
        given: Whether a constant, or a logarithm of nothing, has its infinities.
    """

    tensor: str
    nan: bool
    rises: bool
    given: bool


def check_finite(inspection: Inspection, settings: CheckSettings) -> Outcome:  # noqa: ARG001 - as all checks
    """Look for NaN and infinities on every probe, and name the layer that makes them.

    Infinities that a mask or a logarithm makes are fine on the way. What a later layer discards, as a Where the branch
    that it does not take, is a warning.

    Args:
        inspection: The model.
        settings: As for all checks.
    """
    found: dict[_Origin, list[tuple[Probe, bool]]] = {}
    for probe in inspection.probes:
        seen = inspection.seen(probe)
        reached = _reached(inspection, seen)
        for origin in _origins(inspection, seen):
            found.setdefault(origin, []).append((probe, origin.tensor in reached))
    details = [detail for origin, where in found.items() for detail in _details(inspection, origin, where)]
    count = len(inspection.oracle.tensors)
    return concluded("finite", details, f"{count} tensors are finite on {len(inspection.probes)} probes")


def _reached(inspection: Inspection, seen: Mapping[str, Seen]) -> set[str]:
    """Return the tensors from which a chain of tensors that are not finite leads to an output."""
    bad = {name for name, item in seen.items() if item.nan or item.rises or item.falls}
    waiting = [str(value.name) for value in inspection.model.ir.graph.outputs if value.name in bad]
    reached = set(waiting)
    while waiting:
        news = [name for name in _sources(inspection, waiting.pop()) if name in bad and name not in reached]
        waiting.extend(news)
        reached.update(news)
    return reached


def _origins(inspection: Inspection, seen: Mapping[str, Seen]) -> Iterator[_Origin]:
    not_finite: set[str] = set()
    nan: set[str] = set()
    for name, figures in seen.items():
        if not (figures.nan or figures.rises or figures.falls):
            continue
        sources = _sources(inspection, name)
        # NaN that comes of infinities of a mask is new.
        if not_finite.isdisjoint(sources) or (figures.nan and nan.isdisjoint(sources) and _are_masks(sources, seen)):
            yield _Origin(name, figures.nan, figures.rises, _is_given(inspection, name, seen))
        not_finite.add(name)
        if figures.nan:
            nan.add(name)


def _sources(inspection: Inspection, name: str) -> list[str]:
    node = inspection.model.values[name].producer()
    return [] if node is None else [str(value.name) for value in node.inputs if value is not None]


def _are_masks(sources: list[str], seen: Mapping[str, Seen]) -> bool:
    return not any(seen[name].rises or seen[name].nan for name in sources if name in seen)


def _is_given(inspection: Inspection, name: str, seen: Mapping[str, Seen]) -> bool:
    """Tell whether a node gets its infinities from a constant, or from what is not observed, or is a logarithm."""
    node = inspection.model.values[name].producer()
    if node is None or node.op_type in _TO_INFINITY:
        return node is not None and not seen[name].rises
    return any(_may_be_infinite(value, seen) for value in node.inputs if value is not None)


def _may_be_infinite(value: ir.Value, seen: Mapping[str, Seen]) -> bool:
    if value.name in seen or value.is_graph_input():
        return False
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None:
        return True
    return tensor.dtype.is_floating_point() and bool(np.isinf(np.asarray(tensor.numpy()).astype(np.float32)).any())


def _details(inspection: Inspection, origin: _Origin, where: list[tuple[Probe, bool]]) -> Iterator[Detail]:
    status = _severity(inspection, origin, where)
    if status is None:
        return
    layer = inspection.layer(origin.tensor)
    node = inspection.model.values[origin.tensor].producer()
    probes = [probe for probe, _ in where]
    more = f" and {len(probes) - 1} more probes" if len(probes) > 1 else ""
    is_half = inspection.model.spec(inspection.model.values[origin.tensor]).dtype == "FLOAT16"
    remedy = "too large for float16, keep it in float32" if is_half else "look at its weights and what it divides by"
    end = "" if any(reaches for _, reaches in where) else ", and is discarded later"
    text = (
        f"{'NaN' if origin.nan else 'infinity'} first appears in {layer!r} ({'' if node is None else node.op_type}), "
        f"from finite inputs, on {probes[0].name!r}{more}{end}: {remedy}"
    )
    yield Detail(status, text, layer, origin.tensor, {"probes": len(probes), "probe": probes[0].name})


def _severity(inspection: Inspection, origin: _Origin, where: list[tuple[Probe, bool]]) -> Status | None:
    """Return how serious it is; None where it is as it should be."""
    reaches = any(reaches for _, reaches in where)
    on_edges = all(probe.kind == "edge" for probe, _ in where)
    if origin.given and not origin.nan:
        # A mask holds -Inf alone.
        return None if not reaches else "fail" if origin.rises else "warn"
    node = inspection.model.values[origin.tensor].producer()
    if not reaches and (origin.nan or (node is not None and node.op_type in _STEEP)):
        # 0 / 0 in a branch that is not taken, exp(x) in 1 / (1 + exp(x)).
        return None if on_edges else "warn"
    return "warn" if on_edges and not origin.nan else "fail"
