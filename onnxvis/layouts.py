"""Which axes an input has, told from what the graph does first with it, else from its sizes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxvis.model import Model
from onnxvis.preprocess import FLAT

COLORS = (1, 3, 4)
_LEAST_PIXELS = 4
_LEAST_SAMPLES = 64
"""A row of fewer numbers, of which the graph does not say what they are, is taken for features."""
ARITHMETIC = frozenset({"Sub", "Add", "Mul", "Div", "BatchNormalization", "ImageScaler", "Cast", "Identity", "Pad"})
_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool", "ConvTranspose", "QLinearConv"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_PRODUCTS = frozenset({"Gemm", "MatMul"})
_CHANNELS_FIRST: Mapping[int, str] = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
_CHANNELS_LAST: Mapping[int, str] = {3: "NWC", 4: "NHWC", 5: "NDHWC"}
_VECTOR, _MATRIX, _CUBE, _IMAGE = 1, 2, 3, 4


def looks_like_image(model: Model, name: str, shape: tuple[int, ...]) -> bool:
    """Tell whether an input could hold a picture: four axes, or three of which one is colors and none a batch."""
    if len(shape) == _IMAGE:
        return True
    return len(shape) == _CUBE and _is_bare_image(model, name, shape)


def guessed_layout(model: Model, name: str, shape: tuple[int, ...]) -> str:
    """Return the most likely layout of an input.

    Args:
        model: The model.
        name: The input's name.
        shape: Its shape.

    Returns:
        str: The axes in order, such as NCHW; FLAT for shapes that nothing is known of.
    """
    first = _first_structural(model.values[name])
    rank = len(shape)
    if rank == _VECTOR:
        return "C"
    if rank == _MATRIX:
        is_row = first is not None and first.op_type not in _PRODUCTS and shape[1] >= _LEAST_SAMPLES
        return "NW" if is_row else "NC"
    if rank not in _CHANNELS_FIRST:
        return FLAT
    if rank == _CUBE and _is_bare_image(model, name, shape):
        return "HWC" if shape[2] in COLORS and shape[0] not in COLORS else "CHW"
    if rank == _CUBE and ((first is not None and first.op_type in _RECURRENT) or _has_batch_second(model, name)):
        return "WNC"
    return _by_first_operator(first, shape) or _by_sizes(shape)


def _has_batch_second(model: Model, name: str) -> bool:
    """Tell whether the second axis has the name that another input's batch has."""
    dims = {spec.name: spec.shape or () for spec in model.inputs}
    batches = {shape[0] for other, shape in dims.items() if other != name and len(shape) > 1}
    return isinstance(dims[name][1], str) and dims[name][1] in batches


def _by_first_operator(first: ir.Node | None, shape: tuple[int, ...]) -> str | None:
    if first is None:
        return None
    rank = len(shape)
    if first.op_type in _WINDOWED:
        return _CHANNELS_FIRST[rank]
    if _perm(first) == [0, rank - 1, *range(1, rank - 1)]:
        return _CHANNELS_LAST[rank]
    # A product with a matrix mixes the last axis: tokens and their features.
    return "NWC" if first.op_type in _PRODUCTS and rank == _CUBE else None


def _perm(node: ir.Node) -> list[int] | None:
    perm = node.attributes.get("perm") if node.op_type == "Transpose" else None
    return None if perm is None else list(perm.as_ints())


def _by_sizes(shape: tuple[int, ...]) -> str:
    """Take for colors what could be them, the second axis first."""
    rank = len(shape)
    is_last = shape[-1] in COLORS and shape[1] not in COLORS and min(shape[1:-1]) > shape[-1]
    if shape[-1] <= _LEAST_PIXELS and shape[1] >= _LEAST_SAMPLES and shape[-1] != shape[-2]:
        # One row of a spectrogram, real and imaginary parts: long, thin, and not as many channels as pixels.
        is_last = True
    if rank == _CUBE:
        is_last = shape[-1] < shape[1]
    return _CHANNELS_LAST[rank] if is_last else _CHANNELS_FIRST[rank]


def _is_bare_image(model: Model, name: str, shape: tuple[int, ...]) -> bool:
    """Tell whether three axes are (C, H, W) or (H, W, C) without a batch."""
    declared = model.spec(model.values[name]).shape
    if declared is None or not isinstance(declared[0], int):
        return False
    first = _first_structural(model.values[name])
    if first is not None and first.op_type in _WINDOWED | _RECURRENT:
        return False
    if first is not None and _perm(first) == [0, *range(len(shape) - 1, 0, -1)]:
        return False
    return (shape[0] in (1, 3) or shape[2] in (1, 3)) and min(sorted(shape)[1:]) > _LEAST_PIXELS


def _first_structural(value: ir.Value) -> ir.Node | None:
    """Follow an input through arithmetic to the first operator that knows about axes."""
    for _ in range(32):
        readers = [use.node for use in value.uses() if use.node.op_type not in ("Shape", "Size")]
        if not readers:
            return None
        if readers[0].op_type in ARITHMETIC:
            value = readers[0].outputs[0]
            continue
        return readers[0]
    return None
