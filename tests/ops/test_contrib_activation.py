from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import contrib_activation
from tests.ops import oracle, slopes
from tests.ops.oracle import computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)
DOMAIN = "com.microsoft"
assert_agrees = functools.partial(oracle.assert_agrees, domain=DOMAIN)
assert_gradient_agrees = functools.partial(slopes.assert_gradient_agrees, domain=DOMAIN)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


X, BIAS = draw(2, 3, 8), draw(8)


def normal_distribution(x: Array) -> Array:
    wanted: Array = torch.special.ndtr(torch.from_numpy(x)).numpy()
    return wanted


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_gelus_agree(scale: float) -> None:
    assert_agrees("Gelu", [scale * X], 17)
    assert_agrees("FastGelu", [scale * X], 17)
    assert_agrees("FastGelu", [scale * X, BIAS], 17)
    assert_agrees("BiasGelu", [scale * X, BIAS], 17)


@pytest.mark.parametrize("alpha", [1.702, 1.0, -0.5])
def test_quick_gelu_agrees(alpha: float) -> None:
    assert_agrees("QuickGelu", [X], 17, alpha=alpha)


def test_quick_gelu_has_the_alpha_of_its_paper_by_default() -> None:
    assert_agrees("QuickGelu", [X], 17)


def test_a_scaled_silu_takes_its_factor_from_an_attribute_or_an_input() -> None:
    assert_agrees("ScaledSiLU", [X], 17, alpha=0.7)
    assert_agrees("ScaledSiLU", [X, np.array(1.3, np.float32)], 17, alpha=0.7)


def test_a_gated_sum_agrees() -> None:
    assert_agrees("GatedAdd", [X, draw(2, 3, 8), draw(2, 3, 1)], 17)


def test_the_right_half_of_a_split_gelu_gates_the_left() -> None:
    # onnxruntime has it on the GPU alone, as what follows.
    (found,) = computed("BiasSplitGelu", [X, BIAS], 17, domain=DOMAIN)
    left, right = (X + BIAS)[..., :4], (X + BIAS)[..., 4:]
    np.testing.assert_allclose(found, left * right * normal_distribution(right), rtol=1e-5, atol=1e-6)


def test_bias_and_skip_are_added() -> None:
    skip = draw(2, 3, 8)
    (found,) = computed("BiasAdd", [X, BIAS, skip], 17, domain=DOMAIN)
    np.testing.assert_allclose(found, X + BIAS + skip, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis", "inner"),
    [((2, 1, 1, 5), 3, 1), ((2, 5), 3, 1), ((4, 5), 3, 0), ((1, 1, 4, 5), 3, 0), ((2, 4, 5), 2, 1), ((2, 5), -1, 1)],
)
def test_the_bias_of_a_softmax_lacks_inner_or_outer_axes(shape: tuple[int, ...], axis: int, inner: int) -> None:
    data, bias = draw(2, 3, 4, 5), draw(*shape)
    (found,) = computed("BiasSoftmax", [data, bias], 17, domain=DOMAIN, axis=axis, is_inner_broadcast=inner)
    full = np.zeros_like(data)
    for n, h, i, j in np.ndindex(*data.shape):
        # The axes that the softmax is over, and before them the outer ones or the inner ones.
        place = {2: (n, j) if inner else (i, j), 3: (n, i, j), 4: (n, h, i, j)}[bias.ndim]
        full[n, h, i, j] = data[n, h, i, j] + bias[tuple(min(p, s - 1) for p, s in zip(place, shape, strict=True))]
    weights = np.exp(full)
    over = tuple(range(axis % 4, 4))
    np.testing.assert_allclose(found, weights / weights.sum(over, keepdims=True), rtol=1e-5)


def test_dropout_with_a_bias_adds_it_and_the_residual() -> None:
    residual = draw(2, 3, 8)
    found, mask = computed("BiasDropout", [X, BIAS, residual], 17, outputs=2, domain=DOMAIN)
    np.testing.assert_allclose(found, X + BIAS + residual, rtol=1e-6)
    assert mask.all()
    (found,) = computed("BiasDropout", [X, BIAS, None, np.array(0.5, np.float32)], 17, domain=DOMAIN)
    np.testing.assert_allclose(found, X + BIAS, rtol=1e-6)


def test_dropout_with_a_bias_in_training_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="training_mode=true"):
        computed("BiasDropout", [X, BIAS, None, np.array(0.5, np.float32), np.ones((), np.bool_)], 17, domain=DOMAIN)


def test_an_unknown_fused_activation_is_named_beside_the_known_ones() -> None:
    with pytest.raises(UnsupportedOpError, match=r"'Sine' is not implemented; Celu, .* are"):
        contrib_activation.activated(torch.zeros(1), "Sine", {})


def test_gelus_have_the_slopes_of_onnxruntime() -> None:
    small = draw(2, 3)
    assert_gradient_agrees("Gelu", [small], 17, [0], step=1e-2)
    assert_gradient_agrees("FastGelu", [small, draw(3)], 17, [0, 1], step=1e-2)
    assert_gradient_agrees("BiasGelu", [small, draw(3)], 17, [0, 1], step=1e-2)
    assert_gradient_agrees("QuickGelu", [small], 17, [0], step=1e-2)
    assert_gradient_agrees("ScaledSiLU", [small], 17, [0], step=1e-2, alpha=0.7)


def test_the_others_have_the_gradient_of_finite_differences() -> None:
    x, bias = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), torch.randn(4, dtype=torch.float64)
    assert gradcheck(lambda x: contrib_activation.bias_split_gelu(x, bias), x)
    assert gradcheck(lambda x: contrib_activation.bias_softmax(x, bias, axis=2, is_inner_broadcast=0), x)
