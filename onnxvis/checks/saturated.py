"""Units that are stuck where their nonlinearity is flat, and quantized numbers stuck at the ends of their range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxvis.checks.concluding import concluded, skipped
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from onnxvis.outcomes import Detail, Outcome
from onnxvis.saturation import flat_values

Array = np.ndarray[Any, Any]

_MANY = 0.25
"""The share of a layer's values from which on a warning is due."""
_LAYERS = frozenset({"Attention", "Conv", "ConvTranspose", "FusedConv", "FusedGemm", "GRU", "Gemm", "LSTM", "MatMul"})
"""Operators with weights: what none of them follows is an answer, and answers may be confident."""
_ZERO_POINTS: Mapping[str, int] = {
    "QuantizeLinear": 2,
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), 7),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearSigmoid"), 4),
    "QLinearConcat": 1,
}
_UNSIGNED_OR_SIGNED_BYTE = ("uint8", "int8")


@dataclass
class _Counted:
    """How much of a tensor was flat, over all probes."""

    values: float = 0.0
    probes: int = 0
    always: Array = field(default_factory=lambda: np.ones(1, bool))

    def add(self, flat: Array, axis: int | None) -> None:
        around = tuple(each for each in range(flat.ndim) if each != axis)
        self.always = self.always & np.atleast_1d(flat.all(axis=around if axis is not None else None))
        self.values += float(flat.mean())
        self.probes += 1

    @property
    def share(self) -> float:
        return self.values / max(self.probes, 1)


def check_saturated(inspection: Inspection, settings: CheckSettings) -> Outcome:
    """Measure the share of flat values on noise and photos; answers at the end of the network do not count.

    Args:
        inspection: The model.
        settings: `max_saturated`, the share of a layer's units from which on it is a failure.
    """
    flat = dict(_flat_tensors(inspection))
    if not flat:
        return skipped("saturated-units", "no layer before the outputs can saturate")
    counted = {name: _Counted() for name in flat}
    for probe in inspection.probes:
        if probe.kind == "edge":
            continue
        arrays = inspection.reference(probe)
        for name, is_flat in flat.items():
            array = arrays[name]
            if array.size:
                counted[name].add(is_flat(array), inspection.sized.channel_axes.get(name))
    details = [
        detail
        for name, found in counted.items()
        for detail in _details(inspection, name, found, settings.max_saturated)
    ]
    most = max(counted, key=lambda name: counted[name].share)
    good = f"{len(flat)} layers, at most {counted[most].share:.0%} of the values flat ({inspection.layer(most)!r})"
    return concluded("saturated-units", details, good)


def _flat_tensors(inspection: Inspection) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    first = inspection.reference(inspection.probes[0])
    hidden = _hidden(inspection)
    for value in inspection.model.activations:
        node, name = value.producer(), str(value.name)
        if node is None or value not in hidden or name not in first:
            continue
        if first[name].dtype.name in _UNSIGNED_OR_SIGNED_BYTE:
            ends = _ends(node, first[name].dtype)
        else:
            # An attention that looks at one place is none that is stuck.
            ends = None if node.op_type == "Softmax" else flat_values(node)
        if ends is not None:
            yield name, ends


def _hidden(inspection: Inspection) -> set[ir.Value]:
    """Return the values that a layer with weights reads, directly or through others."""
    hidden: set[ir.Value] = set()
    for node in reversed(list(inspection.model.ir.graph)):
        is_layer = node.op_type in _LAYERS or node.op_type.startswith("QLinear")
        if is_layer or not hidden.isdisjoint(node.outputs):
            hidden.update(value for value in node.inputs if value is not None)
    return hidden


def _ends(node: ir.Node, dtype: np.dtype[Any]) -> Callable[[Array], Array] | None:
    """Return what tells the integers at the ends of their range; an end that stands for zero is none."""
    place = _ZERO_POINTS.get(node.op_type)
    if place is None:
        return None
    value = node.inputs[place] if len(node.inputs) > place else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    zero = 0 if tensor is None else int(np.asarray(tensor.numpy()).reshape(-1)[0])
    limits = np.iinfo(dtype)
    ends = [end for end in (limits.min, limits.max) if end != zero]
    return lambda values: np.isin(values, ends)


def _details(inspection: Inspection, name: str, found: _Counted, max_saturated: float) -> Iterator[Detail]:
    stuck = float(found.always.mean()) if found.probes else 0.0
    if found.share < _MANY and stuck < max_saturated:
        return
    layer, node = inspection.layer(name), inspection.model.values[name].producer()
    op_type = "" if node is None else node.op_type
    is_quantized = op_type in _ZERO_POINTS
    remedy = "the quantization scale is too small" if is_quantized else "look at the scale of what comes before"
    is_bad = stuck >= max_saturated or (is_quantized and found.share >= max_saturated)
    text = (
        f"{found.share:.0%} of the values of {layer!r} ({op_type}) are at the ends of their range, {stuck:.0%} of its "
        f"units on all noise and photos: {remedy}"
    )
    figures = {"share": found.share, "stuck": stuck, "units": int(found.always.size)}
    yield Detail("fail" if is_bad else "warn", text, layer, name, figures)
