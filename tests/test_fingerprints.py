from __future__ import annotations

import io

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from onnxvis.errors import DeadUnitError, InputError
from onnxvis.fingerprints import RECIPE, SIDE, Unit, difference, enlarged, likeness, named_units, read, written
from onnxvis.model import load
from tests.models import conv_net

UNIT = ("relu1", 1)


def picture(seed: int = 0, size: tuple[int, int] = (32, 24)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def slow_likeness(first: Image.Image, second: Image.Image) -> float:
    """Blur each pixel by hand, and correlate."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def blurred(image: Image.Image) -> np.ndarray:
        padded = np.pad(np.asarray(image, np.float64), [(2, 2), (2, 2), (0, 0)], mode="edge")
        rows, columns = padded.shape[0] - 4, padded.shape[1] - 4
        return np.array(
            [
                [[(padded[y : y + 5, x : x + 5, c] * kernel).sum() for x in range(columns)] for y in range(rows)]
                for c in range(3)
            ]
        )

    a, b = (values - values.mean(axis=(1, 2), keepdims=True) for values in (blurred(first), blurred(second)))
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1])


def test_likeness_is_the_correlation_of_blurred_colors() -> None:
    first = picture(0)
    mixed = Image.blend(first, picture(1), 0.4)
    assert likeness(first, mixed) == pytest.approx(slow_likeness(first, mixed), abs=1e-9)


def test_a_picture_is_like_itself_and_unlike_its_negative() -> None:
    first = picture()
    assert likeness(first, first) == pytest.approx(1)
    negative = Image.fromarray(255 - np.asarray(first))
    assert likeness(first, negative) == pytest.approx(-1)


def test_swapped_colors_are_seen() -> None:
    first = picture()
    assert likeness(first, Image.fromarray(np.asarray(first)[..., ::-1].copy())) < 0.6


def test_grey_pictures_are_alike_and_like_no_other() -> None:
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    assert likeness(grey, Image.new("RGB", (32, 32), (90, 90, 90))) == 1
    assert likeness(grey, picture(size=(32, 32))) == 0


def test_pictures_of_other_sizes_are_not_alike() -> None:
    assert likeness(picture(), picture(size=(24, 32))) == 0


def test_a_difference_is_grey_where_there_is_none() -> None:
    values = np.asarray(picture()).copy()
    values[0, 0] = 255 - values[0, 0]
    found = np.asarray(difference(picture(), Image.fromarray(values)))
    assert (found[1:] == 128).all()
    assert {0, 255} & set(found[0, 0].tolist())


def test_enlarged_pictures_repeat_their_pixels() -> None:
    with Image.open(io.BytesIO(enlarged(picture()))) as large:
        assert large.size == (144, 192)
        assert np.array_equal(np.asarray(large)[::6, ::6], np.asarray(picture()))


def test_pictures_survive_writing_to_the_bit() -> None:
    assert np.array_equal(np.asarray(read(written(picture()))), np.asarray(picture()))


@pytest.mark.parametrize("text", ["", "no base64!", "bm8gcG5n", written(picture(size=(SIDE + 1, 8)))])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="fingerprint"):
        read(text)


def test_the_same_unit_has_the_same_picture() -> None:
    model = load(conv_net())
    (first,), (second,) = named_units(model, [UNIT], RECIPE), named_units(model, [UNIT], RECIPE)
    assert np.array_equal(np.asarray(first.picture), np.asarray(second.picture))
    assert first.activation == second.activation > first.seed_activation


def test_units_come_back_from_plain_values() -> None:
    (unit,) = named_units(load(conv_net()), [UNIT], RECIPE)
    again = Unit.from_dict(unit.to_dict())
    assert again.to_dict() == unit.to_dict()
    assert again.recipe == unit.recipe


def test_weights_rounded_to_half_precision_change_hardly_a_pixel() -> None:
    good = conv_net()
    rounded = {
        item.name: np.asarray(numpy_helper.to_array(item)).astype(np.float16).astype(np.float32)
        for item in good.graph.initializer
    }
    (first,) = named_units(load(good), [UNIT], RECIPE)
    (second,) = named_units(load(conv_net(**rounded)), [UNIT], RECIPE)
    assert likeness(first.picture, second.picture) > 0.99


def test_a_dead_unit_that_is_named_is_an_error() -> None:
    dead = conv_net(b1=np.full(4, -1e3, np.float32))
    with pytest.raises(DeadUnitError):
        named_units(load(dead), [UNIT], RECIPE)
