"""Resize and Upsample, axis by axis: resampling is separable (see `onnxvis.ops.resampling`)."""

from __future__ import annotations

import functools

import torch
from onnx_ir import DataType
from torch import Tensor
from torch.nn import functional

from onnxvis.ops.resampling import (
    Axis,
    Method,
    is_torch_nearest,
    nearest_index,
    outside,
    resized_length,
    scale_between,
    weight_matrix,
)
from onnxvis.ops.straight_through import straight_through
from onnxvis.ops.table import Floats, Ints, Types, operator

Plan = dict[int, Axis]

# From this size on, multiplying by a dense matrix costs a CPU more than torch's two taps.
_DENSE_LIMIT = 128
_TORCH_COORDINATES = {"half_pixel", "pytorch_half_pixel", "align_corners"}
_TORCH_RANKS = {3, 4, 5}
_IMAGE_RANK = 4
_FIRST_SPATIAL_AXIS = 2


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
    input_types: Types = (),
) -> Tensor:
    """Resize the axes (all where omitted) by `scales` or to `sizes`; empty is omitted. Integers stay integers."""
    plan = _plan(tuple(X.shape), axes, scales, sizes, keep_aspect_ratio_policy)
    method = Method(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    if coordinate_transformation_mode != "tf_crop_and_resize":
        return _whole(_resample(X, plan, method), input_types)
    plan = _with_regions(plan, axes, roi, X.ndim)
    return _whole(_extrapolate(_resample(X, plan, method), plan, method, extrapolation_value), input_types)


@operator("Resize", since=10)
def resize_10(X: Tensor, scales: Floats, *, mode: str = "nearest", input_types: Types = ()) -> Tensor:
    """Resize all axes; the coordinates are asymmetric."""
    return upsample(X, scales, mode=mode, input_types=input_types)


@operator("Upsample", since=7)
def upsample(X: Tensor, scales: Floats, *, mode: str = "nearest", input_types: Types = ()) -> Tensor:
    """Resize all axes; the coordinates are asymmetric."""
    plan = _plan(tuple(X.shape), None, scales, None, "stretch")
    return _whole(_resample(X, plan, Method("linear" if mode == "bilinear" else mode)), input_types)


@operator("Upsample")
def upsample_1(
    X: Tensor, *, height_scale: float, mode: str = "nearest", width_scale: float, input_types: Types = ()
) -> Tensor:
    """As `upsample`, on the last two axes."""
    return upsample(X, (1.0, 1.0, height_scale, width_scale), mode=mode, input_types=input_types)


def _whole(Y: Tensor, input_types: Types) -> Tensor:
    """Cut carried integers off to integers, as real ones are."""
    kind = input_types[0] if input_types else None
    carried = kind is not None and DataType(kind).is_integer() and Y.is_floating_point()
    return straight_through(Y, Y.trunc()) if carried else Y


def _plan(shape: Ints, axes: Ints | None, scales: Floats | None, sizes: Ints | None, policy: str) -> Plan:
    """Which axes change, and how; empty scales or sizes are omitted ones."""
    chosen = tuple(range(len(shape))) if axes is None else tuple(axis % len(shape) for axis in axes)
    lengths = [shape[axis] for axis in chosen]
    if scales:
        factors = [float(scale) for scale in scales]
        resized = [resized_length(n, factor, 0.0) for n, factor in zip(lengths, factors, strict=True)]
    else:
        resized = list(sizes or lengths)
        factors = [scale_between(n, size) for n, size in zip(lengths, resized, strict=True)]
    if policy != "stretch":
        factors = [min(factors) if policy == "not_larger" else max(factors)] * len(factors)
        resized = [resized_length(n, factor, 0.5) for n, factor in zip(lengths, factors, strict=True)]
    lines = zip(chosen, lengths, resized, factors, strict=True)
    # An axis of factor 1 stays as it is whatever the coordinates and the region are: so it does in onnxruntime.
    return {axis: Axis(n, size, factor) for axis, n, size, factor in lines if factor != 1 or size != n}


def _resample(X: Tensor, plan: Plan, method: Method) -> Tensor:
    if not plan:
        return X
    if method.mode == "nearest":
        return _nearest(X, plan, method)
    if not X.is_floating_point():
        return _resample(X.float(), plan, method).to(X.dtype)
    if _torch_is_faster(X, plan, method):
        corners = True if method.coordinates == "align_corners" else None
        return functional.interpolate(X, _spatial_sizes(X, plan), mode="bilinear", align_corners=corners)
    for axis in sorted(plan, reverse=True):
        X = _multiply(X, axis, weight_matrix(plan[axis], method, X))
    return X


def _with_regions(plan: Plan, axes: Ints | None, roi: Floats | None, rank: int) -> Plan:
    """Give each axis its region: `roi` holds all starts, then all ends."""
    if not roi:
        return plan
    chosen = range(rank) if axes is None else [axis % rank for axis in axes]
    regions = dict(zip(chosen, zip(roi[: len(chosen)], roi[len(chosen) :], strict=True), strict=True))
    return {axis: line._replace(start=regions[axis][0], end=regions[axis][1]) for axis, line in plan.items()}


def _nearest(X: Tensor, plan: Plan, method: Method) -> Tensor:
    torch_takes_it = _is_spatial(X, plan) and X.is_floating_point()
    if torch_takes_it and all(is_torch_nearest(line, method, X) for line in plan.values()):
        return functional.interpolate(X, _spatial_sizes(X, plan), mode="nearest")
    for axis, line in plan.items():
        X = X.index_select(axis, nearest_index(line, method, X))
    return X


def _torch_is_faster(X: Tensor, plan: Plan, method: Method) -> bool:
    """Whether it is a large bilinear resizing on a CPU of which torch computes exactly the same."""
    if X.is_cuda or X.ndim != _IMAGE_RANK or not _is_spatial(X, plan):
        return False
    plain = method.mode == "linear" and not method.antialias and method.coordinates in _TORCH_COORDINATES
    exact = all(line.resized == line.size * line.scale and line.resized > 1 for line in plan.values())
    return plain and exact and max(line.size for line in plan.values()) > _DENSE_LIMIT


def _is_spatial(X: Tensor, plan: Plan) -> bool:
    return X.ndim in _TORCH_RANKS and min(plan) >= _FIRST_SPATIAL_AXIS


def _spatial_sizes(X: Tensor, plan: Plan) -> list[int]:
    return [plan[axis].resized if axis in plan else X.shape[axis] for axis in range(2, X.ndim)]


def _multiply(X: Tensor, axis: int, matrix: Tensor) -> Tensor:
    if axis == X.ndim - 1:
        return X @ matrix.T
    if axis == X.ndim - 2:
        return matrix @ X
    return (X.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def _extrapolate(Y: Tensor, plan: Plan, method: Method, value: float) -> Tensor:
    """Put the value wherever a coordinate lies outside the input."""
    masks = [outside(line, method, Y).reshape(-1, *[1] * (Y.ndim - 1 - axis)) for axis, line in plan.items()]
    return torch.where(functools.reduce(torch.logical_or, masks), value, Y) if masks else Y
