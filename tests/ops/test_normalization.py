from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.autograd import gradcheck

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops import normalization
from tests.ops.oracle import assert_agrees, computed

Array = npt.NDArray[Any]

RNG = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


IMAGE = draw(2, 6, 4, 5)
SCALE, BIAS, MEAN, VARIANCE = draw(6), draw(6), draw(6), np.abs(draw(6)) + 0.1


@pytest.mark.parametrize("opset", [7, 9, 14, 15, 26, 28])
@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 4), (2, 6, 4, 5), (1, 6, 2, 3, 4)])
def test_batch_normalization_agrees(shape: tuple[int, ...], opset: int) -> None:
    assert_agrees("BatchNormalization", [draw(*shape), SCALE, BIAS, MEAN, VARIANCE], opset, epsilon=1e-3, momentum=0.8)


@pytest.mark.parametrize("opset", [7, 8])
def test_old_batch_normalization_can_be_elementwise(opset: int) -> None:
    statistics = [draw(6, 4, 5), draw(6, 4, 5), draw(6, 4, 5), np.abs(draw(6, 4, 5)) + 0.1]
    assert_agrees("BatchNormalization", [IMAGE, *statistics], opset, spatial=0)


def test_batch_normalization_at_inference_ignores_the_hints_of_the_first_opsets() -> None:
    inputs = [IMAGE, SCALE, BIAS, MEAN, VARIANCE]
    (old,) = computed("BatchNormalization", inputs, 6, is_test=1, consumed_inputs=[0, 0, 0, 1, 1], spatial=1)
    (new,) = computed("BatchNormalization", inputs, 15)
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(("opset", "outputs"), [(7, 5), (9, 3), (14, 3)])
def test_batch_normalization_passes_its_statistics_on(opset: int, outputs: int) -> None:
    found = computed("BatchNormalization", [IMAGE, SCALE, BIAS, MEAN, VARIANCE], opset, outputs=outputs)
    assert len(found) == outputs
    np.testing.assert_array_equal(found[1], MEAN)
    np.testing.assert_array_equal(found[2], VARIANCE)


@pytest.mark.parametrize("opset", [14, 15])
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (4, 6), (1, 6, 3)])
def test_batch_normalization_in_training_takes_the_statistics_of_the_batch(shape: tuple[int, ...], opset: int) -> None:
    inputs = [draw(*shape), SCALE, BIAS, MEAN, VARIANCE]
    assert_agrees("BatchNormalization", inputs, opset, training_mode=1, outputs=3, momentum=0.7, epsilon=1e-3)


def test_batch_normalization_in_training_has_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(draw(3, 2, 2)).double().requires_grad_()
    given = [torch.tensor(values, dtype=torch.float64) for values in ([0.5, 2.0], [0.1, 0.2], [0.0, 1.0], [1.0, 2.0])]
    assert gradcheck(lambda x: normalization.batch_normalization(x, *given, training_mode=1), X)


@pytest.mark.parametrize("opset", [7, 22, 28])
@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 6, 4, 5), (1, 6, 2, 3, 4), (1, 6, 1, 1)])
def test_instance_normalization_agrees(shape: tuple[int, ...], opset: int) -> None:
    assert_agrees("InstanceNormalization", [draw(*shape), SCALE, BIAS], opset, epsilon=1e-3)


@pytest.mark.parametrize("opset", [17, 26, 28])
@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("biased", [False, True])
def test_layer_normalization_agrees(axis: int, outputs: int, biased: bool, opset: int) -> None:
    shape = IMAGE.shape[axis:]
    inputs = [IMAGE, draw(*shape)] + [draw(*shape)] * biased
    assert_agrees("LayerNormalization", inputs, opset, axis=axis, outputs=outputs, epsilon=1e-3)


def test_layer_normalization_broadcasts_its_scale() -> None:
    assert_agrees("LayerNormalization", [IMAGE, draw(4, 1), draw(5)], 17, axis=2)


@pytest.mark.parametrize("num_groups", [1, 2, 6])
@pytest.mark.parametrize("opset", [21, 26, 28])
def test_group_normalization_has_a_scale_for_each_channel(num_groups: int, opset: int) -> None:
    assert_agrees("GroupNormalization", [IMAGE, SCALE, BIAS], opset, num_groups=num_groups, epsilon=1e-3)


@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_group_normalization_of_opset_18_has_a_scale_for_each_group(num_groups: int) -> None:
    assert_agrees("GroupNormalization", [IMAGE, draw(num_groups), draw(num_groups)], 18, num_groups=num_groups)


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("opset", [23, 28])
def test_rms_normalization_agrees(axis: int, opset: int) -> None:
    assert_agrees("RMSNormalization", [IMAGE, draw(*IMAGE.shape[axis:])], opset, axis=axis, epsilon=1e-3)


