"""Whether the torch graph and the reference agree at every float tensor, on every probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from onnxvis.checks.alone import wrong_alone
from onnxvis.checks.concluding import concluded, skipped
from onnxvis.checks.weights import constants, contents
from onnxvis.config import CheckSettings
from onnxvis.graph import ancestors, read_values
from onnxvis.inspection import Inspection
from onnxvis.model import Model
from onnxvis.outcomes import Detail, Outcome
from onnxvis.probes import Probe
from onnxvis.quantizers import quantizers_of
from onnxvis.verify import HALF_TOLERANCE, TOLERANCE, Comparison, Verification, compare_with

_DEFAULTS: Mapping[str, float] = {
    "float32": TOLERANCE,
    "float64": TOLERANCE,
    "quantized": TOLERANCE,
    "float16": HALF_TOLERANCE,
    "bfloat16": HALF_TOLERANCE,
}


def check_agreement(inspection: Inspection, settings: CheckSettings) -> Outcome:
    """Compare every float tensor on every probe; quantized networks piece by piece.

    Args:
        inspection: The model.
        settings: `tolerances`, by what the model computes in.

    Raises:
        OnnxvisError: Nothing can be lowered.
    """
    lowered = inspection.lowered
    left = [_left_out(name) for name in lowered.skipped]
    if not lowered.names:
        return skipped("agreement", "no float tensor can be lowered, or none is computed from the input")
    tolerance = tolerance_of(inspection, settings.tolerances)
    reports = {probe: _report(inspection, probe, tolerance) for probe in inspection.probes}
    errors = [item.max_rel_error for report, _ in reports.values() for item in report.comparisons]
    excused = {name for _, names in reports.values() for name in names}
    details = [*_failures(inspection.model, reports), *left]
    good = f"{len(lowered.names)} tensors on {len(reports)} probes, largest relative error {max(errors):.1e}"
    if excused:
        good += f"; {len(excused)} that amplify rounding were compared layer by layer"
    if left:
        good += f"; {len(left)} not compared"
    return concluded("agreement", details, good)


def tolerance_of(inspection: Inspection, given: Mapping[str, float]) -> float:
    """Return the largest relative error that is accepted: by the lowest precision that the model computes in.

    Args:
        inspection: The model.
        given: Tolerances by precision; they win over the defaults.
    """
    kind = precision_of(inspection)
    return given.get(kind, _DEFAULTS[kind])


def precision_of(inspection: Inspection) -> str:
    """Return what a model computes in, as settings of tolerances name it.

    Args:
        inspection: The model.
    """
    dtypes = _dtypes(inspection.model, inspection.lowered.names)
    for kind in ("bfloat16", "float16"):
        if kind.upper() in dtypes:
            return kind
    if quantizers_of(inspection.lowered.network, inspection.model.values):
        return "quantized"
    return "float64" if "DOUBLE" in dtypes and "FLOAT" not in dtypes else "float32"


def _dtypes(model: Model, names: Sequence[str]) -> set[str]:
    nodes = ancestors([model.values[name] for name in names])
    values = {str(value.name) for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
    return {model.tensors[name].dtype for name in values if name in model.tensors}


def _report(inspection: Inspection, probe: Probe, tolerance: float) -> tuple[Verification, list[str]]:
    """Compare at one probe; also return the tensors that differ by amplified rounding alone."""
    lowered, model = inspection.lowered, inspection.model
    wanted = inspection.reference(probe)
    report = compare_with(
        model,
        lowered.network,
        lowered.names,
        dict(probe.feeds),
        wanted,
        tolerance=tolerance,
        skipped=lowered.skipped,
        engine=inspection.oracle.engine,
    )
    if report.ok or quantizers_of(lowered.network, model.values):
        return report, []
    wrong = wrong_alone(lowered, probe.feeds, wanted, tolerance)
    excused = [item for item in report.comparisons if not item.max_rel_error <= tolerance and item.tensor not in wrong]
    return _without(report, excused), [item.tensor for item in excused]


def _without(report: Verification, excused: Sequence[Comparison]) -> Verification:
    kept = tuple(item for item in report.comparisons if item not in excused)
    first = next((item.name for item in kept if not item.max_rel_error <= report.tolerance), None)
    return dataclasses.replace(
        report,
        ok=first is None,
        first_divergence=first,
        comparisons=kept,
        max_rel_error=max((item.max_rel_error for item in kept), default=0.0),
    )


def _failures(model: Model, reports: Mapping[Probe, tuple[Verification, list[str]]]) -> Iterator[Detail]:
    """Yield one detail for each layer that is the first to disagree on some probe."""
    found: dict[str, list[tuple[Probe, Verification]]] = {}
    for probe, (report, _) in reports.items():
        if report.first_divergence is not None:
            found.setdefault(report.first_divergence, []).append((probe, report))
    for layer, several in found.items():
        probe, report = several[0]
        item = next((each for each in report.comparisons if each.name == layer), None)
        if item is not None and _has_nan(model, item.tensor):
            text = f"{layer!r} is not compared: a weight that it is computed from holds NaN, see weights"
            yield Detail("skip", text, layer, item.tensor)
            continue
        by = "a quantizer rounds otherwise"
        if item is not None and not item.max_rel_error <= report.tolerance:
            by = f"relative error {item.max_rel_error:.1e}, tolerance {report.tolerance:.0e}"
        op_type = "" if item is None else f" ({item.op_type})"
        text = (
            f"torch disagrees with {report.engine} first at {layer!r}{op_type}: {by}, on {probe.name!r}"
            f"{f' and {len(several) - 1} more probes' if len(several) > 1 else ''}: a bug of onnxvis or of the operator"
        )
        figures: dict[str, float | int | str] = {"tolerance": report.tolerance, "probe": probe.name}
        if item is not None:
            figures |= {"relative_error": item.max_rel_error, "absolute_error": item.max_abs_error}
        yield Detail("fail", text, layer, None if item is None else item.tensor, figures)


def _has_nan(model: Model, tensor: str) -> bool:
    """Tell whether a weight that a tensor is computed from holds NaN: what that makes is up to the library."""
    read = {value for node in ancestors([model.values[tensor]]) for value in read_values(node)}
    return any(contents(weight).nan for value, weight in constants(model.ir.graph) if value in read)


def _left_out(name: str) -> Detail:
    text = (
        f"{name!r} is not compared: it needs random numbers, an operator without an implementation, or shapes that "
        "depend on values"
    )
    return Detail("skip", text, name)
