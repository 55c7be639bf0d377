"""What a folder of photos says of natural images: their colors, their spectrum, and that it is the same folder.

All pictures in the folder and the folders in it count alike, in the order of their names, whatever their size.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onnxvis.colors import RGB_CHANNELS, Colors, as_colors, color_matrix, color_matrix_of, unmixed
from onnxvis.errors import InputError, SettingError
from onnxvis.images import seed_logits, spatial_axes
from onnxvis.render import read_array, read_photo

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What the name of a picture ends in, in small or capital letters."""
_COLOR_SIZE = (64, 64)
"""Pixels that are enough to know the colors of a photo by."""
_IMAGE_AXES = 2

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class PhotoStatistics:
    """What photos have in common.

    Attributes:
        count: How many there were.
        colors: Their color matrix; None for photos in grey.
        spectrum: (C, H, W // 2 + 1): the mean magnitudes of the Fourier coefficients of their logits, by uncorrelated
            channel, of an orthonormal transform.
    """

    count: int
    colors: Colors | None
    spectrum: Tensor = field(repr=False)


def photo_statistics(folder: str | os.PathLike[str], channels: int, size: int | tuple[int, int]) -> PhotoStatistics:
    """Measure the photos of a folder, cropped to the middle and resized.

    Args:
        folder: With pictures in it or in folders in it.
        channels: 1 or 3.
        size: (height, width) in pixels; one number for both.

    Raises:
        InputError: There is no such folder, it holds no picture or a damaged one, or images of so many channels are no
            photos.
        SettingError: The size is not positive.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        message = f"size must be positive, not {size}."
        raise SettingError(message, size=size)
    colors = photo_colors(folder) if channels == RGB_CHANNELS else None
    spectrum = magnitudes_from(folder, (channels, height, width), colors=colors)
    return PhotoStatistics(len(photo_files(folder)), colors, spectrum)


def photo_colors(folder: str | os.PathLike[str]) -> Colors | None:
    """Compute the color matrix of the photos of a folder; None if all their pixels have the same color.

    Raises:
        InputError: There is no such folder, or it holds no picture or a damaged one.
    """
    return _colors(str(folder), _stamp(folder))


def magnitudes_from(
    path: str | os.PathLike[str],
    image_shape: tuple[int, ...],
    *,
    decorrelate: bool = True,
    colors: Colors | None = None,
) -> Tensor:
    """Read the magnitudes of the Fourier coefficients of natural images, whatever their unit.

    Args:
        path: A folder of photos, of which the mean is taken; or a .npy file of a table, for all channels or for each.
        image_shape: (C, H, W) of the images that they are for.
        decorrelate: Whether three channels are RGB and the magnitudes those of uncorrelated channels.
        colors: The color matrix; None: that of natural images.

    Returns:
        Tensor: (C, H, W // 2 + 1).

    Raises:
        InputError: There is nothing at the path, or it does not fit the images.
    """
    if Path(path).suffix.lower() == ".npy":
        return _magnitudes_of_file(Path(path), image_shape)
    channels, *size = image_shape
    if len(size) != _IMAGE_AXES or channels not in (1, RGB_CHANNELS):
        half = _half(image_shape)
        message = f"Photos have no spectrum for images of shape {image_shape}: give a .npy file of shape {half}."
        raise InputError(message, shape=image_shape)
    return _mean_magnitudes(str(path), _stamp(path), image_shape, decorrelate=decorrelate, colors=colors)


def photo_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the pictures in a folder and the folders in it, by name; hidden ones do not count.

    Raises:
        InputError: There is no such folder, or no picture in it.
    """
    root = Path(folder)
    if not root.is_dir():
        message = f"No folder {str(folder)!r}. Check the path; give a folder of photos."
        raise InputError(message, path=root)
    files = [file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and not _is_hidden(file, root)]
    if not files:
        message = f"No picture in the folder {str(folder)!r}: put photos there, such as .jpg or .png files."
        raise InputError(message, path=root)
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def folder_checksum(folder: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the pictures in a folder: of their names and bytes, in the order of the names.

    Raises:
        InputError: There is no such folder, or no picture in it.
    """
    digest = hashlib.sha256()
    for file in photo_files(folder):
        content = file.read_bytes()
        # Names cannot hold a zero, and the length says where the bytes end.
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _magnitudes_of_file(path: Path, image_shape: tuple[int, ...]) -> Tensor:
    table = read_array(path).astype(np.float32)
    half = _half(image_shape)
    if table.shape not in (half, half[1:]) or not np.isfinite(table).all() or table.min() < 0 or not table.max() > 0:
        message = (
            f"{str(path)!r} holds no spectrum of images {image_shape}: it needs the magnitudes of numpy.fft.rfftn over "
            f"the spatial axes, {half} or {half[1:]}, finite and not negative, and holds an array {table.shape}."
        )
        raise InputError(message, path=path, shape=table.shape)
    return torch.from_numpy(np.broadcast_to(table, half).copy())


@functools.lru_cache(maxsize=8)
def _mean_magnitudes(
    folder: str, stamp: _Stamp, image_shape: tuple[int, ...], *, decorrelate: bool, colors: Colors | None
) -> Tensor:
    matrix = color_matrix(image_shape[0], torch.device("cpu"), decorrelate=decorrelate, colors=colors)
    total = torch.zeros(_half(image_shape), dtype=torch.float64)
    for photo in _photos(folder, image_shape[0], image_shape[1:]):
        channels = unmixed(matrix, seed_logits(photo[None], (1, *image_shape)))
        total += torch.fft.rfftn(channels, dim=spatial_axes(channels.shape), norm="ortho")[0].abs()
    return (total / len(stamp)).float()


@functools.lru_cache(maxsize=8)
def _colors(folder: str, stamp: _Stamp) -> Colors | None:  # noqa: ARG001 - what is kept is of the folder as it was
    photos = torch.stack(list(_photos(folder, RGB_CHANNELS, _COLOR_SIZE)))
    if bool((photos == photos[:1, :, :1, :1]).all()):
        return None
    return as_colors(color_matrix_of(photos))


def _photos(folder: str, channels: int, size: tuple[int, ...]) -> Iterator[Tensor]:
    height, width = size
    for file in photo_files(folder):
        try:
            yield read_photo(file, channels, (height, width))
        except InputError as error:
            message = f"Cannot read {str(file)!r} as a picture: mend it, or take it out of the folder of photos."
            raise InputError(message, path=file) from error


def _stamp(folder: str | os.PathLike[str]) -> _Stamp:
    """Tell a folder's content from an older one of the same name, without reading the pictures."""
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in photo_files(folder))


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _half(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*image_shape[:-1], image_shape[-1] // 2 + 1)
