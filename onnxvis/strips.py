"""Pictures in a row that tells how one becomes another: over the steps of a run, or between two units."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from onnxvis.figures import enlarged
from onnxvis.sheets import contact_sheet

_WIDEST = 2600
"""Pixels of a row; eight pictures of 299 fit."""


def strip(pictures: Sequence[Image.Image], labels: Sequence[str], *, title: str = "", rows: int = 1) -> Image.Image:
    """Show pictures in one labelled row, or in one row for each image of a batch.

    Tiny pictures are enlarged by a whole factor. A single row that would be wider than 2,600 pixels, as plots are, goes
    on below.

    Args:
        pictures: Of one size, row by row.
        labels: One for each picture; further lines of a label are drawn under the first.
        title: One line above them all.
        rows: How many rows there are, of equally many pictures.

    Returns:
        An RGB picture.

    Raises:
        ValueError: There is no picture, or they differ in size, or there is another number of labels, or the pictures
            do not fill the rows.
    """
    if rows < 1 or len(pictures) % rows:
        message = f"{len(pictures)} pictures do not fill {rows} rows"
        raise ValueError(message)
    columns = len(pictures) // rows
    if rows == 1 and pictures:
        most = max(1, _WIDEST // enlarged(pictures[0]).width)
        # 8 pictures where 7 fit into a row are 4 and 4 rather than 7 and 1.
        columns = -(-columns // -(-columns // most))
    return contact_sheet(pictures, labels, title=title, columns=columns)


def steps_shown(steps: int, frames: int) -> tuple[int, ...]:
    """Choose steps at which to look at a run: 0, 1, 2, 4, 8, ... and the last.

    A picture changes most in the first steps. Where there are more powers of two than frames, the smallest are left
    out; where there is room for it, step 0 is the start.

    Args:
        steps: How many there are.
        frames: How many are chosen, at most; at least one.
    """
    powers = [1 << exponent for exponent in range(steps.bit_length())]
    earlier = [0, *(power for power in powers if power < steps)] if steps else []
    return (*earlier[max(0, len(earlier) - frames + 1) :], steps)


def blend_labels(first: str, second: str, count: int) -> list[str]:
    """Label the pictures between two units: their names at the ends, and how much of the second is in the others.

    Args:
        first: The name of the one.
        second: The name of the other.
        count: How many pictures there are, at least two; the shares are equally far from each other.

    Raises:
        ValueError: There are fewer than two.
    """
    if count < 2:  # noqa: PLR2004 - one for each unit
        message = f"between two units there are at least their two pictures, not {count}"
        raise ValueError(message)
    shares = [100 * index / (count - 1) for index in range(1, count - 1)]
    return [first, *(f"{share:.3g} % {second}" for share in shares), second]
