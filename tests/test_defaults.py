import pytest
import torch

from onnxvis.defaults import default_parameterization, default_transforms
from onnxvis.images import Fourier
from onnxvis.transforms import RandomAffine


@pytest.mark.parametrize("size", [(28, 28), (64, 48), (224, 320), (1000,), (6, 7, 8)])
def test_default_transforms_take_images_of_their_size(size: tuple[int, ...]) -> None:
    images = torch.rand(1, 1, *size)
    for transform in default_transforms(size):
        assert transform(images, [torch.Generator()]).shape == images.shape


def test_small_images_are_seen_from_nearer_views_than_large_ones() -> None:
    (small,), (large,) = default_transforms((28, 224)), default_transforms((224, 224))
    assert isinstance(small, RandomAffine)
    assert isinstance(large, RandomAffine)
    assert small.scale[0] > large.scale[0]
    assert small.shift < large.shift


def test_small_images_are_smoother_than_large_ones() -> None:
    small, large = default_parameterization((28, 224)), default_parameterization((224, 224))
    assert isinstance(small, Fourier)
    assert isinstance(large, Fourier)
    assert small.decay > large.decay
