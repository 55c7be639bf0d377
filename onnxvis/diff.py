"""The same network exported twice: do the two files agree, and if not, from which layer on and why."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxvis.comparison.compare import Comparison, Request, compare_models
from onnxvis.comparison.details import details
from onnxvis.comparison.overflowing import overflowing
from onnxvis.comparison.pairs import Limits
from onnxvis.comparison.portraits import Portrait, portraits
from onnxvis.config import DiffSettings
from onnxvis.model import Model, load
from onnxvis.outcomes import Detail, FailOn, Status, is_good, worst
from onnxvis.photos import photo_files
from onnxvis.recipe import Recipe


@dataclass(frozen=True)
class LayerAgreement:
    """One tensor of both files.

    Attributes:
        first: Its short name in the first file.
        second: Its short name in the second; None: it has no counterpart there, alone.
        operators: The operator that computes it in each.
        shape: Its shape in the first.
        matched: By what the two were matched: "response" or "structure".
        verdict: "agrees", "permuted", "differs", "shape", or "unmatched".
        max_error: The largest absolute difference.
        relative_error: The same, relative to the first tensor's largest magnitude.
        mean_error: The root of the mean squared difference, relative to that of the first tensor.
        cosine: Of the angle between the two.
        cka: How alike the two layers are, whichever filter is which: linear centered kernel alignment.
    """

    first: str
    second: str | None
    operators: tuple[str, str]
    shape: tuple[int, ...]
    matched: str = ""
    verdict: str = "unmatched"
    max_error: float = math.nan
    relative_error: float = math.nan
    mean_error: float = math.nan
    cosine: float = math.nan
    cka: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "operators": list(self.operators),
            "shape": list(self.shape),
            "matched": self.matched,
            "verdict": self.verdict,
            **{
                name: number if np.isfinite(number := getattr(self, name)) else None
                for name in ("max_error", "relative_error", "mean_error", "cosine", "cka")
            },
        }


@dataclass(frozen=True)
class Difference:
    """What two files have in common, and what they have not.

    Attributes:
        first: The first file, as it was named.
        second: The second.
        inputs: How what the first is fed becomes what the second is fed, by the first's input names.
        limits: From where on two tensors differ, in words.
        layers: All tensors of the first file that stand for floats, in the order of computation.
        details: What was found, the most serious first.
        portraits: Pictures of the chosen units, by both files.
        notes: What was assumed.
        fail_on: From which status on the files are not the same.
        seconds: How long it took.
    """

    first: str
    second: str
    inputs: Mapping[str, str]
    limits: str
    layers: tuple[LayerAgreement, ...] = field(repr=False)
    details: tuple[Detail, ...]
    portraits: tuple[Portrait, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    fail_on: FailOn = "fail"
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of what was found."""
        return worst(("pass", *(detail.status for detail in self.details)))

    @property
    def ok(self) -> bool:
        """Whether the two files are the same network, but for rounding and what was accepted."""
        return is_good(self.status, self.fail_on)

    @property
    def first_divergence(self) -> str | None:
        """The short name, in the second file, of the first layer at which the two part; None: they do not."""
        return next((detail.layer for detail in self.details if detail.status == "fail"), None)

    @property
    def agreeing(self) -> int:
        """How many layers agree, as they are or but for the order of their filters."""
        return sum(layer.verdict in ("agrees", "permuted") for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the pictures are left out."""
        return {
            "format": "onnxvis-diff-1",
            "first": self.first,
            "second": self.second,
            "status": self.status,
            "ok": self.ok,
            "first_divergence": self.first_divergence,
            "inputs": dict(self.inputs),
            "limits": self.limits,
            "notes": list(self.notes),
            "details": [detail.to_dict() for detail in self.details],
            "layers": [layer.to_dict() for layer in self.layers],
            "units": [portrait.to_dict() for portrait in self.portraits],
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        count = sum(layer.verdict != "unmatched" for layer in self.layers)
        said = f"{self.agreeing} of {count} layers of {self.first} agree with {self.second}"
        return f"{said}; {self.details[0].text}" if self.details else said


def diff(
    first: Any,
    second: Any,
    *,
    units: Sequence[tuple[str, int | str]] = (),
    recipe: Recipe | None = None,
    settings: DiffSettings | None = None,
    inputs: Mapping[str, np.ndarray[Any, Any]] | None = None,
    names: tuple[str, str] | None = None,
) -> Difference:
    """Compare two files that should be the same network.

    Both are run by onnxruntime on the same noise, the same pictures of rising contrast, and the photos that are given.
    Inputs are matched across layouts and preprocessing, tensors by what they hold, and where that no longer agrees, by
    what they are connected to.

    Args:
        first: The file that is taken for right: a path, bytes, `ModelProto` or `Model`.
        second: The other.
        units: Layers, by any name that finds them in the first file, and filters to picture by both.
        recipe: Settings of these pictures; None: a quick one.
        settings: Tolerances, sizes, preprocessing, and what is accepted; see `DiffSettings`.
        inputs: What inputs of the first file are held at, arrays by name.
        names: What to call the two; None: their file names.

    Raises:
        OnnxvisError: A file cannot be loaded or run, or their inputs do not fit each other.
    """
    began = time.perf_counter()
    given = DiffSettings() if settings is None else settings
    models = load(first), load(second)
    # What is not finite is compared like everything else.
    with np.errstate(all="ignore"):
        compared = compare_models(*models, _request(given, inputs or {}))
        overflows = list(overflowing(compared))
        far = [item for item in overflows if item.relative > _far(compared)]
        # Where both do, that is no difference between them.
        causes = [item.detail for item in far] if len(far) == 1 else []
        found = sorted([*details(compared, given.accept), *causes], key=lambda detail: _SERIOUS.index(detail.status))
    return Difference(
        first=names[0] if names else _called(first, models[0]),
        second=names[1] if names else _called(second, models[1]),
        inputs={name: _relation(compared, number) for number, (name, _) in enumerate(compared.feeds.pairing.names)},
        limits=str(compared.limits),
        layers=tuple(_layers(compared)),
        details=tuple(found),
        portraits=portraits(compared, units, recipe),
        notes=(*_notes(compared), *(item.note for item in overflows if not causes or item not in far)),
        fail_on=given.fail_on,
        seconds=time.perf_counter() - began,
    )


_SERIOUS: Sequence[Status] = ("error", "fail", "warn", "skip", "pass")


def _far(compared: Comparison) -> float:
    """Return from where on clipped sums make another network of a file: where layers of the two would differ."""
    limits = compared.limits
    return limits.relative if limits.relative is not None else limits.mean or 0.0


def _called(source: Any, model: Model) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else model.name


def _request(settings: DiffSettings, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Request:
    limits = None
    if settings.tolerance is not None or settings.min_cosine is not None:
        limits = Limits(settings.tolerance, None, settings.min_cosine)
    photos = () if settings.images is None else tuple(map(str, photo_files(Path(settings.images))))
    overrides = tuple(dict(given or {}) for given in (settings.preprocess_a, settings.preprocess_b))
    return Request(
        limits=limits,
        size=settings.size,
        shapes=settings.input_shapes,
        overrides=(overrides[0], overrides[1]),
        held=inputs,
        photos=photos,
        seed=settings.seed,
    )


def _relation(compared: Comparison, number: int) -> str:
    partner = compared.feeds.pairing.names[number][1]
    said = str(compared.feeds.relation) if number == 0 else "the same"
    return f"{partner}: {said}"


def _notes(compared: Comparison) -> Iterator[str]:
    yield from compared.feeds.pairing.notes
    permuted = [pair for pair in compared.pairs.values() if pair.verdict == "permuted"]
    exposed = set(compared.roots)
    quiet = [compared.sides[0].name(pair.first) for pair in permuted if pair.first not in exposed]
    if quiet and not compared.roots:
        listed = ", ".join(map(repr, quiet[:5])) + (", ..." if len(quiet) > 5 else "")  # noqa: PLR2004 - as many as shown
        yield f"filters are in another order, which the next layers undo: {listed}"


def _layers(compared: Comparison) -> Iterator[LayerAgreement]:
    one, other = compared.sides
    for name, array in compared.recordings[0].items():
        pair = compared.pairs.get(name)
        if pair is None:
            yield LayerAgreement(one.name(name), None, (one.op_type(name), ""), array.shape[1:])
            continue
        yield LayerAgreement(
            first=one.name(name),
            second=other.name(pair.second),
            operators=(one.op_type(name), other.op_type(pair.second)),
            shape=array.shape[1:],
            matched=pair.how,
            verdict=pair.verdict,
            max_error=pair.errors.absolute,
            relative_error=pair.errors.relative,
            mean_error=pair.errors.mean,
            cosine=pair.cosine,
            cka=pair.cka,
        )
