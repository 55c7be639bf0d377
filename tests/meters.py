"""Meters of small models for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from onnxvis.image_input import find_image_input
from onnxvis.losses import Neuron
from onnxvis.measure import Meter
from onnxvis.model import Model, load
from onnxvis.sizes import input_shapes
from onnxvis.target import Filters, Target, resolve


def metered(
    proto: onnx.ModelProto | Model,
    node: str | None = None,
    filters: Filters = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    wrt: tuple[str, ...] = (),
    neuron: Neuron = None,
    held: Mapping[str, np.ndarray[Any, Any]] | None = None,
    layout: str | None = None,
) -> tuple[Meter, Target]:
    """Return what measures a unit of a model whose inputs are in [0, 1], and the unit."""
    model = load(proto)
    found = input_shapes(model, shapes)
    model = model.at(found)
    overrides = {"range": (0.0, 1.0), "layout": layout}
    names = wrt or (None,)
    items = [find_image_input(model, found, wrt=name, overrides=overrides) for name in names]
    target = resolve(model, node, filters)
    return Meter.of(model, target, {item.name: item for item in items}, held or {}, neuron=neuron), target
