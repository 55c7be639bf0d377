from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from onnxvis import render
from onnxvis.errors import InputError, OutputError
from onnxvis.render import (
    check_writable,
    from_image,
    npy_bytes,
    png_bytes,
    read_array,
    read_photo,
    read_png,
    to_image,
    write_file,
)


def levels(channels: int, *sizes: int) -> Tensor:
    """All 8-bit levels, as values."""
    shape = (channels, *(sizes or (5, 7)))
    return (torch.arange(math.prod(shape)) * 37 % 256).reshape(shape) / 255


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


@given(channels=st.integers(1, 70), height=st.integers(1, 6), width=st.integers(1, 6))
def test_any_number_of_channels_is_read_back_exactly(channels: int, height: int, width: int) -> None:
    values = levels(channels, height, width)
    assert torch.equal(from_image(to_image(values), channels), values)


@settings(max_examples=50)
@given(channels=st.integers(1, 12), depth=st.integers(1, 40), height=st.integers(1, 5), width=st.integers(1, 5))
def test_any_volume_is_read_back_exactly(channels: int, depth: int, height: int, width: int) -> None:
    values = levels(channels, depth, height, width)
    assert torch.equal(from_image(to_image(values), channels, depth), values)


@pytest.mark.parametrize(
    "shape", [(1, 5, 7), (2, 5, 7), (3, 5, 7), (9, 5, 7), (1, 4, 5, 7), (3, 4, 5, 7), (2, 4, 5, 7)]
)
def test_an_opacity_changes_no_value_even_where_nothing_is_seen(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = levels(*shape)
    alpha = levels(1, *shape[1:])[0] * (torch.arange(7) % 2)
    path = tmp_path / "picture.png"
    write_file(path, png_bytes(to_image(values, alpha), {"node": "conv5"}))
    picture, recipe = read_png(path)
    assert picture.mode == ("RGBA" if shape[0] == 3 else "LA")
    assert recipe == {"node": "conv5"}
    depth = shape[1] if len(shape) == 4 else None
    assert torch.equal(from_image(picture, shape[0], depth), values)
    plain = to_image(values)
    assert picture.convert(plain.mode).tobytes() == plain.tobytes()


def test_each_channel_and_slice_has_the_opacity_of_its_pixels() -> None:
    alpha = levels(1, 4, 5, 7)[0]
    for channels in (1, 2, 3):
        band = to_image(levels(channels, 4, 5, 7), alpha).getchannel("A")
        read = from_image(band, 1 if channels == 3 else channels, 4)
        assert torch.equal(read, alpha.expand(len(read), 4, 5, 7))


def test_gaps_between_cells_are_opaque() -> None:
    band = np.asarray(to_image(levels(2), torch.zeros(5, 7)).getchannel("A"))
    assert band[:, 7].tolist() == [255] * 5
    assert band.sum() == 5 * 255


def test_an_opacity_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its own size, not \(7, 5\)"):
        to_image(levels(3), torch.zeros(7, 5))


def slow_grid(cells: list[list[list[int]]], columns: int, gap: int) -> list[list[int]]:
    """Paint the cells one by one on mid-grey."""
    height, width, rows = len(cells[0]), len(cells[0][0]), -(-len(cells) // columns)
    picture = [[128] * (columns * (width + gap) - gap) for _ in range(rows * (height + gap) - gap)]
    for index, cell in enumerate(cells):
        for y in range(height):
            for x in range(width):
                picture[index // columns * (height + gap) + y][index % columns * (width + gap) + x] = cell[y][x]
    return picture


@pytest.mark.parametrize(("channels", "columns"), [(2, 2), (4, 2), (5, 3), (7, 3), (12, 4), (64, 8), (65, 9)])
def test_other_channel_counts_are_a_near_square_grid_of_grey_pictures(channels: int, columns: int) -> None:
    values = levels(channels)
    expected = slow_grid((values * 255).round().int().tolist(), columns, gap=1)
    assert np.asarray(to_image(values)).tolist() == expected


def test_two_channels_lie_side_by_side() -> None:
    values = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)])
    assert np.asarray(to_image(values)).tolist() == [[0] * 3 + [128] + [255] * 3] * 2


def test_a_volume_is_a_grid_of_its_slices() -> None:
    values = levels(1, 6, 4, 5)
    expected = slow_grid((values[0] * 255).round().int().tolist(), columns=3, gap=1)
    assert np.asarray(to_image(values)).tolist() == expected


