from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from onnxvis.sheets import captioned, contact_sheet, shortened, stitch

FONT: Any = ImageFont.load_default(13)
LABELS = [
    "",
    "狐 🦊 é",
    "\udcff\0",
    "line\nbreak",
    "W" * 100_000,
    "[bold]%s{}[/bold]",
    " \t ",
    "\u202eabc",
    "a\u0301" * 50,
]


def plain(count: int, size: tuple[int, int] = (8, 6)) -> list[Image.Image]:
    """Pictures of one color each."""
    return [Image.new("RGB", size, (index % 200, 255 - index % 200, index // 200)) for index in range(count)]


@pytest.mark.parametrize(("count", "columns", "margin"), [(1, 5, 5), (5, 5, 5), (7, 3, 0), (4, 1, 2), (3, 9, 1)])
def test_stitched_pictures_lie_row_by_row_with_margins_between(count: int, columns: int, margin: int) -> None:
    pictures = [Image.effect_noise((8, 6), 90) for _ in range(count)]
    sheet = np.asarray(stitch(pictures, margin, columns, background="black"))
    used = min(columns, count)
    expected = np.zeros((-(-count // used) * (6 + margin) - margin, used * (8 + margin) - margin, 3), np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // used * (6 + margin), index % used * (8 + margin)
        expected[top : top + 6, left : left + 8] = np.asarray(picture)[..., None]
    assert np.array_equal(sheet, expected)


def test_the_background_is_white() -> None:
    assert stitch(plain(2), 3, 2).getpixel((9, 0)) == (255, 255, 255)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_every_picture_is_on_the_sheet(count: int) -> None:
    sheet = contact_sheet(plain(count), ["label"] * count, title="title")
    colors = {color for _, color in sheet.getcolors(1 << 20) or ()}
    assert {picture.getpixel((0, 0)) for picture in plain(count)} <= colors


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (7, 4), (9, 3), (16, 4), (17, 6), (64, 8), (1000, 40)])
def test_a_sheet_is_near_square_with_a_full_last_row(count: int, columns: int) -> None:
    side = 256 if count <= 9 else 128
    assert contact_sheet(plain(count, (64, 64)), ["label"] * count).width == columns * (side + 8) + 8


def test_columns_can_be_chosen() -> None:
    assert contact_sheet(plain(10, (128, 128)), ["label"] * 10, columns=5).width == 5 * (128 + 8) + 8


@pytest.mark.parametrize("label", LABELS)
def test_no_label_covers_a_picture_or_its_neighbor(label: str) -> None:
    pictures = [Image.effect_noise((130, 100), 90) for _ in range(12)]
    with_text, without = contact_sheet(pictures, [label] * 12), contact_sheet(pictures, [""] * 12)
    assert with_text.size == without.size
    changed = np.asarray(with_text) != np.asarray(without)
    for row in range(3):
        for column in range(4):
            top, left = 8 + row * (100 + 19 + 8), 8 + column * (130 + 8)
            cell = np.asarray(without)[top : top + 100, left : left + 130, 0]
            assert np.array_equal(cell, np.asarray(pictures[4 * row + column]))
            assert not changed[top : top + 100].any()
            assert not changed[:, left - 8 : left].any()
    assert changed.any() == bool(label.split())


@pytest.mark.parametrize("title", [text for text in LABELS if text.split()])
def test_a_title_is_drawn_above_the_sheet(title: str) -> None:
    sheet, titled = contact_sheet(plain(9), ["a"] * 9), contact_sheet(plain(9), ["a"] * 9, title=title)
    assert titled.width == sheet.width
    above = titled.height - sheet.height
    assert np.array_equal(np.asarray(titled)[above:], np.asarray(sheet))
    assert np.asarray(titled)[:above].min() < 128
    assert np.asarray(titled)[:, :8].min() == 255


def test_a_title_has_room_above_a_single_picture() -> None:
    assert contact_sheet(plain(1), ["label"], title="a title").width == 400


def test_too_many_pixels_are_shrunk_until_the_sheet_can_be_opened() -> None:
    pictures = [Image.new("RGB", (2000, 1000), "red")] * 100
    sheet = contact_sheet(pictures, ["label"] * 100)
    assert 50_000_000 < sheet.width * sheet.height < 80_000_000
    assert sheet.getpixel((20, 20)) == (255, 0, 0)


def test_a_narrow_picture_stands_in_the_middle_of_its_tile() -> None:
    tile = captioned(Image.new("L", (2, 50)), "label", least_width=100)
    assert tile.width == 100
    assert np.flatnonzero(np.asarray(tile)[:50, :, 0].max(0) == 0).tolist() == [49, 50]


@given(text=st.text(), width=st.integers(20, 300))
def test_a_shortened_text_fits_and_is_one_line(text: str, width: int) -> None:
    short = shortened(text, width, FONT)
    assert FONT.getlength(short) <= width
    assert len(short.splitlines()) <= 1
    line = " ".join(text.split())
    if FONT.getlength(line) <= width:
        assert short == line
    else:
        assert short.endswith("…")
        assert line.startswith(short[:-1])


def test_a_text_is_cut_no_shorter_than_it_must_be() -> None:
    short = shortened("x" * 99, 100, FONT)
    assert FONT.getlength(short) <= 100 < FONT.getlength(f"x{short}")
    assert shortened("x" * 99, FONT.getlength("xxxx…"), FONT) == "xxxx…"


def test_the_same_sheet_has_the_same_pixels() -> None:
    first, second = (contact_sheet(plain(5), ["label"] * 5, title="title").tobytes() for _ in range(2))
    assert first == second


def test_what_makes_no_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="no picture"):
        stitch([])
    with pytest.raises(ValueError, match=r"one size, not \[\(8, 6\), \(9, 9\)\]"):
        stitch([*plain(2), Image.new("L", (9, 9))])
    with pytest.raises(ValueError, match="2 pictures and 1 labels"):
        contact_sheet(plain(2), ["label"])
    with pytest.raises(ValueError, match="at least one column"):
        stitch(plain(2), 5, 0)
