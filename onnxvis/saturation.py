"""How much of a unit lies where its operator is flat: sigmoids at their ends, clips at their ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor

from onnxvis.measure import Meter
from onnxvis.model import Model
from onnxvis.target import Target

Array = np.ndarray[Any, Any]

_NO_SLOPE = 1e-4
"""A sigmoid whose slope is below this is saturated."""
_SLOPES: Mapping[str, Callable[[Array], Array]] = {
    "Sigmoid": lambda values: values * (1 - values) < _NO_SLOPE,
    "Softmax": lambda values: values * (1 - values) < _NO_SLOPE,
    "HardSigmoid": lambda values: (values <= 0) | (values >= 1),
    "Tanh": lambda values: 1 - values**2 < _NO_SLOPE,
}
SATURATING = frozenset({*_SLOPES, "Clip", "Min"})
"""The operators that have an end where they are flat."""


def saturated(model: Model, target: Target, meter: Meter, images: Mapping[str, Tensor]) -> float:
    """Return the share of a unit's values at which the operator that computes them has no slope.

    What lies below the zero of a rectifier does not count: it is closed, and not saturated.

    Args:
        model: The model.
        target: The unit.
        meter: Measures images through the model.
        images: (C, *spatial) in [0, 1] by input name.
    """
    node = model.values[target.tensor].producer()
    flat = None if node is None else flat_values(node)
    if flat is None:
        return 0.0
    values = meter.observe(meter.feeds(images))[target.tensor]
    if target.filters and target.channel_axis is not None:
        values = np.take(values, target.filters, target.channel_axis)
    return float(np.mean(flat(np.asarray(values, np.float64))))


def flat_values(node: ir.Node) -> Callable[[Array], Array] | None:
    """Return what tells where an operator has no slope, of its output; None: it has one everywhere that counts."""
    if node.op_type in ("Clip", "Min"):
        ceiling = _ceiling(node)
        return None if ceiling is None else lambda values: values >= ceiling
    return _SLOPES.get(node.op_type)


def _ceiling(node: ir.Node) -> float | None:
    """Return the upper bound of a Clip, or of a Min with a constant."""
    old = node.attributes.get("max")
    if old is not None:
        return float(old.value)
    bounds = node.inputs[2:3] if node.op_type == "Clip" else node.inputs
    constants = [
        tensor
        for value in bounds
        if value is not None and (tensor := ir.convenience.get_const_tensor(value)) is not None and tensor.size == 1
    ]
    return float(constants[0].numpy().reshape(-1)[0]) if constants else None
