"""What a run gives: a picture, what it does to the model, and everything that it depends on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

from onnxvis.assess import Assessment
from onnxvis.display import notebook_html
from onnxvis.errors import OutputError
from onnxvis.image_input import ImageInput
from onnxvis.measure import Measurement
from onnxvis.portrait import portrait
from onnxvis.recipe import Recipe
from onnxvis.render import (
    check_writable,
    from_image,
    npy_bytes,
    png_bytes,
    read_array,
    read_png,
    to_image,
    write_file,
)
from onnxvis.standing import Agreement
from onnxvis.target import Target
from onnxvis.verify import Verification

Array = np.ndarray[Any, Any]

SUFFIXES = (".png", ".npy")
"""How the name of a result may end."""


@dataclass(frozen=True)
class Part:
    """One optimized input.

    Attributes:
        image_input: Which, and of what kind.
        array: What the model is fed, float32, in the model's layout.
        values: (C, *spatial) in [0, 1]; of a picture after rounding to 8 bits.
        start: What it started from, likewise.
    """

    image_input: ImageInput
    array: Array = field(repr=False)
    values: Array = field(repr=False)
    start: Array = field(repr=False)

    @property
    def is_picture(self) -> bool:
        """Whether a PNG holds it exactly; other kinds need a .npy file, and get a figure beside."""
        return self.image_input.kind == "picture"

    def picture(self, title: str = "", alpha: Array | None = None) -> Image.Image:
        """Draw it: a picture as it is, a volume as its slices, a signal or features as a plot with a title."""
        if self.is_picture and alpha is not None:
            return to_image(torch.from_numpy(self.values), torch.from_numpy(alpha))
        return portrait(self.image_input, self.values, start=self.start, title=title)


@dataclass(frozen=True)
class Group:
    """The batch in which a picture was optimized: rounding depends on it.

    Attributes:
        filters: Those of each picture.
        index: Which of them this picture is.
        stopped: The step after which Ctrl-C ended the batch; None: it was not interrupted.
        seeds: The seed of each picture; (): the recipe's for all.
    """

    filters: tuple[tuple[int, ...], ...]
    index: int
    stopped: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Result:
    """A picture, and what it does to the model. Shows itself in a notebook.

    Attributes:
        parts: The optimized inputs; the first is the picture.
        activation: How strongly the unit answers to what is written, by onnxruntime through the original model: the
            mean over all positions (or one neuron), summed over the filters. Pictures are written with 8 bits.
        seed_activation: The same for what the run started from.
        float_activation: The same before rounding to 8 bits.
        measurement: The activation by filter, and the outputs (probabilities) where the target has moved to the logits.
        seed_measurement: The same for the start.
        history: For each step the weighted losses before it, by name.
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
        group: The batch that it was made in; None: alone.
        sources: The SHA-256 of each file that the recipe names, by path.
        scores: What other objectives than the activation came to by onnxruntime, by name: at the start, and on what is
            written. Empty for the activation.
        assessment: How good the picture is: see `onnxvis.assess`.
        transparency: (H, W) in [0, 1]: how much of the gradients each pixel had; None: not asked for.
        agreement: How alike the pictures of a group are to the model; None: it is no group of seeds.
    """

    parts: tuple[Part, ...] = field(repr=False)
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
    group: Group | None = field(default=None, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    assessment: Assessment | None = field(default=None, repr=False)
    transparency: Array | None = field(default=None, repr=False)
    agreement: Agreement | None = None

    @functools.cached_property
    def image(self) -> Image.Image:
        """The picture, 8-bit; a figure of it where the model's input is a signal, a volume or features."""
        change = f"{self.seed_activation:.4g} (grey) -> {self.activation:.4g}"
        return self.parts[0].picture(f"{self.model_name}: {self.target}: {change}", self.transparency)

    @property
    def array(self) -> Array:
        """The model's input that this picture makes, float32, in the model's layout: the activation is of this."""
        return self.parts[0].array

    @property
    def arrays(self) -> dict[str, Array]:
        """All optimized inputs by name."""
        return {part.image_input.name: part.array for part in self.parts}

    def files(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Return the files that `save` writes: one for a picture, a .npy and a figure for other inputs."""
        return tuple(written for written, _ in self._contents(Path(path)))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result, with the whole recipe in the PNG's text.

        A picture is one PNG, or with a name that ends in .npy the array and a PNG beside. Signals, volumes and
        features are a .npy file, as the model takes it, and a PNG with a figure of it. Further optimized inputs are
        written beside, with their names.

        Raises:
            OutputError: A file cannot be written; nothing half-written is left.
        """
        contents = list(self._contents(Path(path)))
        for written, _ in contents:
            check_writable(written, (written.suffix.lower(),))
        for written, content in contents:
            write_file(written, content())
        return contents[0][0]

    def _contents(self, path: Path) -> Iterator[tuple[Path, Callable[[], bytes]]]:
        if path.suffix.lower() not in SUFFIXES:
            check_writable(path, SUFFIXES)
        stems = [path]
        for number, part in enumerate(self.parts):
            if number > 0:
                stems.append(_free(path, _plain(part.image_input.name), stems))
            stem = stems[number]
            if not part.is_picture or (number == 0 and path.suffix.lower() == ".npy"):
                yield stem.with_suffix(".npy"), functools.partial(npy_bytes, part.array)
            png = stem if path.suffix.lower() == ".png" else stem.with_suffix(".png")
            yield png, self.png if number == 0 else functools.partial(png_bytes, part.picture(), {})

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
            "inputs": {
                part.image_input.name: {"shape": list(part.array.shape), "sha256": checksum(part.array)}
                for part in self.parts
            },
            "group": None if self.group is None else dataclasses.asdict(self.group),
            "sources": dict(self.sources),
            "measured": {
                "engine": self.verification.engine,
                "activation": self.activation,
                "seed_activation": self.seed_activation,
                "float_activation": self.float_activation,
                "output": self.measurement.output,
                "seed_output": self.seed_measurement.output,
                "scores": {name: list(pair) for name, pair in self.scores.items()},
            },
            "assessment": None if self.assessment is None else self.assessment.to_dict(),
            "agreement": None if self.agreement is None else dataclasses.asdict(self.agreement),
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

    def history_json(self) -> str:
        """Return the weighted losses before each step as JSON: lists by name."""
        names = list(self.history[0]) if self.history else []
        return json.dumps({name: [step[name] for step in self.history] for name in names}, indent=1)

    def _repr_html_(self) -> str:
        names = list(self.history[0]) if self.history else []
        curves = {name: [step[name] for step in self.history] for name in names}
        change = f"{self.seed_activation:.4g} -> {self.activation:.4g}"
        scores = [(name, f"{before:.4g} -> {after:.4g}") for name, (before, after) in self.scores.items()]
        judged = () if self.assessment is None else self.assessment.lines()
        rows = [("activation", change), *scores, *judged, *[("note", note) for note in self.notes]]
        return notebook_html(self.png(), curves, rows, f"{self.model_name}: {self.target}")

    def __str__(self) -> str:
        stopped = f", interrupted after {len(self.history)} steps" if self.interrupted else ""
        return (
            f"{self.model_name}: {self.target}: activation {self.seed_activation:.4g} -> {self.activation:.4g} "
            f"({self.verification.engine}, on {'the 8-bit picture' if self.parts[0].is_picture else 'what is written'}"
            f"{stopped})"
        )


class VisualizationInterrupted(KeyboardInterrupt):
    """Ctrl-C during the optimization.

    Attributes:
        results: What there was, measured like any other; None for units that have no picture.
        result: The last of them.
    """

    def __init__(self, *results: Result | None) -> None:
        super().__init__("interrupted")
        self.results = results

    @property
    def result(self) -> Result:
        """What there was; of several pictures the last.

        Raises:
            LookupError: There was none yet.
        """
        found = [result for result in self.results if result is not None]
        if not found:
            message = "interrupted before there was a picture"
            raise LookupError(message)
        return found[-1]


def check_written(result: Result, path: str | os.PathLike[str]) -> None:
    """Read what was written back, and make sure that it is to the bit what was measured.

    Raises:
        OutputError: It is not: the disk has lost something.
    """
    for part, written in zip(result.parts, _main_files(result, Path(path)), strict=True):
        if written.suffix.lower() == ".npy":
            same = np.array_equal(read_array(written), part.array)
        else:
            image, _ = read_png(written)
            same = np.array_equal(from_image(image, part.image_input.channels).numpy(), part.values)
        if not same:
            message = f"{str(written)!r} does not hold what was written: check the disk, and write again."
            raise OutputError(message, path=written)


def _main_files(result: Result, path: Path) -> list[Path]:
    """Return for each optimized input the file that holds its numbers."""
    found = []
    files = list(result.files(path))
    for number, part in enumerate(result.parts):
        has_array = not part.is_picture or (number == 0 and path.suffix.lower() == ".npy")
        found.append(files.pop(0))
        if has_array:
            files.pop(0)
    return found


def checksum(array: Array) -> str:
    """Return the SHA-256 of an array's numbers: equal where two results are the same to the bit."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _free(path: Path, name: str, taken: Sequence[Path]) -> Path:
    """Return a path with a name in it, numbered where another input has the same."""
    free, number = path.with_name(f"{path.stem}-{name}{path.suffix}"), 2
    while free in taken:
        free, number = path.with_name(f"{path.stem}-{name}-{number}{path.suffix}"), number + 1
    return free


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name).strip("_.") or "input"


def versions() -> dict[str, str]:
    """Return the versions on which the bits of a picture depend."""
    return {
        "onnxvis": version("onnxvis"),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
