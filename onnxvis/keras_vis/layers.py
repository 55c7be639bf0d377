"""Where keras-vis's words for a model and its layers meet an ONNX file's."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

from onnxvis.errors import UnknownNodeError
from onnxvis.model import Model, load
from onnxvis.target import resolve


@dataclass(frozen=True)
class ModifiedModel:
    """A model whose rectifiers have another backward pass, as keras-vis makes one of a `backprop_modifier`.

    Attributes:
        model: The model.
        backprop: The name of the backward pass; None: the usual one.
    """

    model: Model = field(repr=False)
    backprop: str | None


def opened(model: Any) -> ModifiedModel:
    """Return a model that is given as a path, bytes, `ModelProto`, `Model`, or modified already."""
    return model if isinstance(model, ModifiedModel) else ModifiedModel(load(model), None)


def layer_name(model: Model, layer: str | SupportsIndex) -> str:
    """Return a name that finds a layer.

    Args:
        model: The model.
        layer: Any name, or the layer's index in `Model.nodes`; negative ones count from the end.

    Raises:
        UnknownNodeError: There is no such index.
        TypeError: It is neither a name nor an index.
    """
    if isinstance(layer, str):
        return layer
    index = operator.index(layer)
    if not -len(model.nodes) <= index < len(model.nodes):
        message = (
            f"No layer {index} in {model.name}: it has {len(model.nodes)}, from 0. "
            f"'onnxvis nodes {model.name}' lists them in order."
        )
        raise UnknownNodeError(message, query=index)
    return model.nodes[index].tensor


def find_layer_idx(model: Any, layer_name: str) -> int:
    """Return the index in `Model.nodes` of the layer of a name.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        layer_name: Its Keras name, or any name that `--node` takes.

    Raises:
        OnnxvisError: No layer has this name, or several have.
    """
    loaded = load(model)
    tensor = resolve(loaded, layer_name, logits=False).tensor
    return [node.tensor for node in loaded.nodes].index(tensor)


def find_logits(model: Any, layer: str | SupportsIndex = -1) -> int:
    """Return the index of what a layer is before its softmax or sigmoid; without one, of the layer itself.

    With keras-vis one replaced the activation by a linear one and called `apply_modifications`, which saved the model
    and loaded it again. In a file both are there: visualize the other.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        layer: A name or an index.

    Raises:
        OnnxvisError: There is no such layer.
    """
    loaded = load(model)
    return find_layer_idx(loaded, resolve(loaded, layer_name(loaded, layer), logits=True).tensor)
