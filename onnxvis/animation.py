"""The pictures of a run as one moving picture, each with its label under it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from onnxvis.figures import enlarged
from onnxvis.sheets import captioned

SUFFIXES = (".gif", ".webp", ".png", ".apng")
"""What the name of an animation may end in; an animated PNG has either of the last two."""
_HOLD = 2.0
"""Seconds for which the last frame is shown in addition."""
_LEAST_DURATION = 0.02
"""Seconds; browsers play what is faster than this more slowly."""
_LEAST_WIDTH = 96
_COLORS = 256
_ROUNDED = [level if level in (0, 255) else level // 4 * 4 + 2 for level in range(256)]
"""Black, white, and every fourth level between them: 256 colors are chosen three times as fast, and as well."""
_QUALITY = 88
"""Of WebP, in 0 to 100: no artifacts around the letters, and half the size of a GIF."""


def animation_bytes(
    frames: Sequence[Image.Image], labels: Sequence[str], suffix: str = ".gif", *, seconds: float = 4.0
) -> bytes:
    """Encode frames as an animated GIF, WebP or PNG that starts over when it has ended.

    Small frames are enlarged by a whole factor. The last one is held for two seconds more. A PNG keeps every pixel as
    it is and is the largest, a WebP is the smallest.

    Args:
        frames: Pictures of one size, at least one.
        labels: One for each frame, such as "step 32", in a strip under it.
        suffix: One of `SUFFIXES`, in upper or lower case.
        seconds: How long all frames play, up to the last.

    Raises:
        ValueError: There is no frame, or they differ in size, or there is another number of labels, or the suffix is
            another.
    """
    if not frames or len(labels) != len(frames) or len({frame.size for frame in frames}) != 1:
        sizes = sorted({frame.size for frame in frames})
        message = f"an animation needs frames of one size with one label each, not {sizes} with {len(labels)} labels"
        raise ValueError(message)
    pictures = captioned([enlarged(frame) for frame in frames], labels, least_width=_LEAST_WIDTH)
    duration = max(_LEAST_DURATION, seconds / len(frames))
    # Seconds to milliseconds, in whole hundredths of a second, which is all that a GIF knows.
    durations = [round(100 * each) * 10 for each in [duration] * (len(frames) - 1) + [duration + _HOLD]]
    match suffix.lower():
        case ".gif":
            # One palette for all is farther from every frame, and flickers as much.
            rounded = [picture.point(_ROUNDED * 3) for picture in pictures]
            own = [picture.quantize(_COLORS, method=Image.Quantize.MEDIANCUT) for picture in rounded]
            return _encoded(own, durations, "GIF", optimize=False)
        case ".webp":
            return _encoded(pictures, durations, "WEBP", quality=_QUALITY)
        case ".png" | ".apng":
            return _encoded(pictures, durations, "PNG")
    message = f"an animation is one of {SUFFIXES}, not {suffix!r}"
    raise ValueError(message)


def _encoded(pictures: Sequence[Image.Image], durations: Sequence[int], kind: str, **settings: int | bool) -> bytes:
    first, *others = pictures
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=list(durations), loop=0, **settings)
    return buffer.getvalue()
