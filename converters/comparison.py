"""Does onnxruntime compute on the written file what the framework computes on its own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from meaning import Meaning
from numpy.typing import NDArray
from onnx import helper
from refusal import ConversionError, refusing

Array = NDArray[Any]
Feeds = Mapping[str, Array]
Shapes = Mapping[str, Sequence[int]]
Asked = Sequence[tuple[str | None, tuple[int, ...]]]

TOLERANCE = 1e-4
"""Largest difference between two ways of computing in float32; the scale is the output's largest magnitude."""
_BATCH = 2  # where the file leaves the batch open: enough to see one that is not
_SEED = 0
_TINY = 1e-12


@dataclass(frozen=True)
class Difference:
    """How far two computations of one output are apart.

    Attributes:
        absolute: The largest difference.
        relative: The same, as a part of the output's largest magnitude.
    """

    absolute: float
    relative: float


def difference(expected: Array, found: Array) -> Difference:
    """Compare two arrays; NaN and infinity are different from everything but themselves.

    Raises:
        ConversionError: They have different shapes.
    """
    if expected.shape != found.shape:
        message = f"the framework gives an output of shape {expected.shape}, onnxruntime one of {found.shape}"
        raise ConversionError(message)
    wanted, got = (np.asarray(values, np.float64) for values in (expected, found))
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(wanted - got))
    absolute = float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(initial=0.0))
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    return Difference(absolute, absolute / max(scale, _TINY))


def compare(path: Path, feeds: Feeds, expected: Sequence[Array], tolerance: float) -> None:
    """Run onnxruntime on a written file, and print the largest difference from what the framework gave.

    Raises:
        ConversionError: It is larger than `tolerance` (relative), or the outputs are not the same ones.
    """
    kept = f"{path} is written and kept, but do not trust it"
    with refusing(f"{kept}: onnxruntime cannot run it"):
        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, quiet, providers=["CPUExecutionProvider"])
        found = session.run(None, dict(feeds))
    if len(found) != len(expected):
        message = f"{kept}: it has {len(found)} outputs, the framework's model {len(expected)}"
        raise ConversionError(message)
    gaps = [difference(wanted, np.asarray(got)) for wanted, got in zip(expected, found, strict=True)]
    worst = max(gaps, key=lambda gap: gap.relative)
    told = f"largest difference from onnxruntime: {worst.absolute:.1e} absolute, {worst.relative:.1e} relative"
    if not worst.relative <= tolerance:
        message = f"{kept}: {told}, more than --tolerance {tolerance:g}"
        raise ConversionError(message)
    print(told)


def draw_inputs(model: onnx.ModelProto, told: Meaning, shapes: Shapes, seed: int = _SEED) -> dict[str, Array]:
    """Draw one input for each of a model's, the same ones for the same seed.

    Floats are pictures of noise as `told` says, or in [-1, 1] where it says nothing; integers of 8 bits are any of
    them; others are 0 or 1, which are valid as tokens, masks and lengths.

    Args:
        model: Whose inputs.
        told: The range, mean and std of floats.
        shapes: By input name.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for value in model_inputs(model):
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        inputs[value.name] = np.asarray(_drawn(generator, told, dtype, shapes[value.name]), dtype)
    return inputs


def _drawn(generator: np.random.Generator, told: Meaning, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind in "iub":
        return generator.integers(0, 1, shape, endpoint=True)
    unsaid = (0.0, 1.0) if told.mean or told.std else (-1.0, 1.0)
    low, high = told.range or unsaid
    mean, std = (float(np.mean(values)) for values in (told.mean or (0.0,), told.std or (1.0,)))
    drawn: Array = (generator.uniform(low, high, shape) - mean) / std
    return drawn


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """List the inputs that have to be given: not those with a default value among the initializers."""
    given = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in given]


def sizes_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """Return an input's or output's shape, None for each open size."""
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def compared_shapes(model: onnx.ModelProto, asked: Asked, known: Shapes) -> dict[str, tuple[int, ...]]:
    """Decide the size of each input for the comparison: `--shape`, then what the framework knows, then the file.

    Args:
        model: Whose inputs; an open first axis becomes a batch of 2.
        asked: The (name or None, sizes) of `--shape`; None is the first input.
        known: By input name.

    Raises:
        ConversionError: A name that is no input's, a size that the file contradicts, or an axis that nobody gave one.
    """
    inputs = model_inputs(model)
    names = [value.name for value in inputs]
    given = {**known, **{names[0] if name is None else name: sizes for name, sizes in asked if names}}
    if unknown := sorted(set(given) - set(names)):
        message = f"no input is called {unknown[0]!r}, there is {', '.join(names)}"
        raise ConversionError(message)
    return {value.name: _completed(value, given.get(value.name)) for value in inputs}


def _completed(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> tuple[int, ...]:
    sizes = sizes_of(value)
    shown = ",".join("?" if size is None else str(size) for size in sizes)
    if given is None and None in sizes[1:]:
        message = f"input {value.name!r} leaves sizes open: {shown}. Give some to compare at, --shape {value.name}=..."
        raise ConversionError(message)
    if given is None:
        return tuple(_BATCH if size is None else size for size in sizes)
    if len(given) != len(sizes) or any(size not in {None, asked} for size, asked in zip(sizes, given, strict=True)):
        message = f"--shape {','.join(map(str, given))} does not fit the input {value.name!r}: {shown}"
        raise ConversionError(message)
    return tuple(given)
