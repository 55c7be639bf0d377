from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from onnxvis.figures import enlarged, features_plot, history_plot, signal_plot, with_total

WAVE = np.sin(np.arange(200) / 9)
TEXTS = [
    "",
    "$x_",
    "$\\frac$",
    "x_1^2",
    "狐 🦊",
    "\udcff\0",
    "line\nbreak",
    "W" * 10_000,
    "[bold]%s{}[/bold]",
    "\\alpha",
]

DRAWINGS: dict[str, Callable[[str], Image.Image]] = {
    "line": lambda title: signal_plot(WAVE[None], low=-1, high=1, title=title),
    "heat map": lambda title: signal_plot(np.stack([WAVE] * 9), low=-1, high=1, title=title),
    "columns": lambda title: features_plot(WAVE[:30], low=-1, high=1, title=title),
    "bars": lambda title: features_plot(WAVE[:3], low=-1, high=1, title=title, names=["a", title, "c"]),
    "history": lambda title: history_plot({title: [3, 2, 1], "other": [0.1]}, title),
}


BLUE, ORANGE, GREY = "blue", "orange", "grey"


def inked(picture: Image.Image, color: str) -> np.ndarray[Any, Any]:
    """Where a picture has that color, (H, W), thin lines that are blends with the white beside them included."""
    red, green, blue = np.moveaxis(np.asarray(picture).astype(int), -1, 0)
    if color == GREY:
        return np.asarray((red == green) & (abs(green - 176) < 30))
    return np.asarray((blue - red if color == BLUE else red - blue) > 60)


