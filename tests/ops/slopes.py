"""Gradients of one ONNX node beside central differences of what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from onnxvis.ops.bind import Known, Slot, bind
from onnxvis.ops.table import Operator, find
from tests.ops.oracle import node_model

Array = npt.NDArray[Any]


def assert_gradient_agrees(
    op_type: str,
    inputs: Sequence[Array | None],
    opset: int,
    wrt: Sequence[int],
    *,
    step: float = 1e-3,
    tolerance: float = 2e-3,
    domain: str = "",
    output: int = 0,
    **attributes: Any,
) -> None:
    """Compare the gradient of a random weighting of one output, by default the first, for each of the inputs `wrt`.

    In float32 take few elements and a step of 1e-2; the scale of the tolerance is the gradient's largest magnitude.
    """
    arrays = [None if x is None else np.array(x) for x in inputs]
    model = node_model(op_type, arrays, opset, outputs=output + 1, domain=domain, **attributes)
    forward = _onnxruntime(model, output)
    weights = np.random.default_rng(0).normal(size=forward(arrays).shape)
    entry = find(op_type, opset, domain)
    assert entry is not None
    found = _gradients(entry, arrays, wrt, output, weights, attributes)
    for index, gradient in zip(wrt, found, strict=True):
        wanted = _differences(forward, arrays, index, weights, step)
        scale = max(float(np.abs(wanted).max()), 1e-12)
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=tolerance * scale)


def _onnxruntime(model: onnx.ModelProto, output: int) -> Callable[[Sequence[Array | None]], Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def forward(values: Sequence[Array | None]) -> Array:
        feeds = {f"x{i}": x for i, x in enumerate(values) if x is not None}
        return np.asarray(session.run(None, feeds)[output])

    return forward


def _gradients(
    entry: Operator,
    inputs: Sequence[Array | None],
    wrt: Sequence[int],
    output: int,
    weights: Array,
    attributes: dict[str, Any],
) -> list[Array]:
    tensors = [None if x is None else torch.from_numpy(x).requires_grad_(i in wrt) for i, x in enumerate(inputs)]
    known = [Known.DYNAMIC if i in wrt else tensor for i, tensor in enumerate(tensors)]
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    args, kwargs = bind(entry, known, plain, output + 1)
    result = entry.function(*[tensors[a.index] if isinstance(a, Slot) else a for a in args], **kwargs)
    weighed = result[output] if isinstance(result, tuple) else result
    (weighed * torch.from_numpy(weights).to(weighed)).sum().backward()
    return [tensor.grad.numpy() for i in wrt if (tensor := tensors[i]) is not None and tensor.grad is not None]


def _differences(
    forward: Callable[[Sequence[Array | None]], Array],
    inputs: Sequence[Array | None],
    index: int,
    weights: Array,
    step: float,
) -> Array:
    values = list(inputs)
    center = np.array(inputs[index])
    slopes = np.zeros(center.shape)
    for place in np.ndindex(center.shape):
        sides = []
        for sign in (1, -1):
            moved = center.copy()
            moved[place] += sign * step
            values[index] = moved
            sides.append(float((forward(values).astype(np.float64) * weights).sum()))
        slopes[place] = (sides[0] - sides[1]) / (2 * step)
    return slopes
