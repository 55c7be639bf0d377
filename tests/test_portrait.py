from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxvis.figures import features_plot, signal_plot
from onnxvis.image_input import ImageInput
from onnxvis.portrait import portrait
from onnxvis.preprocess import Preprocess
from onnxvis.render import to_image
from onnxvis.sheets import contact_sheet

DRAW = np.random.default_rng(0)


def an_input(layout: str, channels: int, *size: int) -> ImageInput:
    return ImageInput("input", (1, channels, *size), Preprocess(range=(-1.0, 1.0), layout=layout), channels, size)


def random(*shape: int) -> np.ndarray:
    return DRAW.random(shape, np.float32)


def test_a_picture_is_its_pixels() -> None:
    values = random(3, 5, 7)
    drawn = portrait(an_input("NCHW", 3, 5, 7), values, title="no room for one")
    assert np.abs(np.asarray(drawn).transpose(2, 0, 1) / 255 - values).max() < 0.5 / 255 + 1e-6


def test_a_signal_is_drawn_in_the_units_of_the_input() -> None:
    values, start = random(2, 30), random(2, 30)
    drawn = portrait(an_input("NCW", 2, 30), values, start=start, title="title")
    expected = signal_plot(2 * values - 1, low=-1, high=1, title="title", start=2 * start - 1)
    assert drawn.tobytes() == expected.tobytes()


def test_features_are_drawn_in_the_units_of_the_input() -> None:
    values = random(9)
    expected = features_plot(2 * values - 1, low=-1, high=1, title="title")
    assert portrait(an_input("NC", 9), values, title="title").tobytes() == expected.tobytes()


def test_the_whole_range_can_be_shown() -> None:
    signal, features = (an_input("NCW", 1, 9), random(1, 9) / 50), (an_input("NC", 9), 0.5 + random(9) / 50)
    for item, values in (signal, features):
        assert portrait(item, values).tobytes() != portrait(item, values, whole_range=True).tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_slice_of_a_volume_stands_on_the_sheet_with_its_number(channels: int) -> None:
    values = np.linspace(0, 0.8, 6, dtype=np.float32).reshape(1, 6, 1, 1) * np.ones((channels, 6, 8, 8), np.float32)
    drawn = np.asarray(portrait(an_input("NCDHW", channels, 6, 8, 8), values))
    levels = [
        drawn[8 + 112 + row * (224 + 19 + 8), 8 + 112 + column * 232, 0] for row in range(2) for column in range(3)
    ]
    assert levels == [round(255 * 0.8 * index / 5) for index in range(6)]
    labels = [drawn[8 + 224 : 8 + 224 + 19, 8 + column * 232 :][:, :224] for column in range(3)]
    assert len({label.tobytes() for label in labels}) == 3


def test_a_volume_of_other_channels_says_which_are_in_a_slice() -> None:
    item, values = an_input("NCDHW", 4, 6, 8, 8), random(4, 6, 8, 8)
    slices = [to_image(torch.from_numpy(values[:, index])) for index in range(6)]
    expected = contact_sheet(slices, [f"slice {index}\nchannels 0-3" for index in range(6)])
    assert portrait(item, values).tobytes() == expected.tobytes()


def test_a_title_stands_above_a_volume() -> None:
    item, values = an_input("NCDHW", 1, 4, 8, 8), random(1, 4, 8, 8)
    plain, titled = portrait(item, values), portrait(item, values, title="title")
    assert titled.height > plain.height
    bottom = titled.crop((0, titled.height - plain.height, *titled.size))
    assert bottom.tobytes() == plain.tobytes()
