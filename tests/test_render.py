from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis import render
from onnxvis.errors import InputError, OutputError
from onnxvis.render import check_writable, from_image, png_bytes, read_photo, read_png, to_image, write_file


def levels(channels: int, height: int = 5, width: int = 7) -> Tensor:
    """All 8-bit levels, as values."""
    return (torch.arange(channels * height * width) * 37 % 256).reshape(channels, height, width) / 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 9])
def test_what_is_written_is_read_back_exactly(channels: int, tmp_path: Path) -> None:
    values = levels(channels)
    path = tmp_path / "picture.png"
    write_file(path, png_bytes(to_image(values), {}))
    picture, recipe = read_png(path)
    assert torch.equal(from_image(picture, channels), values)
    assert recipe == {}


def test_values_are_rounded_to_the_nearest_level_and_clipped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 2.0]).reshape(1, 1, 7)
    assert np.asarray(to_image(values)).tolist() == [[0, 0, 0, 1, 254, 255, 255]]


def test_other_channel_counts_are_grey_pictures_side_by_side() -> None:
    values = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)])
    assert np.asarray(to_image(values)).tolist() == [[0] * 3 + [255] * 3] * 2


def test_a_picture_of_another_width_holds_no_channels() -> None:
    with pytest.raises(InputError, match="7 pixels wide does not hold 2 channels"):
        from_image(Image.new("L", (7, 5)), 2)


@pytest.mark.parametrize("text", ["plain", "Füchsin 狐 🦊", "line\nbreak\0null", "\udcff\udc80", '"quoted\\"', ""])
def test_the_recipes_text_survives(text: str, tmp_path: Path) -> None:
    recipe = {"node": text, text: [1, None, 0.1]}
    path = tmp_path / "picture.png"
    path.write_bytes(png_bytes(Image.new("RGB", (2, 2)), recipe))
    assert read_png(path)[1] == recipe


def test_the_recipe_is_readable_by_other_programs() -> None:
    assert "狐".encode() in png_bytes(Image.new("L", (2, 2)), {"node": "狐"})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.exists, "No picture"),
        (lambda path: path.mkdir(), "Cannot read"),
        (lambda path: path.write_bytes(b""), "Cannot read"),
        (lambda path: path.write_text("no picture"), "Cannot read"),
        (lambda path: path.write_bytes(png_bytes(to_image(levels(3)), {})[:-60]), "Cannot read|has no recipe"),
        (lambda path: Image.new("L", (2, 2)).save(path), "has no recipe"),
        (lambda path: path.write_bytes(png_bytes(to_image(levels(3)), [1])), "has no recipe"),  # type: ignore[arg-type] # a list is the point
        (
            lambda path: path.write_bytes(png_bytes(to_image(levels(3)), {"a": 1}).replace(b'{"a"', b'{"a_')),
            "Cannot read",
        ),
    ],
)
def test_what_has_no_recipe_is_refused(make: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(InputError, match=reason):
        read_png(path)


def test_a_damaged_picture_is_never_another_error(tmp_path: Path) -> None:
    content = png_bytes(to_image(levels(3, 20, 20)), {"node": "conv5"})
    draw = np.random.default_rng(0)
    path = tmp_path / "picture.png"
    refused = 0
    for _ in range(150):
        damaged = bytearray(content[: draw.integers(1, 2 * len(content))])
        for _ in range(min(3, len(damaged))):
            damaged[draw.integers(len(damaged))] = draw.integers(256)
        path.write_bytes(damaged)
        for read in (read_png, lambda path: read_photo(path, 3, (4, 4))):
            try:
                read(path)
            except InputError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("picture.jpg", "Let the name end in .png"),
        ("picture", "Let the name end in .png"),
        ("missing/picture.png", "Make it first"),
        ("folder.png", "it is a folder"),
        ("file.png/picture.png", "no folder"),
        ("long" * 100 + ".png", "too long"),
    ],
)
def test_what_cannot_be_written_is_found_beforehand(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.png").touch()
    before = sorted(tmp_path.iterdir())
    for attempt in (check_writable, lambda path: write_file(path, b"content")):
        with pytest.raises(OutputError, match=reason):
            attempt(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="nothing is read-only for root")
@pytest.mark.parametrize("target", ["folder", "file"])
def test_what_is_read_only_is_found_beforehand(target: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    (tmp_path if target == "folder" else path).chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(path)
    tmp_path.chmod(0o700)
    assert path.read_bytes() == b"old"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    check_writable(path)
    write_file(path, b"content")
    assert path.read_bytes() == b"content"


def test_looking_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.PNG"
    check_writable(path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"old")
    check_writable(path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("broken")])
def test_nothing_half_written_remains(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:3])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write_file(path, b"content")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_picture_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_file(tmp_path / "picture.png", b"content")
    assert (tmp_path / "picture.png").stat().st_mode == (tmp_path / "other").stat().st_mode


