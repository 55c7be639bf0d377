from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onnxvis import Animation, History, Step, VisualizationInterrupted, visualize, visualize_filters
from onnxvis.callbacks import Strip
from onnxvis.errors import OutputError, SettingError
from onnxvis.image_input import ImageInput
from onnxvis.preprocess import Preprocess
from onnxvis.render import read_png
from tests.models import conv_net

PICTURE = ImageInput("image", (1, 3, 16, 16), Preprocess(), 3, (16, 16))
SIGNAL = ImageInput("image", (1, 2, 50), Preprocess(layout="NCW"), 2, (50,))


def grey(level: float, count: int = 1, item: ImageInput = PICTURE) -> dict[str, Tensor]:
    return {"image": torch.full((count, *item.image_shape), level)}


def run(
    callback: Animation | Strip | History, steps: int, *, count: int = 1, done: int | None = None, told: bool = True
) -> None:
    """Call a callback as a batch does, with images that become lighter, and a white result."""
    stopped = steps if done is None else done
    for number in range(1, stopped + 1):
        terms = torch.full((1, count), float(number))
        images = grey((number - 1) / steps, count)
        callback(Step(number, steps, ("loss",), terms, images, {}, {"image": PICTURE}))
    if told and not isinstance(callback, History):
        callback.final(grey(1.0, count), stopped)


def shades(strip: Image.Image, row: int = 0, side: int = 224) -> list[int]:
    """The levels of the pictures of a row, each enlarged to so many pixels."""
    y, middle = 8 + side // 2 + row * (side + 19 + 8), 8 + side // 2
    return [int(np.asarray(strip)[y, x, 0]) for x in range(middle, strip.width, side + 8)]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".apng"])