def test_rms_normalization_broadcasts_its_scale() -> None:
    assert_agrees("RMSNormalization", [IMAGE, draw(5)], 23, axis=1)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("opset", [7, 13, 26])
def test_lrn_agrees(size: int, opset: int) -> None:
    assert_agrees("LRN", [IMAGE], opset, size=size, alpha=0.5, beta=0.6, bias=1.5)


@pytest.mark.parametrize("size", [2, 4, 6])
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (2, 6, 4), (2, 6)])
def test_lrn_of_even_size_has_one_more_channel_above(size: int, shape: tuple[int, ...]) -> None:
    # Against the definition: onnxruntime refuses even sizes.
    x = draw(*shape)
    (found,) = computed("LRN", [x], 13, size=size, alpha=0.5)
    wanted = np.empty_like(x)
    for c in range(6):
        near = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        wanted[:, c] = x[:, c] / (1 + 0.5 / size * (near**2).sum(1)) ** 0.75
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("opset", [7, 22, 26])
def test_lp_normalization_agrees(p: int, axis: int, opset: int) -> None:
    assert_agrees("LpNormalization", [IMAGE], opset, p=p, axis=axis)


def test_lp_normalization_leaves_zeros() -> None:
    assert_agrees("LpNormalization", [np.zeros((2, 3), np.float32)], 22)


@pytest.mark.parametrize("opset", [9, 13, 28])
@pytest.mark.parametrize("axes", [[0, 2, 3], [0, 1, 2, 3]])
def test_mean_variance_normalization_agrees(axes: list[int], opset: int) -> None:
    assert_agrees("MeanVarianceNormalization", [IMAGE], opset, axes=axes)


FALSE, TRUE = np.zeros((), np.bool_), np.ones((), np.bool_)


@pytest.mark.parametrize("opset", [10, 12, 13, 22, 28])
@pytest.mark.parametrize("outputs", [1, 2])
def test_dropout_passes_everything(outputs: int, opset: int) -> None:
    assert_agrees("Dropout", [IMAGE], opset, outputs=outputs)


@pytest.mark.parametrize("outputs", [1, 2])
def test_dropout_of_opset_7_has_a_mask_of_the_type_of_the_data(outputs: int) -> None:
    assert_agrees("Dropout", [IMAGE], 7, outputs=outputs, ratio=0.3)


def test_dropout_takes_a_ratio_and_no_training() -> None:
    assert_agrees("Dropout", [IMAGE, np.array(0.3, np.float32), FALSE], 13, outputs=2, seed=3)


def test_dropout_in_training_is_refused_unless_it_drops_nothing() -> None:
    assert_agrees("Dropout", [IMAGE, np.array(0.0, np.float32), TRUE], 13, outputs=2)
    with pytest.raises(UnsupportedOpError, match="training_mode=true"):
        computed("Dropout", [IMAGE, np.array(0.3, np.float32), TRUE], 13)


@pytest.mark.parametrize("opset", [7, 8])
@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("ImageScaler", {"scale": 2.0, "bias": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}),
        ("Affine", {"alpha": 2.0, "beta": 0.5}),
        ("Scale", {"scale": 0.4}),
        ("MeanVarianceNormalization", {}),
        ("MeanVarianceNormalization", {"across_channels": 1}),
        ("MeanVarianceNormalization", {"normalize_variance": 0}),
    ],
)
def test_experimental_operators_of_old_files_agree(op_type: str, attributes: dict[str, Any], opset: int) -> None:
    assert_agrees(op_type, [IMAGE], opset, **attributes)


def test_normalizations_have_the_gradient_of_finite_differences() -> None:
    X = torch.from_numpy(RNG.normal(size=(2, 4, 3))).requires_grad_()
    scale, bias = torch.from_numpy(RNG.normal(size=(2, 4)))
    assert gradcheck(lambda x: normalization.instance_normalization(x, scale, bias), X)
    assert gradcheck(lambda x: normalization.group_normalization_18(x, scale[:2], bias[:2], num_groups=2), X)
    assert gradcheck(lambda x: normalization.rms_normalization(x, scale[:3], axis=-1), X)
    assert gradcheck(lambda x: normalization.lrn(x, size=2, alpha=0.5), X)
    assert gradcheck(lambda x: normalization.lp_normalization(x, axis=1), X)
    assert gradcheck(lambda x: normalization.mean_variance_normalization(x, axes=(0, 2)), X)
