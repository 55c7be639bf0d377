"""keras-vis's two functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from onnxvis.keras_vis.layers import ModifiedModel, opened
from onnxvis.keras_vis.losses import ActivationMaximization, LPNorm, TotalVariation
from onnxvis.keras_vis.optimizer import Optimizer

Array = np.ndarray[Any, Any]


def visualize_activation(
    model: Any,
    layer_idx: str | SupportsIndex,
    filter_indices: SupportsIndex | str | Sequence[SupportsIndex | str] | None = None,
    wrt_tensor: str | None = None,
    seed_input: Array | None = None,
    input_range: tuple[float, float] = (0, 255),
    backprop_modifier: str | Callable[[ModifiedModel], ModifiedModel] | None = None,
    grad_modifier: str | Callable[[Array], Array] | None = None,
    act_max_weight: float | None = 1,
    lp_norm_weight: float | None = 10,
    tv_weight: float | None = 10,
    **optimizer_params: Any,
) -> Array:
    """Make the input that keras-vis makes for a layer's filters.

    Args:
        model: An ONNX model: a path, bytes, `ModelProto` or `Model`.
        layer_idx: The layer: its Keras name, its index in `Model.nodes`, or any name of a node.
        filter_indices: One filter or several, shown together; None: the whole layer.
        wrt_tensor: The name of the input to optimize; None: the first picture, else the first of floats.
        seed_input: (*spatial, channels) in the model's raw values to start from; None: noise around mid-grey.
        input_range: What the model's raw input values lie between. Two ints make a uint8 picture.
        backprop_modifier: "guided", or "rectified" with the aliases "relu" and "deconv".
        grad_modifier: "negate", "absolute", "invert", "relu", "small_values", or a function of (1, *spatial, channels).
        act_max_weight: Weight of `ActivationMaximization`; 0 or None: left out, as the two below.
        lp_norm_weight: Weight of `LPNorm`.
        tv_weight: Weight of `TotalVariation`.
        **optimizer_params: `max_iter` (200), `input_modifiers`, `callbacks` and `verbose` (False) of
            `Optimizer.minimize`.

    Returns:
        (*spatial, channels): whitened, and scaled to `input_range`.

    Raises:
        OnnxvisError: The model, the layer or a setting is wrong.
        TypeError: No such optimizer parameter.
    """
    given = opened(model)
    if callable(backprop_modifier):
        given = backprop_modifier(given)
    elif backprop_modifier is not None:
        given = dataclasses.replace(given, backprop=backprop_modifier)
    losses = [
        (ActivationMaximization(layer_idx, filter_indices), act_max_weight),
        (LPNorm(), lp_norm_weight),
        (TotalVariation(), tv_weight),
    ]
    return visualize_activation_with_losses(
        given, losses, wrt_tensor, seed_input, input_range, **{"grad_modifier": grad_modifier, **optimizer_params}
    )


def visualize_activation_with_losses(
    input_tensor: Any,
    losses: Sequence[tuple[Any, float | None]],
    wrt_tensor: str | None = None,
    seed_input: Array | None = None,
    input_range: tuple[float, float] = (0, 255),
    **optimizer_params: Any,
) -> Array:
    """Make the input that keras-vis makes for some losses.

    Args:
        input_tensor: An ONNX model, in place of the input of Keras's: a path, bytes, `ModelProto` or `Model`.
        losses: (loss, weight) pairs: those of this module, and any `onnxvis.Loss`; its `scene.image` holds the model's
            raw input values, (1, channels, *spatial).
        wrt_tensor: The name of the input to optimize.
        seed_input: What to start from.
        input_range: What the model's raw input values lie between.
        **optimizer_params: As for `visualize_activation`, and `grad_modifier`.

    Returns:
        (*spatial, channels).

    Raises:
        OnnxvisError: The model, a layer or a setting is wrong.
        TypeError: No such optimizer parameter.
    """
    optimizer = Optimizer(input_tensor, losses, input_range, wrt_tensor)
    image, _, _ = optimizer.minimize(
        **{"seed_input": seed_input, "max_iter": 200, "verbose": False, **optimizer_params}
    )
    low, high = input_range
    if isinstance(low, int) and isinstance(high, int):
        # Quirk: whatever two ints mean, 8 bits are made of it: of (-1, 1), only 0, 1 and 255 are left.
        return np.clip(image, low, high).astype(np.int64).astype(np.uint8)
    return image