@pytest.mark.parametrize("kind", DRAWINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_can_be_drawn(kind: str, text: str) -> None:
    picture = DRAWINGS[kind](text)
    assert (picture.mode, picture.size) == ("RGB", (640, 360 if kind != "history" else picture.height))


@pytest.mark.parametrize("kind", DRAWINGS)
def test_the_same_numbers_give_the_same_pixels_whatever_the_users_settings(kind: str) -> None:
    expected = DRAWINGS[kind]("title")
    with mpl.rc_context({"figure.facecolor": "black", "font.size": 30, "axes.grid": True, "savefig.dpi": 31}):
        chosen = {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}
        assert DRAWINGS[kind]("title").tobytes() == expected.tobytes()
        assert {name: mpl.rcParams[name] for name in chosen} == chosen


@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_title_is_drawn(kind: str) -> None:
    assert DRAWINGS[kind]("title").tobytes() != DRAWINGS[kind]("other").tobytes()


def test_the_line_follows_the_signal() -> None:
    ramp = inked(signal_plot(np.linspace(0, 1, 100)[None], low=0, high=1), BLUE)
    rows, columns = np.nonzero(ramp)
    assert np.corrcoef(rows, columns)[0, 1] < -0.99
    assert columns.max() - columns.min() > 500
    assert rows.max() - rows.min() > 200


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_each_channel_has_a_panel_of_its_own(channels: int) -> None:
    signal = np.zeros((channels, 100))
    blue = inked(signal_plot(signal, low=-1, high=1), BLUE)
    lines = np.flatnonzero(blue.sum(1) > 400)
    assert np.count_nonzero(np.diff(lines, prepend=-9) > 1) == channels


def test_nine_channels_are_a_heat_map_with_zero_in_white() -> None:
    signal = np.zeros((9, 60))
    signal[0], signal[-1] = -1, 1
    pixels = np.asarray(signal_plot(signal, low=-1, high=1)).astype(int)
    top, middle, bottom = pixels[25, 300], pixels[170, 300], pixels[300, 300]
    assert top[2] > top[0] + 50  # blue
    assert bottom[0] > bottom[2] + 50  # red
    assert middle.min() > 240


def test_the_start_is_a_faint_line_behind() -> None:
    start = np.full((1, 100), -0.5)
    signal = np.full((1, 100), 0.5)
    assert inked(signal_plot(signal, low=-1, high=1), GREY).sum() < 300
    both = signal_plot(signal, low=-1, high=1, start=start)
    assert np.nonzero(inked(both, GREY))[0].mean() > np.nonzero(inked(both, BLUE))[0].mean() + 50
    assert inked(both, GREY).sum() > 300


def span(picture: Image.Image) -> int:
    rows = np.nonzero(inked(picture, BLUE))[0]
    return int(rows.max() - rows.min())


def test_a_panel_shows_the_range_unless_the_signal_is_flat_in_it() -> None:
    half, hardly = signal_plot(WAVE[None] / 2, low=-1, high=1), signal_plot(WAVE[None] / 50, low=-1, high=1)
    assert 120 < span(half) < 170
    assert span(hardly) > 230
    assert span(signal_plot(WAVE[None] / 50, low=-np.inf, high=np.inf)) > 230


def test_plots_that_are_compared_have_one_axis() -> None:
    hardly = signal_plot(WAVE[None] / 50, low=-1, high=1, whole_range=True)
    assert span(hardly) < 15
    bars = features_plot(np.full(3, 0.51), low=0, high=1, whole_range=True)
    assert span(bars) < 15 < span(features_plot(np.full(3, 0.51), low=0, high=1))


@pytest.mark.parametrize("length", [1, 2, 300_000])
@pytest.mark.parametrize("channels", [1, 2, 12])
def test_signals_of_any_length_are_drawn(length: int, channels: int) -> None:
    signal = np.random.default_rng(0).normal(size=(channels, length)) * 1e6
    assert len(np.unique(np.asarray(signal_plot(signal, low=-np.inf, high=np.inf)))) > 10


@pytest.mark.parametrize("count", [3, 40, 41, 3000])
def test_bars_start_at_the_middle_of_the_range(count: int) -> None:
    values = np.where(np.arange(count) < count / 2, 0.9, 0.1)
    picture = features_plot(values, low=0, high=1)
    blue, orange = np.nonzero(inked(picture, BLUE)), np.nonzero(inked(picture, ORANGE))
    assert blue[0].max() <= orange[0].min()
    assert blue[1].max() <= orange[1].min()


def test_bars_without_a_range_start_at_zero() -> None:
    picture = features_plot(np.array([1.0, 2.0, 3.0]), low=-np.inf, high=np.inf)
    assert not inked(picture, ORANGE).any()
    assert inked(picture, BLUE).any()


def test_named_bars_lie_on_their_side_the_first_on_top() -> None:
    picture = features_plot(np.array([0.9, 0.1]), low=0, high=1, names=["first", "second"])
    blue, orange = np.nonzero(inked(picture, BLUE)), np.nonzero(inked(picture, ORANGE))
    assert blue[0].max() < orange[0].min()
    assert orange[1].max() <= blue[1].min()


def test_forty_names_have_room() -> None:
    assert features_plot(np.ones(40), low=0, high=1, names=["name"] * 40).size == (640, 680)
    assert features_plot(np.ones(41), low=0, high=1, names=["name"] * 41).size == (640, 360)


def test_each_loss_has_an_axis_of_its_own() -> None:
    picture = history_plot({"large": [1e9, 0.0, 1e9], "small": [0.0, 1e-9, 0.0]})
    blue = inked(picture, BLUE)
    half = picture.height // 3
    assert blue[:half].sum() > 300
    assert blue[half : 2 * half].sum() > 300


@pytest.mark.parametrize("count", [1, 2, 5])
def test_several_losses_are_drawn_with_their_sum(count: int) -> None:
    history = {f"loss {index}": [float(index), 2.0, -1.0] * 20 for index in range(count)}
    picture = history_plot(history, "title")
    dotless = inked(picture, BLUE).sum(1)
    panels = np.count_nonzero(np.diff(np.flatnonzero(dotless > 10), prepend=-99) > 25)
    assert panels == (1 if count == 1 else count + 1)


def test_the_total_is_the_sum_at_each_step() -> None:
    curves = {"a": np.array([1.0, 2.0]), "b": np.array([-3.0, 0.5])}
    assert with_total(curves)["total"].tolist() == [-2.0, 2.5]
    assert list(with_total(curves)) == ["a", "b", "total"]


@pytest.mark.parametrize(
    "curves",
    [
        {"a": np.ones(3)},
        {"a": np.ones(3), "total": np.ones(3)},
        {"a": np.ones(3), "b": np.ones(2)},
    ],
)
def test_nothing_is_added_up_that_is_one_or_has_a_total_or_other_steps(curves: dict[str, Any]) -> None:
    assert with_total(curves) == curves


def test_a_loss_that_falls_by_orders_of_magnitude_can_be_followed_to_its_end() -> None:
    falling = np.geomspace(1e6, 1, 300)
    rows, columns = np.nonzero(inked(history_plot({"loss": falling.tolist()}), BLUE))
    late = rows[columns > columns.max() - 80]
    assert np.ptp(late) > 10, "on a linear axis the last part would be flat"


@pytest.mark.parametrize("values", [[np.nan] * 3, [1.0, np.inf, 2.0], [0.0, 0.0, 0.0], [1e300, -1e300], [1e-320, 1.0]])
def test_a_history_of_any_numbers_is_drawn(values: list[float]) -> None:
    assert history_plot({"loss": values}).width == 640


@pytest.mark.parametrize(
    "draw",
    [
        lambda: signal_plot(WAVE, low=-1, high=1),
        lambda: signal_plot(np.zeros((2, 0)), low=-1, high=1),
        lambda: signal_plot(WAVE[None], low=-1, high=1, start=WAVE[None, 1:]),
        lambda: signal_plot(WAVE[None] * np.nan, low=-1, high=1),
        lambda: features_plot(WAVE[None], low=-1, high=1),
        lambda: features_plot(WAVE[:0], low=-1, high=1),
        lambda: features_plot(WAVE, low=-1, high=1, names=["one"]),
        lambda: features_plot(WAVE / 0.0, low=-1, high=1),
        lambda: history_plot({}),
        lambda: history_plot({"loss": []}),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], Image.Image]) -> None:
    with pytest.raises(ValueError, match="not "):
        draw()


@pytest.mark.parametrize(
    ("size", "expected"), [((8, 8), (224, 224)), ((28, 14), (224, 112)), ((150, 10), (300, 20)), ((224, 1), (224, 1))]
)
def test_tiny_pictures_are_enlarged_by_a_whole_factor(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 90)
    factor = expected[0] // size[0]
    larger = enlarged(picture)
    assert larger.size == expected
    assert np.array_equal(np.asarray(larger), np.kron(np.asarray(picture), np.ones((factor, factor), np.uint8)))


def test_matplotlib_is_imported_for_plots_alone_and_never_pyplot() -> None:
    code = (
        "import sys; from onnxvis import animation, sheets, figures; assert 'matplotlib' not in sys.modules;"
        "figures.history_plot({'loss': [1]}); assert 'matplotlib' in sys.modules;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
