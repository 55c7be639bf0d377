"""Recurrent operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Array, Draw, chosen, integers, spread
from tests.ops.one_node import Case

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
