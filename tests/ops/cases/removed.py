"""Experimental operators that old files have, which onnxruntime still runs."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, chosen, shapes, spread, whole
from tests.ops.one_node import Case

OLD = {"oldest": 7, "newest": 9, "precision": "float32"}


@compares("Affine", **OLD)
def affine(draw: Draw) -> Case:
    """A factor and an offset."""
    return Case([spread(draw, shapes(draw))], chosen(draw, alpha=(0.5, 2.0), beta=(0.0, 1.5)))


@compares("ParametricSoftplus", "ScaledTanh", **OLD)
def scaled(draw: Draw) -> Case:
    """Functions with two factors."""
    return Case([spread(draw, shapes(draw))], chosen(draw, alpha=(0.5, 2.0), beta=(0.7, 1.5)))


@compares("ImageScaler", **OLD)
def image_scaler(draw: Draw) -> Case:
    """An offset of each channel."""
    x = spread(draw, shapes(draw, 4, 3))
    return Case([x], {"bias": [0.5 * c for c in range(x.shape[1])], **chosen(draw, scale=(1.0, 0.1))})


@compares("Crop", **OLD)
def crop(draw: Draw) -> Case:
    """Borders, with and without a size."""
    x = spread(draw, (*shapes(draw, 2, 2), 6, 7))
    border = [draw(st.integers(0, 2)) for _ in range(4)]
    return Case([x], {"border": border, **chosen(draw, scale=(None, [2, 3]))})


@compares("DynamicSlice", **OLD)
def dynamic_slice(draw: Draw) -> Case:
    """Slices whose ends are inputs."""
    x = spread(draw, (4, 5))
    axes = [] if draw(st.booleans()) else [whole(1, 0)]
    return Case([x, whole(1, 0), whole(3, -1), *axes], constants=frozenset({1, 2, 3}))
