"""Resize and Upsample, axis by axis: resampling is separable (see `onnxvis.ops.resampling`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from onnxvis.ops.resampling import Axis, Method, is_torch_nearest, nearest_index, outside, weight_matrix
from onnxvis.ops.table import Floats, Ints, operator

# From this size on, multiplying by a dense matrix costs a CPU more than torch's two taps.
_DENSE_LIMIT = 128


@operator("Resize", since=11)
def resize(
    X: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize the axes (all where omitted) by `scales` or to `sizes`; empty is omitted."""
    chosen = tuple(range(X.ndim)) if axes is None else tuple(axis % X.ndim for axis in axes)
    lengths = [X.shape[axis] for axis in chosen]
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    factors, resized = _factors(lengths, scales, sizes, keep_aspect_ratio_policy)
    region = roi if crop and roi else (0.0,) * len(chosen) + (1.0,) * len(chosen)
    columns = zip(lengths, resized, factors, region[: len(chosen)], region[len(chosen) :], strict=True)
    plan = {axis: Axis(*column) for axis, column in zip(chosen, columns, strict=True)}
    method = Method(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    Y = _resample(X, plan, method)
    return _extrapolate(Y, plan, method, extrapolation_value) if crop else Y


@operator("Resize", since=10)
def resize_10(X: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Resize all axes; the coordinates are asymmetric."""
    return upsample(X, scales, mode=mode)


@operator("Upsample", since=7)
def upsample(X: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Resize all axes; the coordinates are asymmetric."""
    factors, resized = _factors(X.shape, scales, None, "stretch")
    columns = zip(X.shape, resized, factors, strict=True)
    plan = {axis: Axis(*column) for axis, column in enumerate(columns)}
    return _resample(X, plan, Method("linear" if mode == "bilinear" else mode))


@operator("Upsample")
def upsample_1(X: Tensor, *, height_scale: float, mode: str = "nearest", width_scale: float) -> Tensor:
    """As `upsample`, on the last two axes."""
    return upsample(X, (1.0, 1.0, height_scale, width_scale), mode=mode)


def _factors(
    lengths: Sequence[int], scales: Floats | None, sizes: Ints | None, policy: str
) -> tuple[list[float], list[int]]:
    """The factor of each axis, in float32 as everything about coordinates, and its size in the output."""
    if scales:
        return list(scales), [math.floor(np.float32(n) * np.float32(s)) for n, s in zip(lengths, scales, strict=True)]
    wanted = sizes if sizes is not None else tuple(lengths)
    factors = [float(np.float32(size) / np.float32(n)) for size, n in zip(wanted, lengths, strict=True)]
    if policy == "stretch":
        return factors, list(wanted)
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(factors), [math.floor(factor * n + 0.5) for n in lengths]


def _resample(X: Tensor, plan: dict[int, Axis], method: Method) -> Tensor:
    plan = {axis: line for axis, line in plan.items() if not _is_identity(line)}
    if not plan:
        return X
    if method.mode == "nearest":
        return _nearest(X, plan, method)
    if not X.is_floating_point():
        return _resample(X.float(), plan, method).to(X.dtype)
    if _torch_is_faster(X, plan, method):
        corners = True if method.coordinates == "align_corners" else None
        return F.interpolate(X, _spatial_sizes(X, plan), mode="bilinear", align_corners=corners)
    for axis in sorted(plan, reverse=True):
        X = _multiply(X, axis, weight_matrix(plan[axis], method, X))
    return X


def _is_identity(line: Axis) -> bool:
    return line.scale == 1 and line.resized == line.size and (line.start, line.end) == (0, 1)


def _nearest(X: Tensor, plan: dict[int, Axis], method: Method) -> Tensor:
    spatial = min(plan) >= 2 and 3 <= X.ndim <= 5 and X.is_floating_point()
    if spatial and all(is_torch_nearest(line, method) for line in plan.values()):
        return F.interpolate(X, _spatial_sizes(X, plan), mode="nearest")
    for axis, line in plan.items():
        X = X.index_select(axis, nearest_index(line, method, X))
    return X


def _torch_is_faster(X: Tensor, plan: dict[int, Axis], method: Method) -> bool:
    """Whether it is a large bilinear resizing on a CPU of which torch computes exactly the same."""
    if X.is_cuda or X.ndim != 4 or min(plan) < 2 or method.mode != "linear" or method.antialias:
        return False
    exact = all(line.resized == line.size * line.scale and line.resized > 1 for line in plan.values())
    known = method.coordinates in {"half_pixel", "pytorch_half_pixel", "align_corners"}
    return exact and known and max(line.size for line in plan.values()) > _DENSE_LIMIT


def _spatial_sizes(X: Tensor, plan: dict[int, Axis]) -> list[int]:
    return [plan[axis].resized if axis in plan else X.shape[axis] for axis in range(2, X.ndim)]


def _multiply(X: Tensor, axis: int, matrix: Tensor) -> Tensor:
    if axis == X.ndim - 1:
        return X @ matrix.T
    if axis == X.ndim - 2:
        return matrix @ X
    return (X.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def _extrapolate(Y: Tensor, plan: dict[int, Axis], method: Method, value: float) -> Tensor:
    """Put the value wherever a coordinate lies outside the input."""
    masks = [
        outside(line, method, Y).reshape(-1, *[1] * (Y.ndim - 1 - axis))
        for axis, line in plan.items()
        if not _is_identity(line)
    ]
    return torch.where(functools.reduce(torch.logical_or, masks), value, Y) if masks else Y
