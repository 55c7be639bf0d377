"""Many pictures of one size on one sheet, each with its label under it.

What is drawn beside a picture never covers it, and what does not fit is cut off with an ellipsis. Transparent pictures
are laid on white.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from onnxvis.backgrounds import composited
from onnxvis.figures import enlarged

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK, _FAINT_INK = "#202020", "#606060"
_LABEL_SIZE, _TITLE_SIZE = 13, 17
_LEAST_TILE = 128
"""Pixels of the longer side of a tile, at least; few pictures are shown larger."""
_LEAST_TILE_OF_FEW = 224
_FEW = 9
_LEAST_WIDTH = 400
"""Pixels that a title has at least."""
_MARGIN = 8
_MOST_PIXELS = 64_000_000
"""Pixels of all tiles together; Pillow warns of pictures that have more than 89 million."""
_MOST_LETTERS = 1000
"""More letters than any sheet is wide."""
_MOST_LINES = 4
"""Of a label; what is on further lines follows on the last."""
_LINE_STEP = 17
"""Pixels from line to line of a label."""


def stitch(
    pictures: Sequence[Image.Image], margin: int = 5, columns: int = 5, *, background: str = "white"
) -> Image.Image:
    """Lay pictures out row by row, with nothing but margins between them.

    Args:
        pictures: Of one size, at least one.
        margin: Pixels between two neighbors; there is none at the edges.
        columns: Pictures in a row, at most.
        background: The color of the margins and of what the last row leaves open.

    Returns:
        An RGB picture.

    Raises:
        ValueError: There is no picture, or they differ in size, or there is less than one column.
    """
    width, height = _one_size(pictures)
    if columns < 1 or margin < 0:
        message = f"a grid has at least one column and no negative margin, not {columns} and {margin}"
        raise ValueError(message)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet_size = (columns * (width + margin) - margin, rows * (height + margin) - margin)
    sheet = Image.new("RGB", sheet_size, background)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(composited(picture).convert("RGB"), (column * (width + margin), row * (height + margin)))
    return sheet


def contact_sheet(
    pictures: Sequence[Image.Image], labels: Sequence[str], *, title: str = "", columns: int | None = None
) -> Image.Image:
    """Show pictures in one grid on white, each with its label under it.

    Small pictures are enlarged by a whole factor. Pictures that together would be too large to open are shrunk.

    Args:
        pictures: Of one size, at least one.
        labels: One for each picture, of up to four lines, such as a name and a number; each line is cut off where its
            tile ends.
        title: One line above them all.
        columns: Tiles in a row; chosen by default, so that the sheet is near square and the last row almost full.

    Returns:
        An RGB picture.

    Raises:
        ValueError: There is no picture, or they differ in size, or there is another number of labels.
    """
    _one_size(pictures)
    if len(labels) != len(pictures):
        message = f"each picture needs one label; there are {len(pictures)} pictures and {len(labels)} labels"
        raise ValueError(message)
    fitted = [_fitting(picture, len(pictures)) for picture in pictures]
    tiles = captioned(fitted, labels, least_width=_LEAST_TILE)
    grid = stitch(tiles, _MARGIN, _columns(len(tiles), fitted[0].size) if columns is None else columns)
    sheet = ImageOps.expand(grid, _MARGIN, "white")
    return _titled(sheet, title) if title else sheet


def captioned(pictures: Sequence[Image.Image], labels: Sequence[str], *, least_width: int = 0) -> list[Image.Image]:
    """Add a white strip with a label under each picture, and white at its sides where it is too narrow.

    Args:
        pictures: Of one size.
        labels: One for each picture, of up to four lines; those after the first are a little fainter.
        least_width: Pixels.

    Returns:
        list: RGB pictures of one size, which depends on that of the pictures and on the greatest number of lines alone.
    """
    texts = [_lines(label) for label in labels]
    count = max(map(len, texts), default=1)
    return [_captioned(picture, text, count, least_width) for picture, text in zip(pictures, texts, strict=True)]


def _captioned(picture: Image.Image, lines: Sequence[str], count: int, least_width: int) -> Image.Image:
    width = max(picture.width, least_width)
    strip = _strip(lines, (width, _line_height(_LABEL_SIZE) + (count - 1) * _LINE_STEP))
    tile = Image.new("RGB", (width, picture.height + strip.height), "white")
    tile.paste(composited(picture).convert("RGB"), ((width - picture.width) // 2, 0))
    tile.paste(strip, (0, picture.height))
    return tile


def _strip(lines: Sequence[str], size: tuple[int, int]) -> Image.Image:
    strip = Image.new("RGB", size, "white")
    drawn, font = ImageDraw.Draw(strip), _font(_LABEL_SIZE)
    for number, line in enumerate(lines):
        ink = _INK if number == 0 else _FAINT_INK
        place = (size[0] / 2, 2 + number * _LINE_STEP)
        drawn.text(place, shortened(line, size[0], font), fill=ink, font=font, anchor="ma")
    return strip


def _lines(label: str) -> list[str]:
    return label.strip("\n").split("\n", _MOST_LINES - 1)


def shortened(text: str, width: float, font: _Font) -> str:
    """Return a text as one line of at most `width` pixels in a font, cut off with an ellipsis where it is longer."""
    line = " ".join(text[:_MOST_LETTERS].split())
    if len(text) <= _MOST_LETTERS and font.getlength(line) <= width:
        return line
    fitting = bisect.bisect_right(range(1, len(line) + 1), width, key=lambda count: font.getlength(f"{line[:count]}…"))
    return f"{line[:fitting].rstrip()}…"


def _one_size(pictures: Sequence[Image.Image]) -> tuple[int, int]:
    sizes = sorted({picture.size for picture in pictures})
    if len(sizes) != 1:
        message = f"a grid needs pictures of one size, not {sizes[:5]}" if sizes else "there is no picture to show"
        raise ValueError(message)
    return sizes[0]


def _fitting(picture: Image.Image, count: int) -> Image.Image:
    """Enlarge or shrink one of so many pictures for a sheet."""
    larger = enlarged(picture, _LEAST_TILE_OF_FEW if count <= _FEW else _LEAST_TILE)
    scale = math.sqrt(_MOST_PIXELS / (count * larger.width * larger.height))
    if scale >= 1:
        return larger
    size = (max(1, int(larger.width * scale)), max(1, int(larger.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _columns(count: int, size: tuple[int, int]) -> int:
    """Return how many pictures of (width, height) in a row make a sheet near square, and its last row fullest."""
    square = math.ceil(math.sqrt(count * size[1] / size[0]))
    fewest, most = min(square, count), min(square * 3 // 2, count)
    return min(range(fewest, most + 1), key=lambda columns: -count % columns)


def _titled(sheet: Image.Image, title: str) -> Image.Image:
    """Add a title above a sheet, which becomes wider where it is very narrow."""
    font = _font(_TITLE_SIZE)
    width, above = max(sheet.width, _LEAST_WIDTH), _line_height(_TITLE_SIZE) + _MARGIN
    titled = Image.new("RGB", (width, sheet.height + above), "white")
    titled.paste(sheet, ((width - sheet.width) // 2, above))
    text = shortened(title, width - 2 * _MARGIN, font)
    ImageDraw.Draw(titled).text((width / 2, _MARGIN), text, fill=_INK, font=font, anchor="ma")
    return titled


def _line_height(size: int) -> int:
    """Return the pixels that a line of text takes, its descenders and the space below included."""
    return math.ceil(size * 1.45)


@functools.lru_cache(maxsize=8)
def _font(size: int) -> _Font:
    """Return the font that comes with matplotlib: Pillow's own has no letters but the English ones."""
    import matplotlib as mpl  # noqa: PLC0415 - only where something is written

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
