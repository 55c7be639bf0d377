from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from onnxvis.animation import SUFFIXES, animation_bytes

STRIP = 19
"""Pixels of the strip that holds the label."""
LINE = 17
"""Pixels of each further line."""
ALLOWED = {".gif": 8.0, ".webp": 4.0, ".png": 0.0, ".apng": 0.0}
"""How far the pixels may be from the pictures, on average: a PNG keeps them."""


def noise(count: int, size: tuple[int, int] = (32, 32)) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return [Image.fromarray(each).resize(size, Image.Resampling.BICUBIC) for each in coarse]


def played(content: bytes) -> tuple[list[Image.Image], list[int]]:
    """Return the frames as a viewer shows them, and their milliseconds."""
    with Image.open(io.BytesIO(content)) as animation:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(animation):
            frames.append(frame.convert("RGB"))
            durations.append(int(animation.info["duration"]))
        assert animation.info["loop"] == 0
    return frames, durations


def steps(count: int) -> list[str]:
    return [f"step {index}" for index in range(count)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_frames_are_the_pictures_enlarged(suffix: str) -> None:
    pictures = noise(5)
    frames, _ = played(animation_bytes(pictures, steps(5), suffix))
    assert len(frames) == 5
    for frame, picture in zip(frames, pictures, strict=True):
        assert frame.size == (224, 224 + STRIP)
        shown = np.asarray(frame).astype(float)[:224]
        assert np.abs(shown - np.kron(np.asarray(picture), np.ones((7, 7, 1)))).mean() <= ALLOWED[suffix]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_label_stands_under_its_picture(suffix: str) -> None:
    white = [Image.new("L", (224, 224), 255)] * 3
    frames, _ = played(animation_bytes(white, ["step 1", "step 22", "step 333"], suffix))
    ink = [(255 - np.asarray(frame)[..., 0].astype(int)) > 60 for frame in frames]
    assert not any(each[:224].any() for each in ink)
    widths = [np.ptp(np.flatnonzero(each.any(0))) for each in ink]
    assert widths == sorted(set(widths))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seconds", [1.0, 8.0])
def test_a_run_plays_as_long_as_it_should_and_holds_its_end(suffix: str, seconds: float) -> None:
    _, durations = played(animation_bytes(noise(10), steps(10), suffix, seconds=seconds))
    assert durations == [int(100 * seconds)] * 9 + [int(100 * seconds) + 2000]


def test_no_frame_is_faster_than_browsers_play() -> None:
    _, durations = played(animation_bytes(noise(10), steps(10), seconds=0.0))
    assert durations[0] == 20


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_frames_give_the_same_bytes(suffix: str) -> None:
    assert animation_bytes(noise(3), steps(3), suffix) == animation_bytes(noise(3), steps(3), suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_that_does_not_change_keeps_its_place_in_every_frame(suffix: str) -> None:
    frames, durations = played(animation_bytes(noise(1) * 4, steps(4), suffix))
    assert len(durations) == 4
    first = np.asarray(frames[0]).astype(int)[:224]
    for frame in frames[1:]:
        assert np.abs(np.asarray(frame).astype(int)[:224] - first).mean() < 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("label", ["", "狐 🦊", "\udcff\0", "line\nbreak", "W" * 10_000, "[bold]x[/bold]"])
def test_any_label_can_be_drawn(suffix: str, label: str) -> None:
    frames, _ = played(animation_bytes(noise(2, (16, 400)), [label] * 2, suffix))
    assert frames[0].size == (96, 400 + STRIP + (LINE if "\n" in label else 0))


def test_the_suffix_may_be_in_upper_case() -> None:
    assert animation_bytes(noise(1), ["a"], ".GIF").startswith(b"GIF89a")
    assert animation_bytes(noise(1), ["a"], ".WebP")[8:12] == b"WEBP"
    assert animation_bytes(noise(1), ["a"], ".PNG").startswith(b"\x89PNG")


def test_forty_frames_are_a_small_file() -> None:
    pictures = noise(40, (224, 224))
    gif, webp, png = (len(animation_bytes(pictures, steps(40), suffix)) for suffix in (".gif", ".webp", ".png"))
    assert webp < gif < 2_000_000
    assert png < 5_000_000


def test_what_makes_no_animation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not \[\] with 0 labels"):
        animation_bytes([], [])
    with pytest.raises(ValueError, match="with 1 labels"):
        animation_bytes(noise(2), ["a"])
    with pytest.raises(ValueError, match=r"\(4, 4\), \(32, 32\)"):
        animation_bytes([*noise(1), Image.new("L", (4, 4))], ["a", "b"])
    with pytest.raises(ValueError, match=r"'\.jpg'"):
        animation_bytes(noise(1), ["a"], ".jpg")


def test_an_animated_png_is_a_picture_to_programs_that_know_no_animation() -> None:
    pictures = noise(3, (224, 224))
    with Image.open(io.BytesIO(animation_bytes(pictures, steps(3), ".png"))) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("PNG", 3)
        assert np.array_equal(np.asarray(image.convert("RGB"))[:224], np.asarray(pictures[0]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transparent_frames_are_laid_on_white(suffix: str) -> None:
    frames, _ = played(animation_bytes([Image.new("RGBA", (224, 224), (255, 0, 0, 0))] * 2, steps(2), suffix))
    assert np.asarray(frames[1])[:224].min() > 250


def test_all_frames_have_room_for_the_longest_label() -> None:
    frames, _ = played(animation_bytes(noise(2, (224, 224)), ["step 0", "result\n512"], ".png"))
    assert [frame.height for frame in frames] == [224 + STRIP + LINE] * 2
