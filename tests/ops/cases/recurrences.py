"""Recurrent operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, integers, spread
from tests.ops.one_node import Case, Twin

SMOOTH = ("Sigmoid", "Tanh", "Softsign")


@compares("RNN", precision="float32")
def rnn(draw: Draw) -> Case:
    """One gate."""
    return _recurrent(draw, gates=1, functions=1, states=1)


@compares("GRU", precision="float32")
def gru(draw: Draw) -> Case:
    """Both places of the reset gate."""
    case = _recurrent(draw, gates=3, functions=2, states=1)
    attributes = {**case.attributes, **chosen(draw, linear_before_reset=(None, 0, 1))}
    return Case(case.inputs, attributes, outputs=2)


@compares("LSTM", precision="float32")
def lstm(draw: Draw) -> Case:
    """With and without peepholes and coupled gates."""
    case = _recurrent(draw, gates=4, functions=3, states=2)
    attributes = {**case.attributes, **chosen(draw, input_forget=(None, 0, 1))}
    directions, hidden = 2 if attributes["direction"] == "bidirectional" else 1, attributes["hidden_size"]
    peepholes = [spread(draw, (directions, 3 * hidden), -0.5, 0.5)] if draw(st.booleans()) else []
    return Case([*case.inputs, *peepholes], attributes, outputs=3)


@compares("DynamicQuantizeLSTM", domain="com.microsoft", gradient="straight-through", precision="float32")
def quantized_lstm(draw: Draw) -> Case:
    """One step from zero, of inputs that are not rounded: else the gradient is only near that of the twin."""
    width, hidden = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    codes = integers(draw, (1, draw(st.integers(1, 3)), width), 0, 255)
    codes.flat[:2] = 0, 255  # the range
    inputs: list[Array | None] = [((codes - 100) / 64).astype(np.float32)]
    dtype, zero = draw(st.sampled_from([(np.int8, 0), (np.uint8, 125)]))
    low, shape = np.iinfo(dtype).min, draw(st.sampled_from([(directions,), (directions, 4 * hidden)]))
    quantized = [integers(draw, (directions, size, 4 * hidden), low, low + 255, dtype) for size in (width, hidden)]
    scales, zeros = [spread(draw, shape, 0.002, 0.005) for _ in range(2)], np.full(shape, zero, dtype)
    bias = spread(draw, (directions, 8 * hidden), -0.5, 0.5) if draw(st.booleans()) else None
    steps = [scale.reshape(directions, 1, -1) for scale in scales]
    weights = [(q.astype(np.float64) - zero) * step for q, step in zip(quantized, steps, strict=True)]
    plain = [np.ascontiguousarray(weight.swapaxes(1, 2), np.float32) for weight in weights]
    attributes = {"direction": direction, "hidden_size": hidden, **chosen(draw, input_forget=(None, 0, 1))}
    twin = Twin("LSTM", (0, *plain, bias), attributes)
    inputs += [*quantized, bias, *[None] * 4, scales[0], zeros, scales[1], zeros]
    return Case(inputs, attributes, outputs=3, constants=frozenset(range(1, 12)), twin=twin)


def _recurrent(draw: Draw, *, gates: int, functions: int, states: int) -> Case:
    """Draw a direction, activations, and the inputs that may be omitted.

    onnxruntime has no `layout`, and takes lengths of zero for the whole sequence.
    """
    steps, batch, width, hidden = (draw(st.integers(1, 3)) for _ in range(4))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": hidden}
    if draw(st.booleans()):
        attributes["activations"] = [draw(st.sampled_from(SMOOTH)) for _ in range(functions * directions)]
    sizes = [(gates * hidden, width), (gates * hidden, hidden)]
    weights = [spread(draw, (directions, *size), -0.8, 0.8) for size in sizes]
    inputs: list[Array | None] = [spread(draw, (steps, batch, width), -1, 1), *weights]
    inputs.append(spread(draw, (directions, 2 * gates * hidden), -0.5, 0.5) if draw(st.booleans()) else None)
    inputs.append(integers(draw, (batch,), 1, steps, np.int32) if draw(st.booleans()) else None)
    started = draw(st.booleans())
    inputs += [spread(draw, (directions, batch, hidden), -1, 1) if started else None for _ in range(states)]
    return Case(inputs, attributes, outputs=2)
