"""Whether a model still answers what its baseline says: the check `baseline`, a regression test for models."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from onnxvis import fingerprints
from onnxvis.baseline import Baseline
from onnxvis.config import CheckSettings
from onnxvis.drift import TOLERANCES, Drift, Drifts, drifts
from onnxvis.errors import OnnxvisError
from onnxvis.fingerprints import GAINS, LIKENESS, Unit
from onnxvis.model import Model
from onnxvis.outcomes import Detail, Outcome, Picture, worst
from onnxvis.recorded_inputs import copies, feeds
from onnxvis.refit import Fit, mismatch
from onnxvis.result import versions
from onnxvis.tensor_statistics import Statistics, statistics
from onnxvis.visualize import visualize

_TINY = 1e-12

_DEFAULTS = CheckSettings()


def compare(path: str | os.PathLike[str], model: Model, settings: CheckSettings = _DEFAULTS) -> Outcome:
    """Measure a model again, and compare it with a baseline; whatever goes wrong is an outcome too.

    Args:
        path: The baseline.
        model: The model, which may be another export of the one that was recorded.
        settings: Tolerances, where they are looser than `drift.TOLERANCES`; values of held inputs.
    """
    started = time.perf_counter()
    try:
        outcome = _compared(Baseline.load(path), str(path), model, settings)
    except OnnxvisError as error:
        outcome = Outcome("baseline", "error", error.message)
    return dataclasses.replace(outcome, seconds=time.perf_counter() - started)


def _compared(baseline: Baseline, path: str, model: Model, settings: CheckSettings) -> Outcome:
    remedy = f"record it anew with 'onnxvis baseline {model.path or model.name} -o {path}'"
    other = mismatch(baseline, model)
    if other is not None:
        return _stale(baseline, path, other, remedy)
    fit = Fit.of(baseline, model, settings)
    tolerance = max(TOLERANCES[fit.kind], settings.tolerances.get(fit.kind, 0.0))
    found = statistics(model, feeds(model, fit.inputs, fit.held, baseline.seed), copies(fit.inputs))
    measured = {item.tensor for item in baseline.tensors}
    outputs = {before: now for before, now in fit.outputs.items() if before in measured}
    drifted = drifts(baseline.tensors, found, outputs, tolerance)
    if drifted.tensors and not drifted.alike and _is_other(baseline, found):
        return _stale(baseline, path, "layers of which this file has none", remedy)
    details = list(_tensor_details(drifted, outputs, tolerance, remedy))
    cause = _cause(baseline, drifted, remedy)
    for unit in baseline.units:
        details += _unit_details(unit, fit, drifted, cause)
    status = worst(detail.status for detail in details)
    if status in ("skip", "pass"):
        return Outcome("baseline", "pass", _passed(baseline, model, drifted), tuple(details))
    return Outcome("baseline", status, next(item.text for item in details if item.status == status), tuple(details))


def _is_other(baseline: Baseline, found: Sequence[Statistics]) -> bool:
    """Whether the layers of two models have little in common but the model's inputs and outputs."""
    now = {(item.op_type, item.dims) for item in found}
    before = [(item.op_type, item.dims) for item in baseline.tensors]
    return sum(item in now for item in before) < len(before) / 2


def _stale(baseline: Baseline, path: str, other: str, remedy: str) -> Outcome:
    text = f"{Path(path).name} was recorded from {baseline.model['name']} with {other}; {remedy}"
    return Outcome("baseline", "fail", text, (Detail("fail", text),))


def _passed(baseline: Baseline, model: Model, drifted: Drifts) -> str:
    pictures = f"{len(baseline.units)} picture{'' if len(baseline.units) == 1 else 's'}"
    gone = f", {len(drifted.vanished)} fused away" if drifted.vanished else ""
    text = f"{pictures} and {len(baseline.tensors)} tensors are as recorded{gone}"
    if baseline.model["sha256"] == model.sha256:
        return text
    return f"the file has changed, its function has not: {text}"


