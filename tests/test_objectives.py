from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxvis.algebra import Loss
from onnxvis.errors import FilterError, InputError, SettingError
from onnxvis.losses import ActivationMaximization
from onnxvis.objectives import DeepDream, Direction, Head, Margin
from onnxvis.scene import Activations, Scene

VECTOR = (0.5, -1.0, 2.0, 0.0, 1.5, -0.25)
ALL = [
    DeepDream(),
    Direction(VECTOR, channel_axis=1),
    Direction(VECTOR, channel_axis=1, form="cosine"),
    Direction(VECTOR, channel_axis=1, form="dot-cosine", power=2),
    Direction(VECTOR, channel_axis=1, neuron=(1, 2)),
    Margin((3,), channel_axis=1),
    Margin((3, 0), channel_axis=1, against="mean", weight=0.5),
    Margin((3,), channel_axis=1, against="max", neuron="center"),
    Head(1, 3, channel_axis=1),
    Head(0, 2, channel_axis=1, neuron="center"),
]


def random_tensor(*shape: int) -> Tensor:
    """Activations of both signs."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def scene(activation: Tensor, count: int | None = None, **given: Any) -> Scene:
    image = torch.rand(len(activation) if count is None else count, 3, 4, 4)
    return Scene(image, image, Activations({"": activation}), **given)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_another_image_in_the_batch_changes_nothing(loss: Loss) -> None:
    activation = random_tensor(4, 6, 3, 5)
    together = loss(scene(activation))
    assert together.shape == (4,)
    for index in range(4):
        torch.testing.assert_close(loss(scene(activation[index : index + 1])), together[index : index + 1])


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradients_agree_with_finite_differences(loss: Loss) -> None:
    activation = random_tensor(2, 6, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(scene(x)), activation)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_one_image_in_float32_without_gradient_has_a_number(loss: Loss) -> None:
    found = loss(scene(random_tensor(1, 6, 3, 4).float()))
    assert found.dtype == torch.float32
    assert math.isfinite(found.item())


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nothing_leaves_the_device(loss: Loss) -> None:
    # Tensors without data mix with no other device, and have no numbers to wait for.
    activation = torch.zeros(2, 6, 3, 4, device="meta")
    image = torch.zeros(2, 3, 4, 4, device="meta")
    assert loss(Scene(image, image, Activations({"": activation}))).device.type == "meta"


@pytest.mark.parametrize(
    "loss",
    [
        lambda axis: Direction(VECTOR, channel_axis=axis, form="dot-cosine"),
        lambda axis: Margin((3,), channel_axis=axis),
        lambda axis: Head(2, 3, channel_axis=axis),
        lambda axis: DeepDream(),  # noqa: ARG005 - it needs none
    ],
)
def test_the_order_of_the_axes_changes_nothing(loss: Any) -> None:
    activation = random_tensor(3, 6, 2, 4)
    last = activation.permute(0, 2, 3, 1)
    wanted = loss(1)(scene(activation))
    torch.testing.assert_close(loss(3)(scene(last)), wanted)
    torch.testing.assert_close(loss(0)(scene(activation, stacked=frozenset({""}))), wanted)
    torch.testing.assert_close(loss(2)(scene(last, stacked=frozenset({""}))), wanted)
    torch.testing.assert_close(loss(2)(scene(last[1], 1)), wanted[1:2])


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 7), (2, 6, 3, 4), (2, 6, 2, 3, 4)])
def test_layers_may_have_any_number_of_spatial_axes(shape: tuple[int, ...]) -> None:
    activation = random_tensor(*shape)
    flat = activation.flatten(2) if len(shape) > 2 else activation[:, :, None]
    for loss in (DeepDream(), Direction(VECTOR, channel_axis=1), Margin((1,), channel_axis=1), Head(1, 2, None, 1)):
        torch.testing.assert_close(loss(scene(activation)), loss(scene(flat)))


def test_a_deep_dream_is_minus_the_mean_square_of_a_layer() -> None:
    activation = random_tensor(2, 6, 3, 4)
    found = DeepDream()(scene(activation))
    np.testing.assert_allclose(found.numpy(), [-np.mean(image**2) for image in activation.numpy()])


@pytest.mark.parametrize("form", ["dot", "cosine", "dot-cosine"])
def test_a_direction_agrees_with_its_definition(form: Any) -> None:
    activation, vector = random_tensor(2, 6, 3, 4), np.array(VECTOR)
    wanted = []
    for image in activation.numpy():
        along = []
        for y in range(3):
            for x in range(4):
                dot, cos = float(image[:, y, x] @ vector), cosine(image[:, y, x], vector)
                along.append({"dot": dot, "cosine": cos, "dot-cosine": dot * max(0.1, cos) ** 3}[form])
        wanted.append(-np.mean(along))
    found = Direction(VECTOR, channel_axis=1, form=form, power=3)(scene(activation))
    np.testing.assert_allclose(found.numpy(), wanted)


def test_the_direction_of_one_channel_is_that_channel() -> None:
    activation = random_tensor(2, 6, 3, 4)
    unit = tuple(float(index == 4) for index in range(6))
    wanted = ActivationMaximization((4,), channel_axis=1)(scene(activation))
    torch.testing.assert_close(Direction(unit, channel_axis=1)(scene(activation)), wanted)
    one = ActivationMaximization((4,), channel_axis=1, neuron=(2, 0))(scene(activation))
    torch.testing.assert_close(Direction(unit, channel_axis=1, neuron=(2, 0))(scene(activation)), one)


def test_a_cosine_knows_no_lengths_and_a_silent_position_has_none() -> None:
    activation = random_tensor(2, 6, 3, 4)
    found = Direction(VECTOR, channel_axis=1, form="cosine")(scene(activation))
    longer = Direction(tuple(9 * number for number in VECTOR), channel_axis=1, form="cosine")
    torch.testing.assert_close(longer(scene(activation * 0.01)), found)
    silent = torch.zeros(1, 6, 2, 2, requires_grad=True)
    for form in ("cosine", "dot-cosine"):
        loss = Direction(VECTOR, channel_axis=1, form=form)(scene(silent))
        (gradient,) = torch.autograd.grad(loss.sum(), silent)
        assert loss.item() == 0
        assert torch.isfinite(gradient).all()


def test_a_direction_is_read_from_a_file_once_and_held_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.array([VECTOR], dtype=np.float32))
    read = Direction(str(path), channel_axis=1)
    path.unlink()
    assert read == Direction(VECTOR, channel_axis=1)
    assert Direction(np.array(VECTOR), channel_axis=1) == read
    assert "1.5" not in repr(read)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.zeros(6), "is zero everywhere"),
        (np.array([1, math.nan]), "holds NaN or infinity"),
        (np.array([1, math.inf]), "holds NaN or infinity"),
        (np.ones((2, 3)), r"has shape \(2, 3\)"),
        (np.array([]), r"has shape \(0,\)"),
        (np.array(1.0), r"has shape \(\)"),
    ],
)
def test_a_vector_that_is_no_direction_is_refused(tmp_path: Path, vector: np.ndarray, reason: str) -> None:
    path = tmp_path / "v.npy"
    np.save(path, vector)
    with pytest.raises(SettingError, match=reason) as caught:
        Direction(str(path))
    assert str(path) in caught.value.message
    with pytest.raises(SettingError, match=reason):
        Direction(vector)


def test_what_is_no_vector_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No array"):
        Direction(str(tmp_path / "missing.npy"))
    (tmp_path / "text.npy").write_text("1 2 3")
    with pytest.raises(InputError, match="Cannot read"):
        Direction(tmp_path / "text.npy")
    with pytest.raises(SettingError, match="holds no numbers"):
        Direction(("left", "right"))  # type: ignore[arg-type] # that is the point


def test_a_direction_of_another_length_is_refused() -> None:
    with pytest.raises(SettingError, match="The direction has 6 numbers, and the target has 5 channels"):
        Direction(VECTOR, channel_axis=1)(scene(random_tensor(1, 5, 2, 2)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"form": "angle"}, "form is one of dot, cosine"),
        ({"power": -1.0}, "power must"),
        ({"neuron": "top"}, "neuron"),
    ],
)
def test_settings_of_a_direction_that_mean_nothing_are_refused(settings: Any, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Direction(VECTOR, **settings)


@pytest.mark.parametrize("against", ["logsumexp", "mean", "max", "top"])
@pytest.mark.parametrize("filters", [(2,), (0, -1)])
def test_a_margin_agrees_with_its_definition(against: Any, filters: tuple[int, ...]) -> None:
    activation = random_tensor(3, 6, 2, 2)
    wanted = []
    for image in activation.numpy().mean(axis=(2, 3)):
        own = [image[index] for index in filters]
        others = np.delete(image, [index % 6 for index in filters])
        strongest = np.sort(others)[::-1][: max(1, len(others) // 10)]
        rest = {
            "logsumexp": np.log(np.exp(others).sum()),
            "mean": others.mean(),
            "max": others.max(),
            "top": strongest.mean(),
        }[against]
        wanted.append(0.7 * rest - np.mean(own))
    found = Margin(filters, channel_axis=1, against=against, weight=0.7)(scene(activation))
    np.testing.assert_allclose(found.numpy(), wanted)


def test_the_margin_of_a_class_is_its_log_odds() -> None:
    logits = random_tensor(4, 10)
    probability = logits.softmax(1)[:, 7]
    torch.testing.assert_close(Margin((7,), channel_axis=1)(scene(logits)), -(probability / (1 - probability)).log())


def test_a_margin_is_that_of_each_image_s_own_class() -> None:
    logits = random_tensor(3, 10)
    found = Margin(channel_axis=1)(scene(logits, filters=((1,), (2, 3), (9,))))
    for index, filters in enumerate([(1,), (2, 3), (9,)]):
        alone = Margin(filters, channel_axis=1)(scene(logits[index : index + 1]))
        torch.testing.assert_close(found[index : index + 1], alone)


def test_a_margin_without_weight_is_the_activation() -> None:
    activation = random_tensor(2, 6, 3, 3)
    wanted = ActivationMaximization((2,), channel_axis=1)(scene(activation))
    torch.testing.assert_close(Margin((2,), channel_axis=1, weight=0)(scene(activation)), wanted)


@pytest.mark.parametrize(
    ("filters", "error", "reason"),
    [
        ((), SettingError, "0 are named"),
        ((0, 1, 2, -1), SettingError, "some of the layer's 4 filters, and others; 4 are named"),
        ((4,), FilterError, "Filter 4 is not one of the layer's 4"),
    ],
)
def test_a_margin_without_a_filter_or_without_others_is_refused(
    filters: tuple[int, ...], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        Margin(filters, channel_axis=1)(scene(random_tensor(1, 4)))


@pytest.mark.parametrize(
    ("settings", "reason"), [({"against": "min"}, "against is one of"), ({"weight": math.inf}, "weight must be finite")]
)
def test_settings_of_a_margin_that_mean_nothing_are_refused(settings: Any, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Margin((1,), **settings)


def test_a_head_is_the_energy_of_its_slice_of_the_channels() -> None:
    tokens = random_tensor(2, 7, 12)  # (N, tokens, 3 heads of 4)
    found = Head(1, 3, channel_axis=2)(scene(tokens))
    np.testing.assert_allclose(found.numpy(), [-np.mean(image[:, 4:8] ** 2) for image in tokens.numpy()])
    one = Head(1, 3, channel_axis=2, neuron=(6,))(scene(tokens))
    np.testing.assert_allclose(one.numpy(), [-np.mean(image[6, 4:8] ** 2) for image in tokens.numpy()])


def test_a_head_is_the_same_where_the_heads_have_an_axis_of_their_own() -> None:
    tokens = random_tensor(2, 7, 12)
    split = tokens.view(2, 7, 3, 4).transpose(1, 2)  # (N, heads, tokens, width)
    torch.testing.assert_close(Head(2, 3, channel_axis=1)(scene(split)), Head(2, 3, channel_axis=2)(scene(tokens)))


def test_a_head_that_is_not_there_is_refused() -> None:
    for index in (-1, 3):
        with pytest.raises(SettingError, match=f"Head {index} is not one of 3: give 0 to 2"):
            Head(index, 3)
    with pytest.raises(SettingError, match="10 channels are not 3 heads of equal width"):
        Head(0, 3, channel_axis=2)(scene(random_tensor(1, 7, 10)))


def test_losses_are_named_after_what_they_look_at() -> None:
    names = [loss.name for loss in (DeepDream(), Direction(VECTOR, "fc"), Margin(node="logits"), Head(3, 8, "attn"))]
    assert names == ["deep dream", "direction fc", "margin logits", "head 3 attn"]


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_ascent_on_the_activations_makes_a_loss_smaller(loss: Loss) -> None:
    activation = random_tensor(2, 6, 3, 4).requires_grad_()
    before = loss(scene(activation))
    (gradient,) = torch.autograd.grad(before.sum(), activation)
    after = loss(scene(activation - 0.01 * gradient))
    assert bool((after < before).all())


def test_the_top_of_the_others_is_their_strongest_tenth() -> None:
    activation = random_tensor(2, 42)
    others = activation[:, 1:].sort(1, descending=True).values
    found = Margin((0,), channel_axis=1, against="top")(scene(activation))
    torch.testing.assert_close(found, others[:, :4].mean(1) - activation[:, 0])
