"""What a layer makes of noise under one preprocessing and another: one that is assumed may be the wrong one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxvis.baselines import answers_to_noise
from onnxvis.preprocess import PRESETS, Preprocess
from onnxvis.runs import Prepared
from onnxvis.standing import combined
from onnxvis.target import Target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Feeding:
    """What a layer makes of noise under one preprocessing.

    Attributes:
        name: Of the preset.
        spread: The standard deviation of the unit's answers.
        liveliness: That of all units of the layer as a share of their mean size: how much of what they say is said of
            the image.
    """

    name: str
    spread: float
    liveliness: float


def feedings(prepared: Prepared) -> tuple[Feeding, ...]:
    """Ask the layer about noise: under the preprocessing that is used, then, where it is assumed, under the others."""
    item, target = prepared.image_input, prepared.target
    used = item.preprocess
    found = [_feeding(used.name, prepared.assessor.noise.values, target)]
    for name, other in _others(used, item.channels).items() if item.kind == "picture" else ():
        inputs = {**prepared.meter.inputs, item.name: dataclasses.replace(item, preprocess=other)}
        meter = dataclasses.replace(prepared.meter, inputs=inputs)
        found.append(_feeding(name, answers_to_noise(meter, target).values, target))
    return tuple(found)


def _others(used: Preprocess, channels: int) -> dict[str, Preprocess]:
    """Return the other conventions that fit, where the one that is used is assumed."""
    if "assumed" not in used.source:
        return {}
    return {
        name: dataclasses.replace(preset, layout=used.layout)
        for name, preset in PRESETS.items()
        if name not in ("none", used.name) and (len(preset.mean) == 1 or len(preset.mean) == channels)
    }


def _feeding(name: str, answers: Array, target: Target) -> Feeding:
    with np.errstate(invalid="ignore", over="ignore"):
        size = float(np.abs(answers).mean())
        spread, whole = float(combined(answers, target.filters).std()), float(answers.std(axis=0).mean())
    return Feeding(name, spread, whole / size if size > 0 else 0.0)