def test_a_volume_of_three_channels_is_a_grid_of_colored_slices() -> None:
    picture = to_image(levels(3, 6, 4, 5))
    assert picture.mode == "RGB"
    for channel, band in enumerate(picture.split()):
        assert np.array_equal(np.asarray(band), np.asarray(to_image(levels(3, 6, 4, 5)[channel : channel + 1])))


def test_slices_of_several_channels_stand_farther_apart_than_their_channels() -> None:
    values = levels(2, 3, 4, 5)
    slices = [np.asarray(to_image(values[:, index])).tolist() for index in range(3)]
    assert np.asarray(to_image(values)).tolist() == slow_grid(slices, columns=2, gap=3)


@pytest.mark.parametrize(
    ("size", "channels", "depth"), [((8, 5), 2, None), ((7, 4), 4, None), ((2, 1), 2, None), ((1, 1), 2, None)]
)
@pytest.mark.parametrize("volume", [False, True])
def test_a_picture_of_another_size_holds_no_grid(
    size: tuple[int, int], channels: int, depth: int | None, *, volume: bool
) -> None:
    if volume:
        channels, depth = 1, channels
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels does not hold .* as a grid of 2x"):
        from_image(Image.new("L", size), channels, depth)


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


@pytest.mark.parametrize("suffix", [".png", ".apng", ".npy", ".json", ".gif", ".webp", ".WebP"])
def test_all_kinds_of_files_are_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"result{suffix}"
    check_writable(path, (".gif", suffix.lower()))
    write_file(path, b"content")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("suffixes", "allowed"),
    [
        ((".npy",), ": Let the name end in .npy."),
        ((".gif", ".webp"), ": Let the name end in .gif or .webp."),
        ((".png", ".gif", ".webp"), ": Let the name end in .png, .gif or .webp."),
        ((".png",), "which keep every value. Let the name end in .png."),
    ],
)
def test_the_refusal_of_a_name_says_what_it_may_end_in(suffixes: tuple[str, ...], allowed: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_writable(tmp_path / "result.txt", suffixes)
    assert caught.value.message.endswith(allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", "float16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_an_array_is_read_back_as_it_was(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    path = tmp_path / "array.npy"
    write_file(path, npy_bytes(array.T))
    read = read_array(path)
    assert read.dtype == array.dtype
    assert np.array_equal(read, array.T)


def test_numpy_reads_the_same() -> None:
    assert np.load(io.BytesIO(npy_bytes(np.arange(3)))).tolist() == [0, 1, 2]


class Harmful:
    """What a pickle can do when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("harm",)


def objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Harmful()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Cannot read"),
        (b"no array", "Cannot read"),
        (npy_bytes(np.arange(9))[:-3], "Cannot read"),
        (pickle.dumps(Harmful()), "Cannot read"),
        (objects(), "Cannot read .* Object arrays"),
        (archive(), "Cannot read"),
        (npy_bytes(np.array(["text"])), "holds <U4 values"),
        (npy_bytes(np.array([1j])), "holds complex128 values"),
        (npy_bytes(np.zeros(2, "f4,i4")), "holds .* values"),
    ],
)
def test_what_holds_no_numbers_is_refused(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"{reason}.*Give a file that numpy.save wrote"):
        read_array("a.npy")
    assert not Path("harm").exists()


def test_an_array_that_python_2_has_written_is_read_without_a_warning(tmp_path: Path) -> None:
    content = npy_bytes(np.arange(6).reshape(2, 3)).replace(b"(2, 3), }", b"(2L,3L),}")
    (tmp_path / "old.npy").write_bytes(content)
    assert read_array(tmp_path / "old.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_missing_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No array .* Check the path"):
        read_array(tmp_path / "missing.npy")
    with pytest.raises(InputError, match="Cannot read"):
        read_array(tmp_path)


def test_objects_are_not_encoded() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        npy_bytes(np.array([None]))


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_array_is_never_another_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    damaged = bytearray(npy_bytes(np.arange(6.0).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(
            st.sampled_from(b"\x00 '\"(){}[],:0195<>fiOUVSL-.\xff")
        )
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    path.write_bytes(damaged[: data.draw(st.integers(0, 2 * len(damaged)))])
    with contextlib.suppress(InputError):
        assert read_array(path).dtype.kind in "biuf"


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


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_picture_that_onnxvis_wrote_is_read_as_it_was_measured(channels: int, tmp_path: Path) -> None:
    values = levels(channels)
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(to_image(values, torch.zeros(5, 7)), {"node": "conv5"}))
    assert torch.equal(read_photo(path, channels, (5, 7)), values)


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
    with pytest.raises(InputError, match="--from"):
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
