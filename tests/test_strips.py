from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onnxvis.sheets import contact_sheet
from onnxvis.strips import blend_labels, steps_shown, strip


def pictures(count: int, size: tuple[int, int] = (224, 224)) -> list[Image.Image]:
    return [Image.new("L", size, 10 * index) for index in range(count)]


def test_a_strip_is_one_row() -> None:
    row = strip(pictures(8), list("abcdefgh"), title="title")
    expected = contact_sheet(pictures(8), list("abcdefgh"), title="title", columns=8)
    assert row.tobytes() == expected.tobytes()
    assert row.width == 8 * (224 + 8) + 8


@pytest.mark.parametrize(
    ("count", "width", "columns"), [(8, 299, 8), (8, 640, 4), (5, 640, 3), (3, 640, 3), (3, 5000, 1)]
)
def test_a_row_that_is_too_wide_goes_on_below_and_the_rows_are_alike(count: int, width: int, columns: int) -> None:
    assert strip(pictures(count, (width, 100)), [""] * count).width == columns * (width + 8) + 8


def test_each_image_can_have_a_row_of_its_own() -> None:
    sheet = np.asarray(strip(pictures(6), [""] * 6, rows=3))
    height, width = 224 + 19 + 8, 224 + 8
    assert sheet.shape == (3 * height + 8, 2 * width + 8, 3)
    levels = [[int(sheet[8 + row * height, 8 + column * width, 0]) for column in range(2)] for row in range(3)]
    assert levels == [[0, 10], [20, 30], [40, 50]]


@pytest.mark.parametrize(("count", "rows"), [(5, 2), (4, 0)])
def test_pictures_that_do_not_fill_the_rows_are_refused(count: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"{count} pictures do not fill {rows} rows"):
        strip(pictures(count), [""] * count, rows=rows)


def test_an_empty_strip_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        strip([], [])


@pytest.mark.parametrize(
    ("steps", "frames", "shown"),
    [
        (256, 8, (2, 4, 8, 16, 32, 64, 128, 256)),
        (256, 20, (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)),
        (200, 5, (16, 32, 64, 128, 200)),
        (32, 8, (0, 1, 2, 4, 8, 16, 32)),
        (3, 8, (0, 1, 2, 3)),
        (1, 8, (0, 1)),
        (0, 8, (0,)),
        (100, 1, (100,)),
    ],
)
def test_the_steps_shown_double(steps: int, frames: int, shown: tuple[int, ...]) -> None:
    assert steps_shown(steps, frames) == shown


def test_there_are_never_more_steps_than_frames_and_the_last_is_among_them() -> None:
    for steps in range(300):
        for frames in range(1, 12):
            shown = steps_shown(steps, frames)
            assert len(shown) <= frames
            assert shown[-1] == steps
            assert list(shown) == sorted(set(shown))


def test_pictures_between_two_units_say_how_much_of_the_second_is_in_them() -> None:
    assert blend_labels("3", "7", 5) == ["3", "25 % 7", "50 % 7", "75 % 7", "7"]
    assert blend_labels("3", "7", 4) == ["3", "33.3 % 7", "66.7 % 7", "7"]
    assert blend_labels("3", "7", 2) == ["3", "7"]
    with pytest.raises(ValueError, match="not 1"):
        blend_labels("3", "7", 1)
