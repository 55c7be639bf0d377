"""What a run gives: a picture, what it does to the model, and everything that it depends on."""

from __future__ import annotations

import base64
import dataclasses
import html
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

from onnxvis.measure import Measurement
from onnxvis.recipe import Recipe
from onnxvis.render import png_bytes, write_file
from onnxvis.target import Target
from onnxvis.verify import Verification


@dataclass(frozen=True)
class Result:
    """A picture, and what it does to the model. Shows itself in a notebook.

    Attributes:
        image: The 8-bit picture.
        array: The model's input that this picture makes, float32, in the model's layout: the activation is of this.
        activation: How strongly the unit answers to the 8-bit picture, by onnxruntime through the original model: the
            mean over all positions, summed over the filters.
        seed_activation: The same for the 8-bit picture that the run started from.
        float_activation: The same for the picture before rounding to 8 bits.
        measurement: The activation by filter, and the output (a probability) where the target has moved to the logits.
        seed_measurement: The same for the start.
        history: The weighted losses before each step, by name.
        recipe: The settings.
        target: The unit.
        preprocess: How the picture becomes the input, as text.
        verification: How far torch and onnxruntime agreed at the target, beforehand.
        left_out: Operators of the model that the target does not need, with their number.
        notes: What was assumed or decided on the way, a sentence each.
        interrupted: Whether the run was stopped before its last step.
        device: Where it was computed.
        model_name: The file's name.
        model_sha256: The checksum of the file and its weights.
    """

    image: Image.Image = field(repr=False)
    array: np.ndarray[Any, Any] = field(repr=False)
    activation: float
    seed_activation: float
    float_activation: float
    measurement: Measurement
    seed_measurement: Measurement
    history: tuple[Mapping[str, float], ...] = field(repr=False)
    recipe: Recipe = field(repr=False)
    target: Target
    preprocess: str
    verification: Verification
    left_out: Mapping[str, int] = field(repr=False)
    notes: tuple[str, ...]
    interrupted: bool
    device: str
    model_name: str
    model_sha256: str = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as PNG, with the whole recipe in its text.

        Raises:
            OutputError: It cannot be written; nothing half-written is left.
        """
        write_file(path, self.png())
        return Path(path)

    def png(self) -> bytes:
        """Return the PNG file's bytes."""
        return png_bytes(self.image, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what the PNG's text holds: recipe, model, target, measurements, versions."""
        return {
            "format": 1,
            "recipe": self.recipe.to_dict(),
            "model": {"name": self.model_name, "sha256": self.model_sha256},
            "target": dataclasses.asdict(self.target),
            "preprocess": self.preprocess,
            "measured": {
                "engine": self.verification.engine,
                "activation": self.activation,
                "seed_activation": self.seed_activation,
                "float_activation": self.float_activation,
                "output": self.measurement.output,
                "seed_output": self.seed_measurement.output,
            },
            "verification": {
                "max_abs_error": self.verification.max_abs_error,
                "max_rel_error": self.verification.max_rel_error,
            },
            "steps_done": len(self.history),
            "interrupted": self.interrupted,
            "notes": list(self.notes),
            "device": self.device,
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }

    def _repr_png_(self) -> bytes:
        return self.png()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.png()).decode()
        return (
            f'<figure style="margin:0"><img src="data:image/png;base64,{picture}" '
            'style="min-width:224px;image-rendering:pixelated">'
            f"<figcaption>{html.escape(str(self))}</figcaption></figure>"
        )

    def __str__(self) -> str:
        stopped = f", interrupted after {len(self.history)} steps" if self.interrupted else ""
        return (
            f"{self.model_name}: {self.target}: activation {self.seed_activation:.4g} -> {self.activation:.4g} "
            f"({self.verification.engine}, on the 8-bit picture{stopped})"
        )


class VisualizationInterrupted(KeyboardInterrupt):
    """Ctrl-C during the optimization; `result` holds what there was, measured like any other."""

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted")
        self.result = result


def versions() -> dict[str, str]:
    """Return the versions on which the bits of a picture depend."""
    return {
        "onnxvis": version("onnxvis"),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
