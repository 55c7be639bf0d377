"""Pictures that can be seen through, laid on what is behind them: where nothing can be transparent, as in a JPEG."""

from __future__ import annotations

import numpy as np
from PIL import Image

CHECKERBOARD = "checkerboard"
"""The background that shows how transparent a picture is."""
_CELL = 8
_LIGHT, _DARK = 255, 204


def composited(picture: Image.Image, background: str = "white") -> Image.Image:
    """Lay a picture on a background.

    Args:
        picture: Of any mode.
        background: A color, or `CHECKERBOARD`: squares of 8 pixels, white and light grey.

    Returns:
        An RGB picture; one that is opaque is returned as it is.
    """
    if not picture.has_transparency_data:
        return picture
    front = picture.convert("RGBA")
    behind = _checkerboard(front.size) if background == CHECKERBOARD else Image.new("RGBA", front.size, background)
    return Image.alpha_composite(behind, front).convert("RGB")


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    width, height = size
    rows, columns = np.indices((height, width)) // _CELL
    levels = np.where((rows + columns) % 2, _DARK, _LIGHT).astype(np.uint8)
    return Image.fromarray(levels).convert("RGBA")