def saved(image: Image.Image, path: Path, **settings: Any) -> Path:
    image.save(path, **settings)
    return path


def test_a_photo_of_another_shape_is_cropped_to_its_middle(tmp_path: Path) -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255
    path = saved(Image.fromarray(wide), tmp_path / "wide.png")
    values = read_photo(path, 3, (5, 5))
    assert values.shape == (3, 5, 5)
    assert float(values.min()) > 0.9  # the filter sees a little of what is cut off
    tall = saved(Image.fromarray(wide.transpose(1, 0, 2)), tmp_path / "tall.png")
    assert float(read_photo(tall, 1, (10, 10)).min()) == 1
    assert read_photo(path, 1, (3, 12)).shape == (1, 3, 12)


def test_a_photo_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    values = levels(3)
    path = saved(to_image(values), tmp_path / "photo.png")
    assert torch.equal(read_photo(path, 3, (5, 7)), values)


def uniform(mode: str, color: object) -> Image.Image:
    return Image.new(mode, (6, 4), color)  # type: ignore[arg-type] # a color of the mode


@pytest.mark.parametrize(
    ("image", "name", "color"),
    [
        (uniform("RGB", (255, 0, 51)), "a.png", (1, 0, 0.2)),
        (uniform("L", 51), "a.png", (0.2, 0.2, 0.2)),
        (uniform("1", 1), "a.png", (1, 1, 1)),
        (uniform("RGB", (255, 0, 51)).quantize(4), "a.png", (1, 0, 0.2)),
        (uniform("RGBA", (0, 0, 0, 0)), "a.png", (1, 1, 1)),
        (uniform("RGBA", (255, 0, 0, 255)), "a.png", (1, 0, 0)),
        (uniform("LA", (0, 128)), "a.png", (127 / 255, 127 / 255, 127 / 255)),
        (uniform("CMYK", (0, 255, 255, 0)), "a.tif", (1, 0, 0)),
        (Image.fromarray(np.full((4, 6), 13107, np.uint16)), "a.png", (0.2, 0.2, 0.2)),
        (Image.fromarray(np.full((4, 6), 65535, np.uint16)), "a.tif", (1, 1, 1)),
    ],
)
def test_any_kind_of_picture_can_be_read(
    image: Image.Image, name: str, color: tuple[float, float, float], tmp_path: Path
) -> None:
    values = read_photo(saved(image, tmp_path / name), 3, (2, 2))
    assert values[:, 0, 0].tolist() == pytest.approx(color, abs=1e-2)


def test_a_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    path = saved(uniform("RGB", (255, 0, 51)).quantize(4), tmp_path / "a.png", transparency=0)
    assert read_photo(path, 1, (2, 2)).flatten().tolist() == [1, 1, 1, 1]


def test_a_photo_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    half = np.zeros((4, 4), np.uint8)
    half[:, :2] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = saved(Image.fromarray(half), tmp_path / "a.png", exif=exif)
    assert read_photo(path, 1, (4, 4))[0, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("channels", [2, 4, 16])
def test_a_photo_seeds_only_pictures(channels: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"Give an array of shape \({channels}, 4, 5\)"):
        read_photo(tmp_path / "missing.png", channels, (4, 5))


def test_a_missing_or_broken_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed-image"):
        read_photo(tmp_path / "missing.png", 3, (4, 4))
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(buffer.getvalue()[:-200])
    with pytest.raises(InputError, match="Give a PNG or JPEG"):
        read_photo(path, 3, (4, 4))
    with pytest.raises(InputError, match="Cannot read"):
        read_photo(tmp_path, 3, (4, 4))
    with pytest.raises(InputError, match="null"):
        read_photo("a\0b", 3, (4, 4))


def test_the_keyword_in_the_file_is_the_projects_name() -> None:
    assert render.KEY == "onnxvis"
