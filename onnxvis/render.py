"""Between arrays and files: 8-bit images, PNG files with the recipe inside them, and NumPy's own files.

A picture that was written can be read back to the very numbers that were written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import tempfile
import tokenize
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from onnxvis.backgrounds import composited
from onnxvis.errors import InputError, OutputError
from onnxvis.grids import cells_of, grid

KEY = "onnxvis"
"""The keyword under which a PNG's text holds the recipe, as JSON."""
SUFFIXES = (".png", ".apng", ".npy", ".json", ".gif", ".webp", ".html", ".sarif", ".xml")
"""What the name of a file may end in that `write_file` writes."""
_RGB = 3
_VOLUME = 4
"""The number of axes of (C, D, H, W)."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged or no pictures."""
_NO_ARRAY = (OSError, SyntaxError, ValueError, EOFError, TypeError, OverflowError, RecursionError, tokenize.TokenError)
"""What NumPy raises for files that are damaged or no arrays."""
_GAP_LEVEL, _OPAQUE = 128, 255
_CHANNEL_GAP, _SLICE_GAP = 1, 3
"""Pixels between the cells of a grid; slices that are grids of channels themselves stand farther apart."""


def to_image(image: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Round values in [0, 1] to an 8-bit image that `from_image` can read back.

    Cells stand row by row in a near-square grid, with gaps of mid-grey between them.

    Args:
        image: (C, H, W): RGB where C is 3, grey where it is 1, else a grid of the channels in grey. Or (C, D, H, W):
            a grid of the D slices, each of them such a picture.
        alpha: The opacity in [0, 1], (H, W) or (D, H, W): the image has an alpha channel (RGBA, LA), and its values
            stay to the bit what they are without one, where it is transparent too. None: there is none.

    Raises:
        ValueError: The opacity is of another size than the image.
    """
    picture = Image.fromarray(_pixels(_levels(image), _GAP_LEVEL))
    if alpha is None:
        return picture
    if alpha.shape != image.shape[1:]:
        message = f"an image of {tuple(image.shape)} has an opacity of its own size, not {tuple(alpha.shape)}"
        raise ValueError(message)
    opacity = _levels(alpha).expand(1 if len(image) == _RGB else len(image), *alpha.shape)
    picture.putalpha(Image.fromarray(_pixels(opacity, _OPAQUE)))
    return picture


def from_image(image: Image.Image, channels: int, depth: int | None = None) -> Tensor:
    """Return the values in [0, 1] of an image that `to_image` made: (C, H, W), or with a depth (C, D, H, W).

    An alpha channel is ignored: it says how the image is shown, not what it holds.

    Raises:
        InputError: The image does not have the size of a grid of that many channels or slices.
    """
    levels = np.array(image.convert("RGB" if channels == _RGB else "L"))
    if depth is None:
        values = _channel_levels(levels, channels)
    else:
        slices = cells_of(levels, depth, _slice_gap(channels), "slices")
        values = np.stack([_channel_levels(part, channels) for part in slices], axis=1)
    return torch.from_numpy(np.ascontiguousarray(values)).float() / 255


def _levels(values: Tensor) -> Tensor:
    return (values.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def _pixels(levels: Tensor, gap_level: int) -> np.ndarray[Any, Any]:
    """Lay (C, H, W) or (C, D, H, W) out as the pixels of a picture: (H, W, 3), or else grey (H, W)."""
    if levels.ndim == _VOLUME:
        # (C, D, H, W) -> (D, C, H, W)
        slices = np.stack([_pixels(part, gap_level) for part in levels.unbind(1)])
        return grid(slices, _slice_gap(len(levels)), gap_level)
    if len(levels) == _RGB:
        return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())
    return grid(levels.numpy(), _CHANNEL_GAP, gap_level)


def _channel_levels(levels: np.ndarray[Any, Any], channels: int) -> np.ndarray[Any, Any]:
    """Undo `_pixels` of (C, H, W)."""
    return levels.transpose(2, 0, 1) if channels == _RGB else cells_of(levels, channels, _CHANNEL_GAP, "channels")


def _slice_gap(channels: int) -> int:
    return _CHANNEL_GAP if channels in (1, _RGB) else _SLICE_GAP


def read_photo(path: str | os.PathLike[str], channels: int, size: tuple[int, int]) -> Tensor:
    """Read any picture as (C, H, W) values in [0, 1], cropped to the middle and resized to (height, width).

    Transparent pictures are laid on white, as viewers show them, unless onnxvis wrote them.

    Raises:
        InputError: The file is missing or no picture, or the model's input has neither one nor three channels.
    """
    if channels not in (1, _RGB):
        shape = (channels, *size)
        message = f"A picture cannot seed an input of {channels} channels. Give an array of shape {shape}."
        raise InputError(message, channels=channels)
    with _opened(path, "a PNG or JPEG as --from") as photo:
        upright = _eight_bit(ImageOps.exif_transpose(photo))
        # What onnxvis wrote is measured without its alpha.
        shown = upright if KEY in photo.info else composited(upright)
        converted = shown.convert("RGB" if channels == _RGB else "L")
    return from_image(_fitted(converted, size), channels)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], wanted: str) -> Iterator[Image.Image]:
    """Open a picture; whatever is wrong with the file is one error that says what is wanted."""
    try:
        with Image.open(Path(path)) as image:
            yield image
    except FileNotFoundError:
        message = f"No picture {str(path)!r}. Check the path; give {wanted}."
        raise InputError(message, path=Path(path)) from None
    except _BROKEN as error:
        message = f"Cannot read {str(path)!r} as a picture: {error}. Give {wanted}."
        raise InputError(message, path=Path(path)) from error


def _eight_bit(photo: Image.Image) -> Image.Image:
    """Scale 16-bit greys, which Pillow would clip."""
    if photo.mode.startswith("I"):
        return Image.fromarray((np.asarray(photo).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    return photo


def png_bytes(image: Image.Image, text: Mapping[str, Any]) -> bytes:
    """Encode an image as PNG with a recipe in its text."""
    info = PngInfo()
    # Half a surrogate pair, as in the name of a file that is not UTF-8, becomes JSON's own escape.
    info.add_itxt(KEY, json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def read_png(path: str | os.PathLike[str]) -> tuple[Image.Image, dict[str, Any]]:
    """Return the image and the recipe in a PNG file that onnxvis wrote.

    Raises:
        InputError: The file is missing, no picture, or has no recipe in it.
    """
    with _opened(path, "a PNG that onnxvis wrote") as image:
        image.load()
        text = getattr(image, "text", {}).get(KEY)
        copied = image.copy()
        recipe = json.loads(text) if text else None
    if not isinstance(recipe, dict):
        message = f"{str(path)!r} has no recipe in it: it was not written by onnxvis, or has been edited since."
        raise InputError(message, path=Path(path))
    return copied, recipe


def npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Encode an array of numbers as a .npy file.

    Raises:
        ValueError: The array holds Python objects.
    """
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Read a .npy file of real numbers or truth values; nothing in it is ever executed.

    Raises:
        InputError: The file is missing, damaged, no .npy file, or holds something else.
    """
    remedy = "Give a file that numpy.save wrote from an array of numbers."
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            # What NumPy merely frowns upon, such as files of Python 2, is of no interest to the user.
            warnings.simplefilter("ignore")
            array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        message = f"No array {str(path)!r}. Check the path. {remedy}"
        raise InputError(message, path=Path(path)) from None
    except (*_NO_ARRAY, MemoryError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        message = f"Cannot read {str(path)!r} as a .npy file: {reason}. {remedy}"
        raise InputError(message, path=Path(path)) from error
    if array.dtype.kind not in "biuf":
        message = f"{str(path)!r} holds {array.dtype} values. {remedy}"
        raise InputError(message, path=Path(path), dtype=str(array.dtype))
    return array


def check_writable(path: str | os.PathLike[str], suffixes: Sequence[str] = (".png",)) -> None:
    """Find out beforehand whether a file can be written.

    Args:
        path: The file.
        suffixes: What its name may end in, in lower case.

    Raises:
        OutputError: It cannot, or its name ends in something else.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        allowed = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
        why = "pictures are PNG files, which keep every value. " if tuple(suffixes) == (".png",) else ""
        message = f"Cannot write {str(target)!r}: {why}Let the name end in {allowed}."
        raise OutputError(message, path=target, suffixes=tuple(suffixes))
    folder = target.parent
    try:
        if target.is_dir():
            message = f"Cannot write {str(target)!r}: it is a folder. Give a file name."
            raise OutputError(message, path=target)
        if not folder.is_dir():
            message = f"Cannot write {str(target)!r}: there is no folder {str(folder)!r}. Make it first."
            raise OutputError(message, path=target)
        # Permission bits do not tell for root, read-only file systems or full disks.
        with tempfile.TemporaryFile(dir=folder):
            pass
        if target.exists():
            with target.open("ab"):
                pass
    except OSError as error:
        raise _unwritable(target, error) from error


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: Its name ends in none of `SUFFIXES`, or it cannot be written; what was there before is still there.
    """
    target = Path(path)
    check_writable(target, SUFFIXES)
    try:
        with _partial(target.parent) as partial:
            partial.write_bytes(content)
            partial.chmod(0o666 & ~_umask())
            partial.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Give a new file in a folder; whatever happens, it is gone in the end, or has another name."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".onnxvis-")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink(missing_ok=True)


def _unwritable(target: Path, error: OSError) -> OutputError:
    message = f"Cannot write {str(target)!r}: {error.strerror or error}. Choose another place with -o."
    return OutputError(message, path=target)


def _umask() -> int:
    # The only portable way to read it is to set it.
    current = os.umask(0)
    os.umask(current)
    return current


def _fitted(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = max(width / photo.width, height / photo.height)
    box_width, box_height = width / scale, height / scale
    # Rounding must not push the box over the edge.
    left, top = max(0.0, (photo.width - box_width) / 2), max(0.0, (photo.height - box_height) / 2)
    box = (left, top, min(photo.width, left + box_width), min(photo.height, top + box_height))
    return photo.resize((width, height), Image.Resampling.LANCZOS, box=box)
