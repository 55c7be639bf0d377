"""Convolutions and poolings of one to three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, integers, shapes, spread, whole
from tests.ops.one_node import Case

FIRST_WITH_DILATIONS = {"AveragePool": 19, "LpPool": 18, "MaxPool": 10}
FIRST_WITH_CEIL = {"AveragePool": 10, "LpPool": 18, "MaxPool": 10}
FIRST_WITH_PLACES = 8
AUTO = ("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def _window(draw: Draw, rank: int, *, dilated: bool = True) -> tuple[Array, dict[str, Any]]:
    """Draw a kernel, and the attributes that say how it moves."""
    kernel = integers(draw, (rank,), 1, 3)
    attributes: dict[str, Any] = {"kernel_shape": kernel.tolist()}
    if draw(st.booleans()):
        attributes["strides"] = integers(draw, (rank,), 1, 3).tolist()
    if dilated and draw(st.booleans()):
        attributes["dilations"] = integers(draw, (rank,), 1, 2).tolist()
    return kernel, attributes


def _extent(kernel: Array, attributes: dict[str, Any]) -> Array:
    return np.asarray((kernel - 1) * np.array(attributes.get("dilations", 1)) + 1)


def _image(draw: Draw, extent: Array) -> list[int]:
    """Draw spatial sizes into which the kernel fits."""
    return [int(size) for size in extent + integers(draw, extent.shape, 0, 3)]


def _pads(draw: Draw, extent: Array) -> dict[str, Any]:
    """Draw pads smaller than a size, or an automatic choice of them; poolings take none beyond their kernel."""
    auto = draw(st.sampled_from(AUTO))
    if auto != "NOTSET":
        return {"auto_pad": auto}
    if draw(st.booleans()):
        return {}
    return {"pads": [draw(st.integers(0, int(size) - 1)) for size in [*extent, *extent]]}


@compares("Conv", precision="float32", examples=40)
def convolutions(draw: Draw) -> Case:
    """Groups, dilations, strides, uneven and automatic pads, with and without a bias.

    onnxruntime refuses dilations with automatic pads here; in poolings it computes the pads as if there were none, and
    negative ones where a stride is larger than the kernel. The specification has all of that.
    """
    rank = draw(st.integers(1, 3))
    kernel, attributes = _window(draw, rank)
    extent = _extent(kernel, attributes)
    group, inside, outside = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    attributes |= {"group": group, **_pads(draw, extent)}
    if "auto_pad" in attributes and attributes["auto_pad"] != "VALID":
        attributes.pop("dilations", None)
        extent = kernel
    x = spread(draw, (draw(st.integers(1, 2)), group * inside, *_image(draw, extent)))
    bias = [spread(draw, (group * outside,))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        del attributes["kernel_shape"]
    return Case([x, spread(draw, (group * outside, inside, *kernel)), *bias], attributes)


@compares("ConvTranspose", precision="float32", examples=40)
def transposed_convolutions(draw: Draw, version: int) -> Case:
    """As convolutions, with additional rows and the shape of the result."""
    rank = draw(st.integers(1, 3))
    kernel, attributes = _window(draw, rank)
    extent = _extent(kernel, attributes)
    group, inside, outside = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    image = shapes(draw, rank, 3)
    strides = np.array(attributes.get("strides", [1] * rank))
    full = strides * (np.array(image) - 1) + extent
    attributes |= {"group": group, **_result_shape(draw, version, full, strides, extent)}
    x = spread(draw, (draw(st.integers(1, 2)), group * inside, *image))
    bias = [spread(draw, (group * outside,))] if draw(st.booleans()) else []
    return Case([x, spread(draw, (group * inside, outside, *kernel)), *bias], attributes)


def _result_shape(draw: Draw, version: int, full: Array, strides: Array, extent: Array) -> dict[str, Any]:
    way = draw(st.sampled_from(["plain", "pads", "output_padding", "output_shape", "auto"]))
    pads = [draw(st.integers(0, max(0, (int(size) - 1) // 2))) for size in [*full, *full]]
    if way == "plain":
        return {}
    if way == "output_padding":
        largest = np.maximum(strides, 1) - 1
        return {"output_padding": [draw(st.integers(0, int(size))) for size in largest], "pads": pads}
    if way == "output_shape":
        shape = [draw(st.integers(max(1, int(size) - 2), int(size))) for size in full]
        kinds = ("NOTSET", "SAME_UPPER", "SAME_LOWER") if version >= 11 else ("NOTSET",)
        return {"output_shape": shape, "auto_pad": draw(st.sampled_from(kinds))}
    if way == "auto" and bool((extent >= strides).all()):
        return {"auto_pad": draw(st.sampled_from(AUTO[2:]))}
    return {"pads": pads}


@compares("MaxPool", examples=40)
def max_pool(draw: Draw, version: int) -> Case:
    """With and without the places, in either order, which opset 8 brought."""
    case = _pooled(draw, version, "MaxPool")
    if version < FIRST_WITH_PLACES:
        return case
    attributes = {**case.attributes, **chosen(draw, storage_order=(None, 0, 1))}
    return Case(case.inputs, attributes, outputs=draw(st.integers(1, 2)))


@compares("AveragePool", precision="float32", examples=40)
def average_pool(draw: Draw, version: int) -> Case:
    """Counting the pads and not."""
    case = _pooled(draw, version, "AveragePool")
    return Case(case.inputs, {**case.attributes, **chosen(draw, count_include_pad=(None, 0, 1))})


@compares("LpPool", precision="float32", examples=40)
def lp_pool(draw: Draw, version: int) -> Case:
    """Any norm."""
    case = _pooled(draw, version, "LpPool", 0.3)
    return Case(case.inputs, {**case.attributes, **chosen(draw, p=(None, 1, 2, 3))})


def _pooled(draw: Draw, version: int, op_type: str, low: float = -2.0) -> Case:
    rank = draw(st.integers(1, 3))
    kernel, attributes = _window(draw, rank, dilated=version >= FIRST_WITH_DILATIONS[op_type])
    extent = _extent(kernel, attributes)
    attributes |= _pads(draw, kernel)
    if attributes.get("auto_pad", "VALID") != "VALID":
        attributes.pop("dilations", None)
        attributes["strides"] = np.minimum(attributes.get("strides", 1), kernel).tolist()
    elif version >= FIRST_WITH_CEIL[op_type]:
        attributes |= chosen(draw, ceil_mode=(None, 0, 1))
    return Case([spread(draw, (*shapes(draw, 2, 2), *_image(draw, extent)), low, 2)], attributes)


@compares("MaxUnpool", oldest=9, precision="float32")
def max_unpool(draw: Draw) -> Case:
    """Different places of the smallest result; a given shape is that one."""
    n, c, h, w = shapes(draw, 4, 3)
    kernel, strides = integers(draw, (2,), 2, 3), integers(draw, (2,), 1, 3)
    size = strides * (np.array([h, w]) - 1) + kernel
    places = np.array(draw(st.permutations(range(n * c * int(size.prod())))))[: n * c * h * w].reshape(n, c, h, w)
    attributes = {"kernel_shape": kernel.tolist(), "strides": strides.tolist()}
    shape = [whole(n, c, *size.tolist())] if draw(st.booleans()) else []
    return Case([spread(draw, (n, c, h, w)), places, *shape], attributes, constants=frozenset({2}))


@compares("DeformConv", oldest=19)
def deformable(draw: Draw) -> Case:
    """Groups of channels and of offsets, with and without a bias and a mask."""
    kernel, attributes = _window(draw, 2)
    group, offset_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    image = np.array(_image(draw, _extent(kernel, attributes)))
    pads = integers(draw, (4,), 0, 1)
    strides = np.array(attributes.get("strides", [1, 1]))
    result = (image + pads[:2] + pads[2:] - _extent(kernel, attributes)) // strides + 1
    count = offset_group * int(kernel.prod())
    # Between two pixels, on which the interpolation has kinks.
    offset = integers(draw, (1, 2 * count, *result), -1, 1) + spread(draw, (1, 2 * count, *result), 0.1, 0.9)
    bias = spread(draw, (2 * group,)) if draw(st.booleans()) else None
    mask = spread(draw, (1, count, *result), 0.1, 0.9) if draw(st.booleans()) else None
    arrays = [spread(draw, (1, 2 * group, *image)), spread(draw, (2 * group, 2, *kernel)), offset.astype(np.float32)]
    attributes |= {"group": group, "offset_group": offset_group, "pads": pads.tolist()}
    return Case([*arrays, bias, mask], attributes)
