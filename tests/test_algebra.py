import pytest
import torch
from torch import Tensor

from onnxvis.algebra import Objective, as_objective
from onnxvis.errors import SettingError
from onnxvis.groups import Alignment, Diversity
from onnxvis.losses import ActivationMaximization, LpNorm, TotalVariation
from onnxvis.references import Nearness
from onnxvis.scene import Scene


def scene(image: Tensor) -> Scene:
    return Scene(image, image, {})


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def brightness(looked_at: Scene) -> Tensor:
    return looked_at.image.flatten(1).mean(1)


def test_losses_add_up_and_take_weights() -> None:
    image = random_images(1, 1, 4, 4)
    objective = 2 * (TotalVariation() + 3 * LpNorm(2)) + LpNorm(6)
    terms = objective(scene(image))
    assert objective.names == ["total variation", "L2 norm", "L6 norm"]
    wanted = [2 * TotalVariation()(scene(image)), 6 * LpNorm(2)(scene(image)), LpNorm(6)(scene(image))]
    torch.testing.assert_close(torch.stack(terms), torch.stack(wanted))
    assert (-TotalVariation()).terms == ((TotalVariation(), -1.0),)


def test_losses_are_read_from_lists_pairs_and_functions() -> None:
    objective = as_objective([(TotalVariation(), 0.1), LpNorm(), (brightness, 2)])
    assert [weight for _, weight in objective.terms] == [0.1, 1.0, 2.0]
    assert objective.names[2] == "brightness"
    assert isinstance(as_objective(TotalVariation()), Objective)
    with pytest.raises(TypeError, match="losses must be"):
        as_objective(3)


def test_losses_of_one_name_are_numbered() -> None:
    objective = ActivationMaximization((1,)) + 2 * ActivationMaximization((2,)) + LpNorm()
    assert objective.names == ["activation 1", "activation 2", "L6 norm"]


@pytest.mark.parametrize("returned", [torch.tensor(1.0), torch.zeros(3), torch.zeros(1, 1)])
def test_a_loss_that_is_not_one_number_for_each_image_is_refused(returned: Tensor) -> None:
    def strange(looked_at: Scene) -> Tensor:
        del looked_at
        return returned

    with pytest.raises(SettingError, match="'strange' must return one number for each image"):
        as_objective(strange)(scene(random_images(1, 1, 2, 2)))


def test_no_losses_are_refused() -> None:
    with pytest.raises(SettingError, match="nothing to optimize"):
        as_objective([])
    with pytest.raises(TypeError, match="losses must be"):
        as_objective("tv")


def test_the_algebra_is_that_of_numbers() -> None:
    images = scene(random_images(3, 2, 4, 4))
    a, b, c = TotalVariation(), LpNorm(2), LpNorm(6)
    x, y, z = a(images), b(images), c(images)
    for objective, wanted in (
        (2 * a - b / 4 + c * 3, 2 * x - y / 4 + 3 * z),
        (-(a - (b - c)), -(x - (y - z))),
        ((a + b) * 2 - (b + c) / 2, 2 * (x + y) - (y + z) / 2),
        (sum([a, b, c]), x + y + z),
        (sum([a + b, 2 * c]), x + y + 2 * z),
        (0 - a, -x),
        (a - 0.5 * (b + c), x - 0.5 * (y + z)),
    ):
        assert isinstance(objective, Objective)
        torch.testing.assert_close(objective.total(images), wanted)


def test_functions_are_added_from_either_side() -> None:
    images = scene(random_images(2, 2, 3, 3))
    loss, bright = LpNorm(2), brightness(images)
    for objective, wanted in (
        (loss + brightness, loss(images) + bright),
        (brightness + loss, loss(images) + bright),
        (brightness - loss, bright - loss(images)),
        (brightness - 2 * loss, bright - 2 * loss(images)),
        (2 * loss - brightness, 2 * loss(images) - bright),
    ):
        torch.testing.assert_close(objective.total(images), wanted)


def test_sums_leave_their_parts_as_they_were() -> None:
    parts = TotalVariation() + LpNorm()
    doubled = parts * 2 + LpNorm(2)
    assert parts.terms == ((TotalVariation(), 1.0), (LpNorm(), 1.0))
    assert [weight for _, weight in doubled.terms] == [2.0, 2.0, 1.0]


def test_losses_have_no_product() -> None:
    for product in (lambda: LpNorm() * LpNorm(), lambda: (LpNorm() + LpNorm(2)) * LpNorm()):  # type: ignore[operator]
        with pytest.raises(TypeError, match="losses have no product"):
            product()
    with pytest.raises(TypeError, match="losses must be"):
        _ = LpNorm() + 3  # type: ignore[operator]
    with pytest.raises(TypeError, match="losses must be"):
        _ = 3 + LpNorm()


def test_a_sum_needs_what_any_of_its_terms_needs() -> None:
    plain = ActivationMaximization() + brightness
    assert [plain.compares, plain.coupled, plain.distinct] == [False, False, False]
    assert (plain + 0.1 * Nearness()).compares
    aligned = plain + Alignment()
    assert aligned.coupled
    assert not aligned.distinct
    assert (plain + Diversity()).coupled
    assert (plain + Diversity()).distinct
