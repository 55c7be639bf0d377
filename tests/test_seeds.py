from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onnxvis.errors import InputError
from onnxvis.image_input import ImageInput
from onnxvis.preprocess import PRESETS
from onnxvis.seeds import seed_values

INPUT = ImageInput("x", (1, 3, 4, 5), PRESETS["caffe"], 3, (4, 5))
GREY = ImageInput("x", (1, 1, 4, 5), PRESETS["unit"], 1, (4, 5))
LEVELS = (np.arange(60, dtype=np.uint8) * 4).reshape(4, 5, 3)


def test_without_a_seed_it_is_noise() -> None:
    assert seed_values(None, INPUT) == (None, None)


@pytest.mark.parametrize(
    "array",
    [
        LEVELS,
        LEVELS.transpose(2, 0, 1),
        LEVELS / np.float32(255),
        LEVELS / 255.0,
        np.ascontiguousarray(LEVELS[::-1])[::-1],
        Image.fromarray(LEVELS),
    ],
)
def test_an_array_is_levels_or_values_in_either_layout(array: Any) -> None:
    values, description = seed_values(array, INPUT)
    assert values is not None
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), LEVELS.transpose(2, 0, 1) / 255, atol=1e-7)
    assert str(description).startswith("<array (")


def test_a_grey_array_needs_no_channel_axis() -> None:
    for array in (LEVELS[..., 0], LEVELS[..., :1], LEVELS[None, ..., 0]):
        values, _ = seed_values(array, GREY)
        assert values is not None
        np.testing.assert_allclose(values.numpy(), LEVELS[None, ..., 0] / 255, atol=1e-7)


def test_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(LEVELS).save(path)
    values, description = seed_values(path, INPUT)
    assert values is not None
    np.testing.assert_allclose(values.numpy(), LEVELS.transpose(2, 0, 1) / 255, atol=1e-7)
    assert description == str(path)


def test_the_description_tells_arrays_apart_by_their_values() -> None:
    changed = LEVELS.copy()
    changed[0, 0, 0] += 1
    descriptions = [seed_values(array, INPUT)[1] for array in (LEVELS, LEVELS.copy(), changed)]
    assert descriptions[0] == descriptions[1] != descriptions[2]


def test_the_given_array_is_not_shared() -> None:
    array = np.zeros((3, 4, 5), np.float32)
    values, _ = seed_values(array, INPUT)
    assert values is not None
    values += 1
    assert not array.any()


@pytest.mark.parametrize("shape", [(4, 5), (5, 4, 3), (2, 3, 4, 5), (3, 5, 4), (4, 5, 1), ()])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"the model needs \(4, 5, 3\) or \(3, 4, 5\)"):
        seed_values(np.zeros(shape, np.float32), INPUT)


@pytest.mark.parametrize("value", [255.0, -0.5, float("nan"), float("inf"), np.uint16(40000), np.int64(128)])
def test_values_that_are_no_picture_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"give floats in \[0, 1\], or uint8"):
        seed_values(np.full((3, 4, 5), value), INPUT)
