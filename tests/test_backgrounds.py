from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onnxvis.backgrounds import CHECKERBOARD, composited


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "I;16"])
def test_an_opaque_picture_is_returned_as_it_is(mode: str) -> None:
    picture = Image.new(mode, (4, 4))
    assert composited(picture) is picture


def test_a_picture_is_mixed_with_what_is_behind_it() -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (9, 7, 4), np.uint8)
    opacity = pixels[..., 3:] / 255
    expected = pixels[..., :3] * opacity + np.array([0, 0, 255]) * (1 - opacity)
    mixed = composited(Image.fromarray(pixels), "blue")
    assert mixed.mode == "RGB"
    assert np.abs(np.asarray(mixed) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white_by_default(mode: str) -> None:
    picture = Image.new(mode, (4, 4), (0,) * len(mode))
    assert composited(picture).getcolors() == [(16, (255, 255, 255))]


def test_a_checkerboard_shows_through() -> None:
    board = np.asarray(composited(Image.new("RGBA", (20, 17)), CHECKERBOARD))
    for y in range(17):
        for x in range(20):
            assert board[y, x].tolist() == [204 if (x // 8 + y // 8) % 2 else 255] * 3
