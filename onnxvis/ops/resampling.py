"""Resampling along one axis, as an index ("nearest") or as a matrix of weights ("linear" and "cubic").

Element i of the output lies at coordinate x(i) of the input. "nearest" takes the element at the rounded x(i), the
other modes a weighted sum of those around it. Coordinates are computed in float32, as in onnxruntime: where x(i) lies
half-way between two elements, rounding decides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError

Coordinates = npt.NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])
Weights = npt.NDArray[np.float64]


class Axis(NamedTuple):
    """One axis to be resized: sizes, the factor between them, and the region of interest in [0, 1]."""

    size: int
    resized: int
    scale: float
    start: float = 0.0
    end: float = 1.0


class Method(NamedTuple):
    """The attributes of a Resize node that decide about elements and weights; the defaults are Upsample's."""

    mode: str = "nearest"
    coordinates: str = "asymmetric"
    nearest_mode: str = "simple"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def remember(function: Function) -> Function:
    """Keep the function's results, whose arguments say all; torch.compile takes them as constants."""
    kept = functools.lru_cache(maxsize=256)(function)

    def remembered(*args: Any) -> Any:
        return kept(*args)

    # In between, because torch.compile looks through a cache and warns of it. The arguments are plain tuples, because
    # a named one loses its fields on this way. The mark is what torch.compiler.assume_constant_result sets, after an
    # import that takes a second.
    remembered._dynamo_marked_constant = True  # type: ignore[attr-defined]  # noqa: SLF001
    return cast("Function", remembered)


@remember
def resized_length(length: int, scale: float, rounding: float) -> int:
    """Return the size of an axis after scaling, in float32 plus `rounding`, rounded down."""
    return int(np.floor(np.float32(length) * np.float32(scale) + np.float32(rounding)))


@remember
def scale_between(length: int, resized: int) -> float:
    """Return the factor that leads from one size to another, a float32."""
    return float(np.float32(resized) / np.float32(length))


def nearest_index(axis: Axis, method: Method, like: Tensor) -> Tensor:
    """Return which element of the input is taken for each of the output, (resized,), on the device of `like`."""
    return _tensor(like)("index", tuple(axis), tuple(method), torch.int64, like.device)


def weight_matrix(axis: Axis, method: Method, like: Tensor) -> Tensor:
    """Return the weights of the input's elements in the output's, (resized, size), as `like` in dtype and device."""
    return _tensor(like)("weights", tuple(axis), tuple(method), like.dtype, like.device)


def outside(axis: Axis, method: Method, like: Tensor) -> Tensor:
    """Return which elements of the output lie outside the input, (resized,), on the device of `like`."""
    return _tensor(like)("outside", tuple(axis), tuple(method), torch.bool, like.device)


def is_torch_nearest(axis: Axis, method: Method, like: Tensor) -> bool:
    """Whether `torch.nn.functional.interpolate` takes the same elements, found by asking it."""
    # A fake tensor must not ask: its mode would fake the answer.
    return type(like) is Tensor and axis.resized > 0 and _is_torch_nearest(tuple(axis), tuple(method))


@remember
def _is_torch_nearest(axis: tuple[Any, ...], method: tuple[Any, ...]) -> bool:
    size, resized = axis[:2]
    ramp = np.arange(size, dtype=np.float64)
    taken = functional.interpolate(torch.from_numpy(ramp)[None, None], (resized,), mode="nearest")
    return bool((taken[0, 0].numpy() == _index(Axis(*axis), Method(*method))).all())


