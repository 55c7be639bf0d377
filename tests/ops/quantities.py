"""Quantized tensors at random; operators on them beside onnxruntime, their gradients beside twins without rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import helper

from onnxvis.ops.bind import Known, Slot, bind
from onnxvis.ops.table import find
from tests.ops.oracle import computed, expected, held, node_model

Array = npt.NDArray[Any]
Inputs = Sequence[Array | None]
MICROSOFT = "com.microsoft"


def integers(rng: np.random.Generator, dtype: Any, *shape: int) -> Array:
    """Integers over the whole range of a dtype."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def zero_point(value: int, dtype: Any) -> Array:
    """A zero point; of unsigned integers 128 higher than of signed ones."""
    return np.array(value + (0 if np.iinfo(dtype).min else 128), dtype)


def scale(value: float) -> Array:
    """A scale."""
    return np.array(value, np.float32)


def assert_same_bits(
    op_type: str,
    inputs: Inputs,
    opset: int,
    /,
    *,
    domain: str = "",
    outputs: int = 1,
    reference: bool = False,
    **attributes: Any,
) -> None:
    """Compare with onnxruntime (or onnx.reference), integers given as such and carried by floats: no bit may differ."""
    model = node_model(op_type, inputs, opset, outputs=outputs, domain=domain, **attributes)
    wanted = expected(model, inputs, reference=reference)
    for carried in (False, True):
        found = computed(
            op_type, inputs, opset, outputs=outputs, domain=domain, constant=False, carried=carried, **attributes
        )
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine.dtype == np.asarray(theirs).dtype
            np.testing.assert_array_equal(mine, theirs)


def gradient(
    op_type: str,
    inputs: Inputs,
    index: int,
    weights: Array,
    opset: int,
    /,
    *,
    domain: str = "",
    **attributes: Any,
) -> Array:
    """The gradient of a weighting of the first output to the input `index`, quantized integers carried by floats."""
    entry = find(op_type, opset, domain)
    assert entry is not None
    types = tuple(None if x is None else helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs)
    tensors = [None if x is None else held(x, carried=True) for x in inputs]
    source = tensors[index]
    assert source is not None
    source.requires_grad_()
    known = [None if x is None else Known.DYNAMIC for x in inputs]
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    args, kwargs = bind(entry, known, plain, 1, types)
    result = entry.function(*[tensors[a.index] if isinstance(a, Slot) else a for a in args], **kwargs)
    first = result[0] if isinstance(result, tuple) else result
    (found,) = torch.autograd.grad((first * torch.from_numpy(weights).to(first)).sum(), source)
    return found.double().numpy()


def assert_gradient_is_that_of(
    twin: Callable[[Array], Array],
    op_type: str,
    inputs: Inputs,
    index: int,
    opset: int,
    /,
    *,
    step: float = 0.25,
    tolerance: float = 1e-4,
    **settings: Any,
) -> None:
    """Compare with central differences of a twin: the same operator in float64, which does not round.

    Args:
        twin: From the input `index`, in float64, to the output before it is rounded.
        op_type: The operator.
        inputs: Its inputs; the results must lie inside the range, where the twin does not clip.
        index: The input to which the gradient is.
        opset: The operator set.
        step: Of the differences.
        tolerance: Relative to the largest element of the gradient.
        **settings: The domain and the attributes.
    """
    source = inputs[index]
    assert source is not None
    x = source.astype(np.float64)
    weights = np.random.default_rng(0).normal(size=twin(x).shape)
    wanted = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        wanted[place] = ((twin(x + moved) - twin(x - moved)) * weights).sum() / (2 * step)
    largest = np.abs(wanted).max()
    assert largest > 0
    found = gradient(op_type, inputs, index, weights, opset, **settings)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * largest)
