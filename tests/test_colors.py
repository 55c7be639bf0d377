"""The color matrices have unit scale, know natural colors, and find the axes of given images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxvis.colors import as_colors, color_matrix, color_matrix_of, mixed, natural_color_matrix, unmixed
from onnxvis.errors import SettingError


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_channels_of_the_natural_color_matrix_have_unit_variance_on_average() -> None:
    matrix = natural_color_matrix().double().numpy()
    covariance = matrix @ matrix.T
    assert np.trace(covariance) / 3 == pytest.approx(1.0, abs=1e-6)


def test_natural_colors_vary_most_in_brightness_and_least_in_green_against_magenta() -> None:
    brightness, red_blue, green_magenta = natural_color_matrix().T
    assert brightness.norm() > red_blue.norm() > green_magenta.norm() > 0
    assert torch.equal(brightness, brightness[0].expand(3))
    for axis in (red_blue, green_magenta):
        assert axis.sum().item() == pytest.approx(0.0, abs=1e-6)
    assert red_blue[1].item() == 0.0


def test_natural_channels_are_correlated_as_those_of_photographs() -> None:
    matrix = natural_color_matrix().double().numpy()
    covariance = matrix @ matrix.T
    deviations = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviations, deviations)
    # Red and blue are farther apart in the spectrum than either is from green.
    assert 0.7 < correlation[0, 2] < correlation[0, 1] < 1.0
    assert correlation[0, 1] == pytest.approx(correlation[1, 2])


def test_color_matrix_of_images_decorrelates_their_pixels() -> None:
    mixing = torch.tensor([[0.5, 0.1, 0.0], [0.4, -0.2, 0.05], [0.3, 0.1, 0.2]])
    images = torch.einsum("ij,njhw->nihw", mixing, torch.randn(4, 3, 16, 15, generator=generator()))
    unmixed = torch.linalg.inv(color_matrix_of(images)) @ images.transpose(0, 1).flatten(1)
    covariance = np.cov(unmixed.double().numpy())
    assert covariance / covariance[0, 0] == pytest.approx(np.eye(3), abs=1e-3)


def test_color_matrix_of_images_drawn_from_the_natural_colors_gives_them_back() -> None:
    natural = natural_color_matrix()
    images = torch.einsum("ij,njhw->nihw", natural, torch.randn(2, 3, 200, 200, generator=generator()))
    found = color_matrix_of(images * 0.2 + 0.5)
    torch.testing.assert_close(found @ found.T, natural @ natural.T, atol=0.03, rtol=0)
    assert (found[1] >= 0).all()
    assert found.norm(dim=0).tolist() == sorted(found.norm(dim=0).tolist(), reverse=True)


def test_color_matrix_does_not_depend_on_the_contrast_of_the_images() -> None:
    images = torch.rand(1, 3, 20, 20, generator=generator())
    torch.testing.assert_close(color_matrix_of(images * 0.1), color_matrix_of(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "problem"),
    [(torch.rand(2, 1, 8, 8), "needs .N, 3"), (torch.full((2, 3, 8, 8), 0.5), "all have the same")],
)
def test_color_matrix_of_images_without_colors_is_refused(images: torch.Tensor, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        color_matrix_of(images)


def test_grey_images_still_have_a_color_matrix_that_writes_all_colors() -> None:
    matrix = color_matrix_of(torch.rand(2, 1, 8, 8, generator=generator()).expand(2, 3, 8, 8))
    color = torch.tensor([0.9, -0.4, 0.1]).view(1, 3, 1)
    torch.testing.assert_close(mixed(matrix, unmixed(matrix, color)), color, atol=1e-4, rtol=0)


def test_colors_are_scaled_to_unit_variance_and_kept_by_a_second_reading() -> None:
    given = [[2, 0, 0], [0, 3, 0], [0, 1, 4]]
    colors = as_colors(given)
    assert colors is not None
    assert np.square(colors).sum() == pytest.approx(3)
    assert np.array(colors) / colors[0][0] * 2 == pytest.approx(np.array(given))
    assert np.array(as_colors(colors)) == pytest.approx(np.array(colors), rel=1e-12)
    assert as_colors(natural_color_matrix()) is not None
    assert as_colors(None) is None


@pytest.mark.parametrize(
    "given",
    [
        [[1.0, 0.0], [0.0, 1.0]],
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 1.0]],
        [[0.0] * 3] * 3,
        [[float("nan")] * 3] * 3,
        [1.0, 2.0, 3.0],
    ],
)
def test_colors_that_are_no_invertible_matrix_are_refused(given: list[list[float]]) -> None:
    with pytest.raises(SettingError, match="invertible matrix of 3 rows"):
        as_colors(given)


def test_only_three_channels_have_a_color_matrix_and_only_when_asked_for() -> None:
    cpu = torch.device("cpu")
    assert [color_matrix(channels, cpu) is None for channels in (1, 2, 3, 4, 7)] == [True, True, False, True, True]
    assert color_matrix(3, cpu, decorrelate=False) is None
    identity = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    given = color_matrix(3, cpu, colors=identity)
    assert given is not None
    assert torch.equal(given, torch.eye(3))


def test_mixing_multiplies_each_pixel_by_the_matrix() -> None:
    matrix = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    pixels = torch.rand(2, 3, 4, 5, generator=generator())
    expected = torch.einsum("ij,njhw->nihw", matrix, pixels)
    torch.testing.assert_close(mixed(matrix, pixels), expected)
    torch.testing.assert_close(unmixed(matrix, expected), pixels)
    assert mixed(None, pixels) is pixels
