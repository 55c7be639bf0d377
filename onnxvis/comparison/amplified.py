"""Small differences that a softmax makes large ones: not where two files part, if it is the same softmax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxvis.comparison.axes import Array, errors
from onnxvis.comparison.likeness import cosine
from onnxvis.comparison.operators import is_transparent, kind_of
from onnxvis.comparison.pairs import Limits, TensorPair
from onnxvis.comparison.sides import Recording, Side
from onnxvis.graph import opset

_LAST_AXIS_SINCE = 13


def without_amplified(
    sides: tuple[Side, Side],
    recordings: tuple[Recording, Recording],
    pairs: Mapping[str, TensorPair],
    limits: Limits,
) -> dict[str, TensorPair]:
    """Return the pairs; a softmax that does to its own input what the first file's does agrees with it.

    Only where one of the files is quantized: there inputs that agree are still apart.
    """
    if not limits.coarse:
        return dict(pairs)
    return {
        name: dataclasses.replace(pair, verdict="agrees")
        if pair.verdict == "differs" and _is_the_same_softmax(sides, recordings, pairs, pair, limits)
        else pair
        for name, pair in pairs.items()
    }


def _is_the_same_softmax(
    sides: tuple[Side, Side],
    recordings: tuple[Recording, Recording],
    pairs: Mapping[str, TensorPair],
    pair: TensorPair,
    limits: Limits,
) -> bool:
    one, other = _softmax(sides[0], pair.first), _softmax(sides[1], pair.second)
    if one is None or other is None or one.inputs[0] is None or other.inputs[0] is None:
        return False
    known, logits = pairs.get(str(one.inputs[0].name)), recordings[1].get(str(other.inputs[0].name))
    found = recordings[1][pair.second]
    if known is None or not known.agrees or logits is None or logits.size != found.size:
        return False
    expected = _computed(sides[0], one, logits).reshape(found.shape)
    return limits.meets(errors(expected, found), cosine(expected, found))


def _softmax(side: Side, tensor: str) -> ir.Node | None:
    """Return the softmax that makes a tensor, perhaps behind what hands it on in the same order."""
    node = side.producer(tensor)
    while node is not None and is_transparent(node) and node.op_type != "Transpose" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and kind_of(node) == "Softmax" else None


def _computed(side: Side, node: ir.Node, logits: Array) -> Array:
    """Compute what a softmax makes of (P, *shape) logits, as its operator set has it."""
    modern = opset(side.model.ir, node.domain) >= _LAST_AXIS_SINCE
    axis = node.attributes.get_int("axis", -1 if modern else 1) % (logits.ndim - 1) + 1
    axes = (axis,) if modern else tuple(range(axis, logits.ndim))
    powers = np.exp(logits - logits.max(axis=axes, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axes, keepdims=True))
