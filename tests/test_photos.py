"""A folder of photos is measured as it is: every picture once, in any size, and again when it has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onnxvis.colors import color_matrix_of, natural_color_matrix
from onnxvis.errors import InputError
from onnxvis.photos import folder_checksum, magnitudes_from, photo_colors, photo_files, photo_statistics
from onnxvis.render import read_photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos of several sizes and kinds, one of them in a folder of its own, among other files."""
    draw = np.random.default_rng(0)
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for name, mode, size in (("b.png", "RGB", (30, 21)), ("more/a.JPG", "RGB", (12, 40)), ("c.bmp", "L", (16, 16))):
        channels = (3,) if mode == "RGB" else ()
        pixels = draw.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
        Image.fromarray(pixels, mode).save(photos / name)
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden.png").write_bytes(b"no picture either")
    return photos


def test_pictures_are_found_by_name_in_all_folders(folder: Path) -> None:
    assert [file.relative_to(folder).as_posix() for file in photo_files(folder)] == ["b.png", "c.bmp", "more/a.JPG"]


@pytest.mark.parametrize("size", [(8, 10), (9, 7)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitudes_are_the_mean_over_the_photos(channels: int, size: tuple[int, int], folder: Path) -> None:
    found = magnitudes_from(folder, (channels, *size)).numpy()
    expected = np.zeros((channels, size[0], size[1] // 2 + 1))
    for file in photo_files(folder):
        values = np.clip(read_photo(file, channels, size).double().numpy(), 1 / 1024, 1 - 1 / 1024)
        logits = np.log(values / (1 - values))
        if channels == 3:
            logits = np.einsum("ij,jhw->ihw", np.linalg.inv(natural_color_matrix().double().numpy()), logits)
        expected += np.abs(np.fft.rfft2(logits, norm="ortho")) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_the_photos_own_colors(folder: Path) -> None:
    statistics = photo_statistics(folder, 3, (8, 8))
    photos = torch.stack([read_photo(file, 3, (64, 64)) for file in photo_files(folder)])
    assert statistics.count == 3
    assert statistics.colors is not None
    np.testing.assert_allclose(statistics.colors, color_matrix_of(photos).numpy(), rtol=1e-5, atol=1e-6)
    assert torch.equal(statistics.spectrum, magnitudes_from(folder, (3, 8, 8), colors=statistics.colors))
    assert not torch.equal(statistics.spectrum, magnitudes_from(folder, (3, 8, 8)))
    grey = photo_statistics(folder, 1, (8, 8))
    assert grey.colors is None
    assert torch.equal(grey.spectrum, magnitudes_from(folder, (1, 8, 8)))


def test_uncorrelated_channels_are_those_of_the_images_only_when_wanted(folder: Path) -> None:
    plain = magnitudes_from(folder, (3, 8, 8), decorrelate=False)
    assert plain.shape == (3, 8, 5)
    assert not torch.equal(plain, magnitudes_from(folder, (3, 8, 8)))


def test_real_photos_have_natural_colors_and_a_falling_spectrum(shared: Path) -> None:
    statistics = photo_statistics(shared / "images", 3, (64, 64))
    assert statistics.colors is not None
    brightness = np.array(statistics.colors)[:, 0]
    assert brightness.min() > 0.7
    low, high = statistics.spectrum[0, 2:6, 2:6].mean().item(), statistics.spectrum[0, 20:30, 20:30].mean().item()
    assert low > 4 * high


def test_a_changed_folder_is_measured_anew(folder: Path) -> None:
    before = magnitudes_from(folder, (1, 8, 8))
    assert magnitudes_from(folder, (1, 8, 8)) is before
    Image.new("L", (9, 9), 200).save(folder / "d.png")
    assert not torch.equal(magnitudes_from(folder, (1, 8, 8)), before)


def test_photos_of_one_color_have_no_color_matrix(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "orange").save(tmp_path / name)
    assert photo_colors(tmp_path) is None


def test_the_checksum_knows_names_and_bytes_of_pictures_and_nothing_else(folder: Path) -> None:
    checksum = folder_checksum(folder)
    assert len(checksum) == 64
    (folder / "notes.txt").write_text("changed")
    assert folder_checksum(folder) == checksum
    (folder / "b.png").rename(folder / "bb.png")
    renamed = folder_checksum(folder)
    assert renamed != checksum
    (folder / "bb.png").write_bytes((folder / "bb.png").read_bytes() + b"\0")
    assert folder_checksum(folder) not in {checksum, renamed}
    (folder / "bb.png").write_bytes((folder / "bb.png").read_bytes()[:-1])
    (folder / "bb.png").rename(folder / "b.png")
    assert folder_checksum(folder) == checksum
    assert folder_checksum(str(folder)) == checksum


def test_the_checksum_knows_where_a_picture_ends(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a.png").write_bytes(b"1b.png2")
    (two / "a.png").write_bytes(b"1")
    (two / "b.png").write_bytes(b"2")
    assert folder_checksum(one) != folder_checksum(two)


@pytest.mark.parametrize("what", [photo_files, folder_checksum, photo_colors])
def test_a_folder_without_pictures_is_refused(what: object, tmp_path: Path) -> None:
    assert callable(what)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="put photos there") as caught:
        what(tmp_path)
    assert caught.value.details["path"] == tmp_path
    with pytest.raises(InputError, match=r"No folder .*nowhere"):
        what(tmp_path / "nowhere")


def test_a_damaged_picture_is_named(folder: Path) -> None:
    (folder / "z.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"z\.png.*take it out of the folder"):
        magnitudes_from(folder, (3, 8, 8))


@pytest.mark.parametrize("shape", [(2, 8, 8), (4, 8, 8), (3, 9), (1, 4, 4, 4)], ids=str)
def test_photos_are_refused_for_what_is_no_photo(shape: tuple[int, ...], folder: Path) -> None:
    with pytest.raises(InputError, match=r"give a \.npy file of shape"):
        magnitudes_from(folder, shape)
