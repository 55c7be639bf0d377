"""What a notebook shows of results: HTML that needs nothing beside it.

Text and lines have colors that can be read on white and on black, and whatever is not ours is escaped. The same input
gives the same text.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from onnxvis.figures import with_total

Array = np.ndarray[Any, Any]

_LEAST, _LEAST_OF_MANY, _FEW = 224, 128, 9
"""Pixels of a picture's longer side, at least: of one and of few pictures, and of many."""
_CURVE_WIDTH, _CURVE_HEIGHT = 180, 36
_DENSITY = 2
"""Pixels of a curve for each pixel of CSS: sharp on dense screens."""
_SMOOTH = 4
"""A curve is drawn so many times larger, and then averaged."""
_LINE, _LINE_WIDTH, _OPAQUE = (66, 139, 214), 1.5, 255
_CELL = "padding:1px 14px 1px 0;border:none;text-align:left;vertical-align:middle"
_FAINT = "opacity:0.7"


def notebook_html(
    picture_png: bytes, history: Mapping[str, Sequence[float]], rows: Sequence[tuple[str, str]], title: str
) -> str:
    """Show a picture beside its numbers and the curves of its losses.

    Args:
        picture_png: The PNG file; a tiny picture is enlarged by a whole factor, pixel by pixel.
        history: The values of each loss by its name, such as the weighted losses before each step; may be empty.
        rows: What is measured, and its value, as text.
        title: Above the numbers.
    """
    numbers = "".join(_row(_faint(name), _escaped(value)) for name, value in rows)
    curves = {name: np.asarray(values, np.float64) for name, values in history.items() if len(values)}
    text = f"{_heading(title)}{_table(numbers)}{_losses(curves) if curves else ''}"
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:20px;align-items:flex-start">'
        f"<div>{_picture(picture_png, title, _LEAST)}</div><div>{text}</div></div>"
    )


def gallery_html(pictures: Sequence[bytes], labels: Sequence[str], title: str = "") -> str:
    """Show pictures side by side, each with its label under it, in as many rows as the page is wide.

    Args:
        pictures: PNG files.
        labels: One for each; it may have several lines.
        title: Above them all.

    Raises:
        ValueError: There is another number of labels than of pictures.
    """
    if len(pictures) != len(labels):
        message = f"each picture needs one label; there are {len(pictures)} pictures and {len(labels)} labels"
        raise ValueError(message)
    least = _LEAST if len(pictures) <= _FEW else _LEAST_OF_MANY
    figures = "".join(_figure(png, label, least) for png, label in zip(pictures, labels, strict=True))
    heading = _heading(title) if title else ""
    return f'<div>{heading}<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-end">{figures}</div></div>'


def _figure(png: bytes, label: str, least: int) -> str:
    first, _, rest = label.strip("\n").partition("\n")
    below = f'<div style="{_FAINT};white-space:pre-line">{_escaped(rest)}</div>' if rest else ""
    caption = f'<figcaption style="text-align:center;font-size:90%">{_escaped(first)}{below}</figcaption>'
    width, _ = _shown_size(png, least)
    style = f"margin:0;max-width:{width}px;overflow-wrap:anywhere"
    return f'<figure style="{style}">{_picture(png, label, least)}{caption}</figure>'


def _picture(png: bytes, name: str, least: int) -> str:
    width, height = _shown_size(png, least)
    # A picture that is not tiny is left to the browser, which shrinks it better smoothly.
    style = "max-width:100%;image-rendering:pixelated" if max(width, height) > max(_size(png)) else "max-width:100%"
    return _img(png, (width, height), name, style)


def _shown_size(png: bytes, least: int) -> tuple[int, int]:
    """Enlarge the size of a picture by a whole factor until its longer side has `least` pixels."""
    width, height = _size(png)
    factor = max(1, -(-least // max(width, height)))
    return width * factor, height * factor


def _size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def _img(png: bytes, size: tuple[int, int], name: str, style: str) -> str:
    """Show a PNG at a size; pages that strip styles keep the attributes."""
    width, height = size
    content = base64.b64encode(png).decode()
    return (
        f'<img src="data:image/png;base64,{content}" width="{width}" height="{height}" alt="{_escaped(name)}" '
        f'style="width:{width}px;height:auto;margin:0;{style}">'
    )


def _losses(curves: Mapping[str, Array]) -> str:
    steps = max(map(len, curves.values()))
    rows = "".join(_loss(name, values) for name, values in with_total(curves).items())
    heading = f"losses over {steps} step{'' if steps == 1 else 's'}"
    return f'<div style="font-size:90%">{_faint(heading)}</div>{_table(rows)}'


def _loss(name: str, values: Array) -> str:
    change = f"{values[0]:.4g} → {values[-1]:.4g}"
    curve = _img(_curve_png(values), (_CURVE_WIDTH, _CURVE_HEIGHT), f"{name}: {change}", "max-width:none")
    return _row(_faint(name), curve, _escaped(change))


def _curve_png(values: Array) -> bytes:
    """Draw a line on nothing, from the left edge to the right and from the least value to the greatest."""
    scale = _DENSITY * _SMOOTH
    size = (_CURVE_WIDTH * scale, _CURVE_HEIGHT * scale)
    opacity = Image.new("L", size)
    points = _points(values, size, margin=2 * scale)
    if points:
        drawn = ImageDraw.Draw(opacity)
        drawn.line(points, fill=_OPAQUE, width=round(_LINE_WIDTH * scale), joint="curve")
        drawn.circle(points[-1], _LINE_WIDTH * scale, fill=_OPAQUE)
    picture = Image.new("RGB", size, _LINE)
    picture.putalpha(opacity)
    buffer = io.BytesIO()
    picture.reduce(_SMOOTH).save(buffer, "PNG")
    return buffer.getvalue()


def _points(values: Array, size: tuple[int, int], margin: int) -> list[tuple[float, float]]:
    """Return where the finite values lie, (x, y) from the top left; values that are all the same lie in the middle."""
    width, height = size
    finite = np.isfinite(values)
    if not finite.any():
        return []
    # Halves: the difference of the largest floats would be infinite.
    halves = values[finite] / 2
    low, span = halves.min(), np.ptp(halves)
    shares = (halves - low) / span if span > 0 else np.full(len(halves), 0.5)
    across = np.linspace(margin, width - margin, len(values))[finite]
    down = height - margin - shares * (height - 2 * margin)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _heading(title: str) -> str:
    return f'<div style="font-weight:600;margin-bottom:6px">{_escaped(title)}</div>'


def _table(rows: str) -> str:
    style = "border-collapse:collapse;border:none;margin:0 0 8px 0;font-size:90%"
    return f'<table style="{style}"><tbody>{rows}</tbody></table>' if rows else ""


def _row(*cells: str) -> str:
    return f'<tr style="background:none">{"".join(f"<td style={_CELL!r}>{cell}</td>" for cell in cells)}</tr>'


def _faint(text: str) -> str:
    return f'<span style="{_FAINT}">{_escaped(text)}</span>'


def _escaped(text: str) -> str:
    # Half a surrogate pair, as in the name of a file that is not UTF-8, cannot be sent to a browser.
    return html.escape(text.encode("utf-8", "backslashreplace").decode())
