"""Models under inspection, from a few lines of text."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxvis import load
from onnxvis.config import CheckSettings
from onnxvis.inspection import Inspection
from tests.models import parsed

HEADER = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'


def inspected(text: str, settings: CheckSettings = CheckSettings(), **weights: Any) -> Inspection:  # noqa: B008 - frozen
    """Load a graph's text with these weights."""
    return Inspection(load(parsed(f"{HEADER} {text}", **weights)), settings)


def of(proto: Any, **settings: Any) -> Inspection:
    """Load a model."""
    return Inspection(load(proto), CheckSettings(**settings))


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Draw weights."""
    scale = 1 / np.sqrt(np.prod(shape[1:]))
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)