def _make_tensor(
    kind: str, axis: tuple[Any, ...], method: tuple[Any, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    # A tensor made in inference mode could not serve a later backward pass.
    with torch.inference_mode(mode=False):
        return torch.from_numpy(_ARRAYS[kind](Axis(*axis), Method(*method))).to(device, dtype)


_remembered_tensor = remember(_make_tensor)


def _tensor(like: Tensor) -> Callable[..., Tensor]:
    """Choose whether to remember: a fake tensor must die with its mode."""
    return _remembered_tensor if type(like) is Tensor else _make_tensor


def _index(axis: Axis, method: Method) -> npt.NDArray[np.int64]:
    rounded: Coordinates = _ROUND[method.nearest_mode](_coordinates(axis, method), axis.scale)
    return np.clip(rounded, 0, axis.size - 1).astype(np.int64)


def _outside(axis: Axis, method: Method) -> npt.NDArray[np.bool_]:
    x = _coordinates(axis, method)
    return (x < 0) | (x > axis.size - 1)


def _weights(axis: Axis, method: Method) -> Weights:
    """Weights of a filter around x(i), stretched by the factor of a reduction if `antialias`."""
    center = _coordinates(axis, method)[:, None] + np.float32(0.5)
    stretch = max(1.0, 1.0 / axis.scale) if method.antialias else 1.0
    reach = stretch * (2 if method.mode == "cubic" else 1)
    first, last = np.floor(center - reach + 0.5), np.floor(center + reach + 0.5)
    taps = first + np.arange(int(np.ceil(2 * reach)) + 1)
    distance = np.abs(taps + 0.5 - center.astype(np.float64)) / stretch
    weights = _cubic(distance, method.cubic_coeff_a) if method.mode == "cubic" else np.maximum(1 - distance, 0)
    weights[taps >= last] = 0
    if method.exclude_outside:
        weights[(taps < 0) | (taps >= axis.size)] = 0
    total = weights.sum(1, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    matrix = np.zeros((axis.resized, axis.size))
    columns = np.clip(taps, 0, axis.size - 1).astype(np.int64)
    np.add.at(matrix, (np.arange(axis.resized)[:, None], columns), weights)
    return matrix


def _cubic(distance: Weights, a: float) -> Weights:
    """Weights at distances up to 2.

    Keys, "Cubic convolution interpolation for digital image processing", 1981, with a free coefficient.
    """
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far)


def _coordinates(axis: Axis, method: Method) -> Coordinates:
    """x(i) for each element i of the output, as `coordinate_transformation_mode` says."""
    if method.coordinates not in _COORDINATES:
        message = f"Resize: coordinate_transformation_mode {method.coordinates!r} is not implemented"
        raise UnsupportedOpError(message, op_type="Resize", mode=method.coordinates)
    i = np.arange(axis.resized, dtype=np.float32)
    return np.asarray(_COORDINATES[method.coordinates](i, axis), dtype=np.float32)


def _half_pixel(i: Coordinates, axis: Axis) -> Any:
    return (i + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _half_pixel_symmetric(i: Coordinates, axis: Axis) -> Any:
    adjustment = np.float32(axis.resized) / (np.float32(axis.scale) * np.float32(axis.size))
    offset = np.float32(axis.size / 2) * (1 - adjustment)
    return offset + (i.astype(np.float64) + 0.5) / np.float32(axis.scale) - 0.5


def _pytorch_half_pixel(i: Coordinates, axis: Axis) -> Any:
    return _half_pixel(i, axis) if axis.resized > 1 else np.zeros_like(i)


def _tf_half_pixel_for_nn(i: Coordinates, axis: Axis) -> Any:
    return (i + np.float32(0.5)) / np.float32(axis.scale)


def _asymmetric(i: Coordinates, axis: Axis) -> Any:
    return i / np.float32(axis.scale)


def _align_corners(i: Coordinates, axis: Axis) -> Any:
    return i * np.float32(axis.size - 1) / np.float32(max(axis.resized - 1, 1))


def _tf_crop_and_resize(i: Coordinates, axis: Axis) -> Any:
    start, end, last = np.float32(axis.start), np.float32(axis.end), np.float32(axis.size - 1)
    if axis.resized == 1:
        return np.full_like(i, np.float32(0.5) * (start + end) * last)
    return start * last + i * (end - start) * last / np.float32(axis.resized - 1)


_COORDINATES: dict[str, Callable[[Coordinates, Axis], Any]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "tf_half_pixel_for_nn": _tf_half_pixel_for_nn,
    "asymmetric": _asymmetric,
    "align_corners": _align_corners,
    "tf_crop_and_resize": _tf_crop_and_resize,
}
# float64, in which adding one half to a float32 is exact.
_ROUND: dict[str, Callable[[Coordinates, float], Any]] = {
    "round_prefer_floor": lambda x, _: np.ceil(x.astype(np.float64) - 0.5),
    "round_prefer_ceil": lambda x, _: np.floor(x.astype(np.float64) + 0.5),
    "floor": lambda x, _: np.floor(x),
    "ceil": lambda x, _: np.ceil(x),
    # What onnxruntime does where the operator has no such attribute yet: Upsample and Resize-10.
    "simple": lambda x, scale: np.ceil(x) if scale < 1 else np.floor(x),
}
_ARRAYS: dict[str, Callable[[Axis, Method], Any]] = {"index": _index, "weights": _weights, "outside": _outside}
