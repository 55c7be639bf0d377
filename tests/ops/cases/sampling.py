"""Operators that pad, resize and take values between pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, integers, shapes, single, spread, whole
from tests.ops.one_node import Case

FIRST_WITH_PAD_INPUTS = 11
FIRST_RESIZE = 10
FIRST_WITHOUT_EMPTY = 13
FIRST_WITH_AXES = 18
FIRST_WITH_WRAP = 19
FIRST_WITH_SYMMETRIC = 19
FIRST_OF_RANK_FIVE = 20
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
SMOOTHED = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
FACTORS = (0.3, 0.6, 1.0, 1.7, 2.0, 2.5)
NEAREST = (None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@compares("Pad", examples=40)
def pad(draw: Draw, version: int) -> Case:
    """Every mode, of all axes and of some, cutting off as well."""
    shape = [size + 2 for size in shapes(draw, (1, 4), 2)]
    modes = ("constant", "reflect", "edge", *(["wrap"] if version >= FIRST_WITH_WRAP else []))
    attributes = {"mode": draw(st.sampled_from(modes))}
    axes = list(range(len(shape)))
    if version >= FIRST_WITH_AXES and draw(st.booleans()):
        axes = sorted(draw(st.lists(st.sampled_from(axes), min_size=1, unique=True)))
    most = 1 if attributes["mode"] == "reflect" else 2  # what remains of an axis that is cut off is reflected once
    pads = [draw(st.integers(-1, most)) for _ in [*axes, *axes]]
    x, value = spread(draw, shape), draw(st.sampled_from([None, 1.5]))
    if version < FIRST_WITH_PAD_INPUTS:
        return Case([x], {**attributes, "pads": pads, **({} if value is None else {"value": value})})
    filled = None if value is None else np.array(value, np.float32)
    inputs = [whole(*pads), filled, *([whole(*axes)] if len(axes) < len(shape) else [])]
    return Case([x, *inputs], attributes, constants=frozenset({1, 2, 3}))


@compares("Resize", oldest=10, precision="float32", examples=50)
def resize(draw: Draw, version: int) -> Case:
    """Every mode and transformation, by scales and to sizes, with regions, axes and aspect ratios.

    onnxruntime has linear interpolation along two and three axes, cubic along two. Where a scale other than 1 leaves
    every size what it was, it copies the input, which the specification does not.
    """
    if version == FIRST_RESIZE:
        return _upsampled(draw)
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    x, factors = _resized(draw, mode)
    attributes = {"mode": mode, **_method(draw, version, mode)}
    axes = list(range(x.ndim))
    if version >= FIRST_WITH_AXES and draw(st.booleans()):
        axes = axes[2:]
        attributes["axes"] = axes
    empty = single() if version < FIRST_WITHOUT_EMPTY else None
    cropped = attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    roi = single(*(0.2 if axis > 1 else 0 for axis in axes), *(0.9 if axis > 1 else 1 for axis in axes))
    inputs: list[Array | None] = [x, roi if cropped else empty, single(*(factors[axis] for axis in axes))]
    if draw(st.booleans()):
        sizes = [max(1, round(x.shape[axis] * factors[axis])) for axis in axes]
        inputs = [x, roi if cropped else empty, empty, whole(*sizes)]
        if "axes" in attributes:
            attributes |= chosen(draw, keep_aspect_ratio_policy=(None, "stretch", "not_larger", "not_smaller"))
    return Case(inputs, attributes, constants=frozenset({1, 2, 3}), single=frozenset({1, 2}))


def _resized(draw: Draw, mode: str) -> tuple[Array, list[float]]:
    """Draw an image or a volume, and a factor for each axis, none of which makes it vanish."""
    spatial = 2 if mode == "cubic" else draw(st.integers(2, 3))
    sizes = [draw(st.integers(2, 6)) for _ in range(spatial)]
    x = spread(draw, (1, draw(st.integers(1, 2)), *sizes))
    factors = [max(draw(st.sampled_from(FACTORS)), 1.01 / size) for size in sizes]
    return x, [1.0, 1.0, *factors]


def _method(draw: Draw, version: int, mode: str) -> dict[str, Any]:
    coordinates = [None, *COORDINATES]
    if version >= FIRST_WITH_SYMMETRIC:
        coordinates.append("half_pixel_symmetric")
    attributes = chosen(draw, coordinate_transformation_mode=coordinates, extrapolation_value=(None, 3.0))
    if mode == "nearest":
        return attributes | chosen(draw, nearest_mode=NEAREST)
    if mode == "cubic":
        attributes |= chosen(draw, cubic_coeff_a=(None, -0.5), exclude_outside=(None, 0, 1))
    # The specification leaves open how a region is cropped from an image that is smoothed.
    if version >= FIRST_WITH_AXES and attributes.get("coordinate_transformation_mode") in SMOOTHED:
        attributes |= chosen(draw, antialias=(None, 0, 1))
    return attributes


@compares("Upsample", oldest=7, newest=9, precision="float32")
def upsample(draw: Draw, version: int) -> Case:
    """Scales as an attribute, then as an input."""
    case = _upsampled(draw)
    x, scales = case.inputs
    if version < 9 and scales is not None:
        return Case([x], {**case.attributes, "scales": scales.tolist()})
    return case


def _upsampled(draw: Draw) -> Case:
    """Draw what Upsample can do: the nearest of any rank, the linear mean of images."""
    mode = draw(st.sampled_from(["nearest", "linear"]))
    rank = 2 if mode == "linear" else draw(st.integers(1, 3))
    x = spread(draw, (1, 2, *(draw(st.integers(2, 4)) for _ in range(rank))))
    scales = single(1, 1, *(draw(st.sampled_from([1, 1.5, 2, 2.7])) for _ in x.shape[2:]))
    return Case([x, scales], {"mode": mode}, constants=frozenset({1}), single=frozenset({1}))


@compares("GridSample", oldest=16, examples=40)
def grid_sample(draw: Draw, version: int) -> Case:
    """Images and, from opset 20 on, volumes; the gradient to the image and, between pixels, to the places.

    onnxruntime has no cubic interpolation of volumes.
    """
    rank = draw(st.integers(2, 3)) if version >= FIRST_OF_RANK_FIVE else 2
    names = ("linear", "nearest", "cubic") if version >= FIRST_OF_RANK_FIVE else ("bilinear", "nearest", "bicubic")
    modes = names if rank == 2 else names[:2]
    paddings = (None, "zeros", "border", "reflection")
    attributes = chosen(draw, mode=modes, padding_mode=paddings, align_corners=(None, 0, 1))
    size = [draw(st.integers(2, 4)) for _ in range(rank)]
    x = spread(draw, (1, 2, *size))
    grid = _between(draw, (1, *shapes(draw, rank, 3)), size[::-1], aligned=attributes.get("align_corners") == 1)
    return Case([x, grid], attributes)


def _between(draw: Draw, shape: tuple[int, ...], size: list[int], *, aligned: bool) -> Array:
    """Draw places, also outside, that are neither on a pixel nor half-way between two."""
    cell = integers(draw, (*shape, len(size)), -2, 5) + integers(draw, (*shape, len(size)), 0, 1) * 0.5
    place = cell + spread(draw, (*shape, len(size)), 0.1, 0.4)
    width = np.array(size)
    scaled = 2 * place / np.maximum(width - 1, 1) - 1 if aligned else (2 * place + 1) / width - 1
    return np.asarray(scaled, np.float32)


@compares("AffineGrid", oldest=20)
def affine_grid(draw: Draw) -> Case:
    """Of images and volumes."""
    rank = draw(st.integers(2, 3))
    size = integers(draw, (rank,), 2, 4)
    images = draw(st.integers(1, 2))
    theta = spread(draw, (images, rank, rank + 1))
    return Case([theta, whole(images, 3, *size)], chosen(draw, align_corners=(None, 0, 1)), constants=frozenset({1}))


@compares("RoiAlign", oldest=10, newest=21)
def roi_align(draw: Draw, version: int) -> Case:
    """Means and maxima of boxes inside and across the borders; the gradient to the image.

    The largest is that of weighted neighbors, in onnxruntime as in the reference.
    """
    height, width = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    corner = spread(draw, (3, 2), -1, 2)
    boxes = np.concatenate([corner, corner + spread(draw, (3, 2), 0.5, 5)], -1)
    attributes = chosen(draw, output_height=(None, 2, 3), output_width=(None, 2), sampling_ratio=(None, 1, 2))
    attributes |= chosen(draw, mode=(None, "avg", "max"), spatial_scale=(None, 0.5))
    if version >= 16:
        attributes |= chosen(draw, coordinate_transformation_mode=(None, "half_pixel", "output_half_pixel"))
    inputs = [spread(draw, (2, 2, height, width)), boxes, integers(draw, (3,), 0, 1)]
    return Case(inputs, attributes, held=frozenset({1}))


@compares("MaxRoiPool", newest=21, precision="float32")
def max_roi_pool(draw: Draw) -> Case:
    """Maxima of the bins of boxes; the gradient to the image."""
    corner = integers(draw, (3, 2), 0, 3)
    boxes = np.concatenate([integers(draw, (3, 1), 0, 1), corner, corner + integers(draw, (3, 2), 0, 6)], -1)
    attributes = {"pooled_shape": [draw(st.integers(1, 3)), draw(st.integers(1, 3))]}
    attributes |= chosen(draw, spatial_scale=(None, 0.5))
    return Case([spread(draw, (2, 2, 5, 6)), boxes.astype(np.float32)], attributes, held=frozenset({1}))