def test_an_animation_shows_the_run_from_its_start_to_its_last_step(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run{suffix}"
    seen: list[Step] = []
    visualize(conv_net(), "logits", 1, steps=30, callbacks=[Animation(path, every=8), seen.append])
    with Image.open(path) as image:
        assert image.n_frames == 5  # type: ignore[attr-defined] # steps 0, 8, 16, 24 and 29
        first = np.asarray(image.convert("RGB"), np.float64)
        image.seek(4)
        last = np.asarray(image.convert("RGB"), np.float64)
    assert first.shape == last.shape
    assert np.abs(first - last).mean() > 1
    start = seen[0].image[0].numpy().transpose(1, 2, 0)
    # The start is what the first frame shows, enlarged by a whole factor.
    scale = first.shape[1] // 16
    drawn = first[scale // 2 : 16 * scale : scale, scale // 2 : 16 * scale : scale]
    assert np.abs(drawn / 255 - start).max() < (0.05 if suffix == ".gif" else 0.1)


def test_a_batch_is_shown_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "run.gif"
    visualize_filters(conv_net(), "logits", [0, 1, 2], steps=4, callbacks=Animation(path))
    with Image.open(path) as image:
        assert image.width > 2.5 * 16


def test_a_history_is_the_losses_before_each_step(tmp_path: Path) -> None:
    path = tmp_path / "losses.json"
    result = visualize(conv_net(), "logits", 1, steps=5, tv_weight=0.1, callbacks=History(path))
    written = json.loads(path.read_text())
    assert written == json.loads(result.history_json())
    assert list(written) == ["activation", "total variation"]
    assert len(written["activation"]) == 5


def test_callbacks_are_finished_when_the_run_is_interrupted(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.number == 3:
            raise KeyboardInterrupt

    history, animation = History(tmp_path / "h.json"), Animation(tmp_path / "a.gif")
    with pytest.raises(VisualizationInterrupted):
        visualize(conv_net(), "logits", 1, steps=9, callbacks=[history, animation, stop])
    assert len(json.loads((tmp_path / "h.json").read_text())["activation"]) == 3
    assert (tmp_path / "a.gif").is_file()


def test_files_that_cannot_be_written_are_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gif"):
        Animation(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="there is no folder"):
        History(tmp_path / "missing" / "h.json")
    with pytest.raises(SettingError, match="at least 1"):
        Animation(tmp_path / "a.gif", every=0)


def test_no_step_writes_no_animation(tmp_path: Path) -> None:
    visualize(conv_net(), "logits", 1, steps=0, callbacks=[Animation(tmp_path / "a.gif")])
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_ends_with_the_result(tmp_path: Path, suffix: str) -> None:
    animation = Animation(tmp_path / f"a{suffix}", every=4)
    run(animation, 10)
    animation.finish()
    assert animation.labels == ["step 0", "step 4", "step 8", "result (10 steps)"]
    with Image.open(animation.path) as image:
        assert getattr(image, "n_frames", 1) == 4
        image.seek(3)
        assert np.asarray(image.convert("RGB"))[:200].min() > 250


def test_an_animation_without_a_result_ends_before_the_last_step(tmp_path: Path) -> None:
    animation = Animation(tmp_path / "a.gif", every=4)
    run(animation, 10, told=False)
    animation.finish()
    assert animation.labels == ["step 0", "step 4", "step 8", "step 9"]


def test_an_animation_shows_batches_of_different_sizes(tmp_path: Path) -> None:
    animation = Animation(tmp_path / "a.png")
    for count in (1, 3):
        run(animation, 2, count=count)
    animation.finish()
    with Image.open(animation.path) as image:
        assert getattr(image, "n_frames", 1) == 6
        assert np.asarray(image.convert("RGB"))[0, -1].min() == 255


def test_an_image_that_came_to_nan_is_grey_in_an_animation(tmp_path: Path) -> None:
    animation = Animation(tmp_path / "a.gif")
    for item in (PICTURE, SIGNAL):
        animation(Step(1, 1, ("loss",), torch.zeros(1, 1), grey(torch.nan, 1, item), {}, {"image": item}))
    assert animation.frames[0].getpixel((3, 3)) == (128, 128, 128)


def test_plots_of_all_steps_have_one_axis(tmp_path: Path) -> None:
    animation = Animation(tmp_path / "a.gif")
    for number, high in enumerate((0.51, 1.0), start=1):
        images = {"image": torch.linspace(0.49, high, 100).view(1, 2, 50)}
        animation(Step(number, 2, ("loss",), torch.zeros(1, 1), images, {}, {"image": SIGNAL}))
    first, second = (np.asarray(frame)[:, :60] for frame in animation.frames)
    assert np.array_equal(first, second), "the labels of the axis are the same"


@pytest.mark.parametrize(
    ("steps", "frames", "shown"),
    [(4, 8, [0, 1, 2]), (20, 4, [4, 8, 16]), (64, 8, [0, 1, 2, 4, 8, 16, 32]), (1, 2, [0])],
)
def test_a_strip_shows_few_steps_and_the_result(tmp_path: Path, steps: int, frames: int, shown: list[int]) -> None:
    strip = Strip(tmp_path / "a.png", frames=frames)
    run(strip, steps)
    strip.finish()
    picture, text = read_png(strip.path)
    last = f"result ({steps} step{'' if steps == 1 else 's'})"
    assert text == {"strip": [*(f"step {number}" for number in shown), last]}
    assert shades(picture) == [*(round(255 * number / steps) for number in shown), 255]


def test_each_image_of_a_batch_has_a_row_and_one_that_ended_early_fewer_pictures(tmp_path: Path) -> None:
    strip = Strip(tmp_path / "a.png", frames=4)
    run(strip, 8, count=2)
    run(strip, 8, count=3, done=3)
    strip.finish()
    picture, text = read_png(strip.path)
    whole, ended = ["step 1", "step 2", "step 4", "result (8 steps)"], ["step 1", "step 2", "result (3 steps)", ""]
    assert text["strip"] == whole * 2 + ended * 3
    rows = [
        [round(255 * level) for level in row] for row in [(1 / 8, 2 / 8, 4 / 8, 1)] * 2 + [(1 / 8, 2 / 8, 1, 1)] * 3
    ]
    assert [shades(picture, row, 128) for row in range(5)] == rows


def test_a_strip_without_a_result_ends_before_the_last_step(tmp_path: Path) -> None:
    strip = Strip(tmp_path / "a.png", frames=3)
    run(strip, 9, done=7, told=False)
    strip.finish()
    assert read_png(strip.path)[1]["strip"] == ["step 4", "step 6"]


def test_a_history_can_be_a_figure(tmp_path: Path) -> None:
    history = History(tmp_path / "losses.png")
    run(history, 5)
    history.finish()
    picture, text = read_png(history.path)
    assert picture.width == 640
    assert text == {"history": {"loss": [1.0, 2.0, 3.0, 4.0, 5.0]}}


@pytest.mark.parametrize("make", [Strip, History, Animation])
def test_no_step_draws_nothing(tmp_path: Path, make: Callable[[Path], Animation | Strip | History]) -> None:
    callback = make(tmp_path / "a.png")
    callback.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_strip_needs_two_pictures_and_a_name_of_a_png(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least 2"):
        Strip(tmp_path / "a.png", frames=1)
    with pytest.raises(OutputError, match=r"\.png"):
        Strip(tmp_path / "a.gif")


@pytest.mark.parametrize("make", [Animation, Strip])
def test_the_same_run_writes_the_same_bytes(tmp_path: Path, make: Callable[[Path], Animation | Strip]) -> None:
    written = []
    for name in ("a.png", "b.png"):
        callback = make(tmp_path / name)
        visualize(conv_net(), "logits", 1, steps=5, callbacks=callback)
        written.append(callback.path.read_bytes())
    assert written[0] == written[1]
