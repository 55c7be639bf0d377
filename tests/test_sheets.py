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
    "\n".join("12345678"),
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
    lines = min(4, label.count("\n") + 1)
    assert with_text.size == (without.width, without.height + 3 * 17 * (lines - 1))
    shown = np.asarray(with_text)
    ink = shown.min(2) < 255
    for row in range(3):
        top = 8 + row * (100 + 19 + 17 * (lines - 1) + 8)
        for column in range(4):
            left = 8 + column * (130 + 8)
            cell = shown[top : top + 100, left : left + 130]
            assert np.array_equal(cell, np.repeat(np.asarray(pictures[4 * row + column])[..., None], 3, 2))
            assert not ink[:, left - 8 : left].any()
        assert not ink[top - 8 : top].any()
        assert ink[top + 100 : top + 119].any() == bool(label.split())


@pytest.mark.parametrize("title", [text for text in LABELS if text.split()])
def test_a_title_is_drawn_above_the_sheet(title: str) -> None:
    sheet, titled = contact_sheet(plain(9), ["a"] * 9), contact_sheet(plain(9), ["a"] * 9, title=title)
    assert titled.width == sheet.width
    above = titled.height - sheet.height
    assert np.array_equal(np.asarray(titled)[above:], np.asarray(sheet))
    assert np.asarray(titled)[:above].min() < 128
    assert np.asarray(titled)[:, :8].min() == 255


def ink_rows(tile: Image.Image, top: int) -> tuple[int, int]:
    """The first and the last row with ink below the picture."""
    rows = np.flatnonzero((np.asarray(tile)[top:] < 200).any((1, 2)))
    return int(rows[0]), int(rows[-1])


def test_a_label_has_the_lines_that_it_is_given() -> None:
    one, two = captioned(plain(2, (200, 50)), ["name", "name\n0.2 -> 506"])
    assert one.size == two.size == (200, 50 + 19 + 17)
    first, second = (np.asarray(tile)[50 : 50 + 19] for tile in (one, two))
    assert np.array_equal(first, second)
    assert ink_rows(one, 50)[1] < 19 < ink_rows(two, 50)[1]


def test_each_line_is_cut_off_where_its_tile_ends() -> None:
    (tile,) = captioned(plain(1, (60, 10)), ["W" * 99 + "\n" + "W" * 99])
    assert tile.size == (60, 10 + 19 + 17)


def test_what_is_on_further_lines_follows_on_the_last() -> None:
    few, many = captioned(plain(1) * 2, ["1\n2\n3\n4 5", "1\n2\n3\n4\n5"], least_width=100)
    assert few.tobytes() == many.tobytes()


def test_accents_that_reach_high_do_not_cover_the_picture() -> None:
    (tile,) = captioned([Image.new("RGB", (60, 50), "red")], ["Z" + "\u0301" * 99])
    assert tile.crop((0, 0, 60, 50)).getcolors() == [(60 * 50, (255, 0, 0))]


def test_transparent_pictures_are_laid_on_white() -> None:
    picture = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
    for sheet in (stitch([picture]), contact_sheet([picture], [""])):
        assert sheet.getpixel((100, 100)) == (255, 255, 255)


def test_a_title_has_room_above_a_single_picture() -> None:
    assert contact_sheet(plain(1), ["label"], title="a title").width == 400


def test_too_many_pixels_are_shrunk_until_the_sheet_can_be_opened() -> None:
    pictures = [Image.new("RGB", (2000, 1000), "red")] * 100
    sheet = contact_sheet(pictures, ["label"] * 100)
    assert 50_000_000 < sheet.width * sheet.height < 80_000_000
    assert sheet.getpixel((20, 20)) == (255, 0, 0)


def test_a_narrow_picture_stands_in_the_middle_of_its_tile() -> None:
    (tile,) = captioned([Image.new("L", (2, 50))], ["label"], least_width=100)
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
