from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import contrib_math
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def as_pairs(z: Array) -> Array:
    return np.stack([z.real, z.imag], -1).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_an_inverse_agrees(shape: tuple[int, ...]) -> None:
    assert_agrees("Inverse", [draw(*shape) + 3 * np.eye(shape[-1], dtype=np.float32)], 17)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances_agree(metric: str) -> None:
    assert_agrees("CDist", [draw(30, 4), draw(28, 4)], 17, metric=metric)
    assert_gradient_agrees("CDist", [draw(2, 3), draw(3, 3)], 17, [0, 1], step=1e-2, tolerance=5e-3, metric=metric)


def test_distances_are_squared_by_default() -> None:
    assert_agrees("CDist", [draw(3, 4), draw(2, 4)], 17)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="'cityblock' is not implemented"):
        computed("CDist", [draw(3, 4), draw(2, 4)], 17, domain=DOMAIN, metric="cityblock")


# onnxruntime has what follows on the GPU alone: numpy is the oracle.


def test_complex_numbers_are_multiplied() -> None:
    a, b = (draw(2, 5) + 1j * draw(2, 5) for _ in range(2))
    (found,) = computed("ComplexMul", [as_pairs(a), as_pairs(b)], 17, domain=DOMAIN)
    np.testing.assert_allclose(found, as_pairs(a * b), rtol=1e-4, atol=1e-5)
    (found,) = computed("ComplexMulConj", [as_pairs(a), as_pairs(b[:1])], 17, domain=DOMAIN)
    np.testing.assert_allclose(found, as_pairs(a * b[:1].conj()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2])
def test_a_transform_of_real_numbers_is_that_of_numpy_and_is_undone(axes: int) -> None:
    x = draw(2, 6, 8)
    (found,) = computed("Rfft", [x], 17, domain=DOMAIN, signal_ndim=axes)
    np.testing.assert_allclose(found, as_pairs(np.fft.rfftn(x, axes=range(-axes, 0))), rtol=1e-4, atol=1e-4)
    (back,) = computed("Irfft", [found], 17, domain=DOMAIN, signal_ndim=axes)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", [{"normalized": 1}, {"onesided": 0}], ids=str)
@pytest.mark.parametrize("op_type", ["Rfft", "Irfft"])
def test_other_transforms_are_refused(op_type: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOpError, match=f"{op_type} is implemented as in onnxruntime"):
        computed(op_type, [draw(2, 4, 2)], 17, domain=DOMAIN, signal_ndim=1, **setting)


def test_transforms_and_inverses_have_the_gradient_of_finite_differences() -> None:
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(contrib_math.rfft, x)
    assert gradcheck(lambda x: contrib_math.irfft(contrib_math.rfft(x), signal_ndim=1), x)
    assert gradcheck(lambda x: contrib_math.inverse(x @ x.T), x)