def _tensor_details(drifted: Drifts, outputs: Mapping[str, str], tolerance: float, remedy: str) -> Iterator[Detail]:
    """Tell of the first tensor that has drifted, and of the outputs: what lies between follows from the first."""
    for number, drift in enumerate(drifted.tensors):
        if number > 0 and drift.recorded.tensor not in outputs:
            continue
        text = _told(drift, tolerance)
        if number == 0:
            count = len(drifted.tensors)
            others = f", the first of {count} tensors that do" if count > 1 else ""
            text = f"{text}{others}; find out why, or if it is meant, {remedy}"
        figures: dict[str, float | int | str] = {"tolerance": tolerance, "figure": drift.figure}
        if math.isfinite(drift.deviation):
            figures["deviation"] = drift.deviation
        layer = (drift.found or drift.recorded).name
        yield Detail("fail", text, layer, (drift.found or drift.recorded).tensor, figures)


def _told(drift: Drift, tolerance: float) -> str:
    before, now = drift.recorded, drift.found
    if now is None:
        return f"{before.name} ({before.op_type}) is gone, and nothing answers as it did"
    if drift.figure == "shape":
        return f"{now.name} ({now.op_type}) answers otherwise: shape {before.shape} is now {now.shape}"
    return (
        f"{now.name} ({now.op_type}) answers otherwise: {drift.figure} {_value(before, drift.figure):.4g} is now "
        f"{_value(now, drift.figure):.4g}, off by {drift.deviation:.2g} standard deviations (tolerance {tolerance:g})"
    )


def _value(item: Statistics, figure: str) -> float:
    words = figure.split()
    return item.channels[int(words[-1])] if len(words) > 1 else float(getattr(item, figure))


def _unit_details(unit: Unit, fit: Fit, drifted: Drifts, cause: str) -> Iterator[Detail]:
    """Make a unit's picture again, and tell what is not as it was."""
    tensor = _tensor_of(unit, fit, drifted)
    if tensor is None:
        yield Detail("skip", f"{unit.name} is no tensor of this file: its picture cannot be compared")
        return
    layer = fit.model.names.short_name(fit.model.values[tensor])
    try:
        result = visualize(fit.model, recipe=fit.recipe(unit, tensor), device="cpu")
    except OnnxvisError as error:
        yield Detail("fail", f"{unit.name} has no picture any more: {error.message}", layer, tensor)
        return
    picture = fingerprints.fingerprint(result.parts[0])
    alike = fingerprints.likeness(unit.picture, picture)
    gain = max(abs(unit.activation - unit.seed_activation), _TINY)
    lost = abs(result.activation - unit.activation) / gain
    if alike >= LIKENESS[fit.kind] and lost <= GAINS[fit.kind]:
        return
    before, after = f"{unit.activation:.4g}", f"{result.activation:.4g}"
    text = (
        f"{unit.name} looks for something else: correlation of the pictures {alike:.3f} (at least "
        f"{LIKENESS[fit.kind]:g}), activation {before} is now {after}, off by {lost:.1%} of its gain (at most "
        f"{GAINS[fit.kind]:.0%}){cause}"
    )
    figures = {"likeness": alike, "activation": result.activation, "recorded_activation": unit.activation}
    yield Detail("fail", text, layer, tensor, figures, _side_by_side(unit, picture, before, after))


def _tensor_of(unit: Unit, fit: Fit, drifted: Drifts) -> str | None:
    """Return the tensor of this file that a unit belongs to; None: it was fused away."""
    for found in (fit.outputs, drifted.alike):
        if unit.tensor in found:
            return found[unit.tensor]
    return unit.tensor if unit.tensor in fit.model.values and unit.tensor not in drifted.vanished else None


def _cause(baseline: Baseline, drifted: Drifts, remedy: str) -> str:
    """Tell what may be behind a unit that looks for something else: where tensors have drifted, they tell more."""
    if drifted.tensors:
        return ""
    now = versions()
    known = [(name, before) for name, before in baseline.versions.items() if now.get(name, before) != before]
    updated = "".join(f", {name} {before} is now {now[name]}" for name, before in known)
    return f", although all tensors answer as recorded{updated}; find out why, or if it is meant, {remedy}"


def _side_by_side(unit: Unit, picture: Image.Image, before: str, after: str) -> tuple[Picture, ...]:
    change = fingerprints.difference(unit.picture, picture)
    return (
        Picture(f"recorded: {before}", fingerprints.enlarged(unit.picture)),
        Picture(f"now: {after}", fingerprints.enlarged(picture)),
        Picture("difference", fingerprints.enlarged(change)),
    )
