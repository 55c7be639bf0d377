"""Between arrays and pictures: 8-bit images, PNG files, and the recipe inside them.

A picture that was written can be read back to the very numbers that were written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from onnxvis.errors import InputError, OutputError

KEY = "onnxvis"
"""The keyword under which a PNG's text holds the recipe, as JSON."""
_RGB = 3
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged or no pictures."""


def to_image(image: Tensor) -> Image.Image:
    """Round (C, H, W) values in [0, 1] to an 8-bit image: grey, RGB, or else all channels side by side in grey."""
    levels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    if len(levels) == _RGB:
        return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    # (C, H, W) -> (H, C * W)
    return Image.fromarray(levels.permute(1, 0, 2).flatten(1).contiguous().numpy())


def from_image(image: Image.Image, channels: int) -> Tensor:
    """Return the (C, H, W) values in [0, 1] of an image that `to_image` made.

    Raises:
        InputError: The image does not have that many channels.
    """
    levels = torch.from_numpy(np.array(image.convert("RGB" if channels == _RGB else "L")))
    if channels == _RGB:
        return levels.permute(2, 0, 1).float() / 255
    if levels.shape[1] % channels:
        message = f"A picture {levels.shape[1]} pixels wide does not hold {channels} channels side by side."
        raise InputError(message, width=levels.shape[1], channels=channels)
    return levels.reshape(len(levels), channels, -1).permute(1, 0, 2).float() / 255


def read_photo(path: str | os.PathLike[str], channels: int, size: tuple[int, int]) -> Tensor:
    """Read any picture as (C, H, W) values in [0, 1], cropped to the middle and resized to (height, width).

    Raises:
        InputError: The file is missing or no picture, or the model's input has neither one nor three channels.
    """
    if channels not in (1, _RGB):
        shape = (channels, *size)
        message = f"A picture cannot seed an input of {channels} channels. Give an array of shape {shape}."
        raise InputError(message, channels=channels)
    with _opened(path, "a PNG or JPEG as --seed-image") as photo:
        converted = _eight_bit(ImageOps.exif_transpose(photo)).convert("RGB" if channels == _RGB else "L")
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
    """Scale 16-bit greys, which Pillow would clip, and lay transparent pictures on white, as viewers show them."""
    if photo.mode.startswith("I"):
        return Image.fromarray((np.asarray(photo).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if photo.has_transparency_data:
        front = photo.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, "white"), front)
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


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out beforehand whether a file can be written.

    Raises:
        OutputError: It cannot, or its name does not end in .png.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        message = (
            f"Cannot write {str(target)!r}: pictures are PNG files, which keep every value. Let the name end in .png."
        )
        raise OutputError(message, path=target)
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
        OutputError: It cannot be written; what was there before is still there.
    """
    target = Path(path)
    check_writable(target)
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
    left, top = (photo.width - box_width) / 2, (photo.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    return photo.resize((width, height), Image.Resampling.LANCZOS, box=box)
