"""Plots of signals, features and losses, as RGB pictures.

The same numbers give the same pixels, whatever the user has set matplotlib to. It is imported when a plot is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

_WIDTH, _HEIGHT, _DPI = 640, 360, 100
_TITLE_LETTERS = 72
_NAME_LETTERS = 28
_NAME_OF_LOSS_LETTERS = 56
_TOTAL = "total"
_STEEP = 100
"""How much larger than most the largest value of a curve is where a linear axis shows nothing of the others."""
_LINEAR, _MOST_RATIO = 0.1, 1e6
"""The part of the values that lie where a logarithmic axis is linear, around zero; and its largest ratio."""
_MOST_PANELS = 8
_PANEL_HEIGHT = 60
_MOST_BARS = 40
_BAR_HEIGHT = 15
_FRAME_HEIGHT = 80
"""Pixels that the title and the labels of the axes take of a plot's height."""
_FEW_SAMPLES = 48
"""Up to so many samples a line shows where they are."""
_FLAT = 0.2
"""What spans less than this part of its range is drawn larger."""
_LINE, _BELOW, _FAINT = "#1f5fa8", "#c4511c", "#b0b0b0"
_STYLE = {
    "axes.formatter.useoffset": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.07,
    "font.size": 9.0,
    "lines.linewidth": 1.1,
    "text.parse_math": False,  # a "$" in a name is a dollar sign
}


def signal_plot(
    signal: Array,
    *,
    low: float,
    high: float,
    title: str = "",
    start: Array | None = None,
    whole_range: bool = False,
) -> Image.Image:
    """Draw each channel of a signal as a line above the samples; more than eight channels as a heat map.

    Args:
        signal: (C, L).
        low: Least value that the signal may have; with `high` the height of a panel, where the signal uses it.
        high: Greatest value.
        title: One line above the plot; what does not fit is cut off.
        start: What the signal was before the optimization, (C, L): a faint line behind it. Heat maps do not show it.
        whole_range: Whether the axis has the whole range even where the signal uses little of it: plots that are
            compared have one axis.

    Raises:
        ValueError: The signal or its start is not (C, L), or is empty.
    """
    values, before = np.asarray(signal), signal if start is None else np.asarray(start)
    if values.ndim != 2 or values.size == 0 or values.shape != before.shape:  # noqa: PLR2004 - (C, L)
        message = f"a signal and its start are (C, L), not {values.shape} and {before.shape}"
        raise ValueError(message)
    limits = _limits(np.stack([values, before]), low, high, whole=whole_range)
    if len(values) > _MOST_PANELS:
        return _drawn(lambda figure: _draw_heat_map(figure, values, limits), title)

    def draw(figure: Figure) -> None:
        for axes, line, faint in zip(_panels(figure, values.shape, "sample"), values, before, strict=True):
            if start is not None:
                axes.plot(faint, color=_FAINT)
            axes.plot(line, color=_LINE, marker=_marker(len(line)))
            axes.set_ylim(*limits)
        if len(values) > 1:
            figure.supylabel("channel", fontsize=9)
            for channel, axes in enumerate(figure.axes):
                axes.set_ylabel(f"{channel}", rotation=0, labelpad=8, va="center")

    return _drawn(draw, title, _FRAME_HEIGHT + len(values) * _PANEL_HEIGHT)


def features_plot(
    features: Array,
    *,
    low: float,
    high: float,
    title: str = "",
    names: Sequence[str] | None = None,
    whole_range: bool = False,
) -> Image.Image:
    """Draw each feature as a bar from the middle of its range; more than forty as thin lines without names.

    Args:
        features: (F,).
        low: Least value that a feature may have; without a finite range, bars start at 0.
        high: Greatest value.
        title: One line above the plot; what does not fit is cut off.
        names: One name for each feature, drawn beside bars that then lie on their side.
        whole_range: As in `signal_plot`.

    Raises:
        ValueError: The features are not (F,), there are none, or there is another number of names.
    """
    values = np.asarray(features)
    if values.ndim != 1 or values.size == 0 or (names is not None and len(names) != len(values)):
        message = f"features are (F,) with one name for each, not {values.shape} with {names and len(names)} names"
        raise ValueError(message)
    middle = (low + high) / 2 if np.isfinite([low, high]).all() else 0.0
    limits = _limits(np.append(values, middle), low, high, whole=whole_range)
    if names is None or len(values) > _MOST_BARS:
        return _drawn(lambda figure: _draw_columns(figure, values, middle, limits), title)
    height = _FRAME_HEIGHT + len(values) * _BAR_HEIGHT
    return _drawn(lambda figure: _draw_named_bars(figure, values, middle, limits, names), title, height)


def history_plot(
    history: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]], title: str = ""
) -> Image.Image:
    """Draw each loss of a run above the steps, on an axis of its own, with its first and last value; and their sum.

    An axis is logarithmic (around zero linear) where most of a loss would lie flat on the bottom of a linear one.

    Args:
        history: The weighted values of each loss before each step, by its name; or, as `Result.history` has them, for
            each step those of all losses.
        title: One line above the plot; what does not fit is cut off.

    Raises:
        ValueError: There is no loss, or one without values.
    """
    if not isinstance(history, Mapping):
        history = {name: [step[name] for step in history] for name in (history[0] if history else ())}
    if not history or not all(len(values) for values in history.values()):
        message = f"a history has at least one loss and one step, not { ({k: len(v) for k, v in history.items()}) }"
        raise ValueError(message)
    curves = with_total({name: np.asarray(values, np.float64) for name, values in history.items()})

    def draw(figure: Figure) -> None:
        panels = _panels(figure, (len(curves), max(map(len, curves.values()))), "step")
        for axes, (name, values) in zip(panels, curves.items(), strict=True):
            axes.plot(values, color=_LINE, marker=_marker(len(values)))
            _fit_scale(axes, values)
            change = f"{values[0]:.4g} → {values[-1]:.4g}"
            axes.set_title(_drawable(name, _NAME_OF_LOSS_LETTERS), loc="left", fontsize=9, pad=3)
            axes.set_title(change, loc="right", fontsize=9, pad=3)

    return _drawn(draw, title, _FRAME_HEIGHT + len(curves) * (_PANEL_HEIGHT + 30))


def with_total(curves: Mapping[str, Array]) -> dict[str, Array]:
    """Add the sum of the losses, named "total", where there are several of one length, and none is called so."""
    if len(curves) == 1 or _TOTAL in curves or len({len(values) for values in curves.values()}) > 1:
        return dict(curves)
    return {**curves, _TOTAL: np.sum(list(curves.values()), axis=0)}


def enlarged(image: Image.Image, least: int = 224) -> Image.Image:
    """Enlarge a tiny picture by a whole factor, pixel by pixel, until its longer side has `least` pixels."""
    factor = -(-least // max(image.size))
    if factor <= 1:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _drawn(draw: Callable[[Figure], None], title: str, height: int = _HEIGHT) -> Image.Image:
    """Let a figure be drawn and return its pixels; matplotlib's settings are the user's own again afterwards."""
    from matplotlib import style  # noqa: PLC0415 - takes half a second that only plots need
    from matplotlib.figure import Figure  # noqa: PLC0415

    pixels = io.BytesIO()
    size = (_WIDTH, max(height, _HEIGHT))
    with style.context(["default", _STYLE]):
        inches = (size[0] / _DPI, size[1] / _DPI)
        figure = Figure(figsize=inches, dpi=_DPI, layout="constrained", facecolor="white")
        if title:
            figure.suptitle(_drawable(title, _TITLE_LETTERS), fontsize=10)
        draw(figure)
        figure.savefig(pixels, format="rgba")
    return Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")


def _drawable(text: str, letters: int) -> str:
    """Put a text on one line of so many letters, with a box for each letter that matplotlib's own font lacks."""
    from matplotlib.font_manager import findfont, get_font  # noqa: PLC0415 - as above

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    line = " ".join(text.split())
    shown = line if len(line) <= letters else f"{line[: letters - 1]}…"
    return "".join(letter if ord(letter) in known else "□" for letter in shown)


def _panels(figure: Figure, shape: tuple[int, ...], x_label: str) -> Sequence[Axes]:
    """Add plots one above the other, for lines of (count, length), that share an x axis of whole numbers."""
    count, length = shape
    panels: list[Axes] = list(figure.subplots(count, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        axes.grid(visible=True, alpha=0.25, linewidth=0.6)
        axes.locator_params(axis="y", nbins=3 if count > 1 else 6)
    panels[-1].set_xlabel(x_label)
    panels[-1].set_xlim(-0.5, length - 0.5)
    panels[-1].locator_params(axis="x", integer=True, min_n_ticks=1)
    return panels


def _fit_scale(axes: Axes, values: Array) -> None:
    """Make the axis of a loss logarithmic where a few values are much larger than most; write its numbers plainly."""
    sizes = np.abs(values[np.isfinite(values)])
    usual, largest = (float(np.median(sizes)), float(sizes.max())) if sizes.size else (0.0, 0.0)
    if usual > 0 and largest > _STEEP * usual:
        small = float(np.quantile(sizes, _LINEAR))
        axes.set_yscale("symlog", linthresh=max(small, largest / _MOST_RATIO))
        axes.set_yticks(_decades(values[np.isfinite(values)]))
        axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    axes.margins(y=0.08)


def _decades(values: Array) -> list[float]:
    """Return the least and the greatest power of ten, or its negative, in the range of some values."""
    least, most = float(values.min()), float(values.max())
    return [_power(least, up=least > 0), _power(most, up=most < 0)]


def _power(value: float, *, up: bool) -> float:
    """Return the power of ten next to a value, of its sign: farther from zero or nearer to it; of 0, 0."""
    if value == 0:
        return 0.0
    exponent = math.log10(abs(value))
    return math.copysign(10.0 ** (math.ceil(exponent) if up else math.floor(exponent)), value)


def _draw_heat_map(figure: Figure, values: Array, limits: tuple[float, float]) -> None:
    axes = figure.subplots()
    low, high = limits
    if low < 0 < high:
        # White is zero.
        colors, low, high = "RdBu_r", min(low, -high), max(high, -low)
    else:
        colors = "viridis"
    shown = axes.imshow(values, aspect="auto", interpolation="nearest", cmap=colors, vmin=low, vmax=high)
    axes.set(xlabel="sample", ylabel="channel")
    axes.locator_params(integer=True)
    figure.colorbar(shown, ax=axes, pad=0.02)


def _draw_columns(figure: Figure, values: Array, middle: float, limits: tuple[float, float]) -> None:
    axes = figure.subplots()
    places = np.arange(len(values))
    if len(values) > _MOST_BARS:
        axes.vlines(
            places, middle, values, colors=_sides(values, middle), linewidth=max(0.7, min(3.0, 400 / len(values)))
        )
    else:
        axes.bar(places, values - middle, bottom=middle, color=_sides(values, middle), width=0.7)
    axes.axhline(middle, color="black", linewidth=0.8)
    axes.set(xlabel="feature", xlim=(-0.7, len(values) - 0.3), ylim=limits)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _draw_named_bars(
    figure: Figure, values: Array, middle: float, limits: tuple[float, float], names: Sequence[str]
) -> None:
    axes = figure.subplots()
    places = np.arange(len(values))
    axes.barh(places, values - middle, left=middle, color=_sides(values, middle), height=0.7)
    axes.axvline(middle, color="black", linewidth=0.8)
    axes.set_yticks(places, [_drawable(name, _NAME_LETTERS) for name in names])
    axes.set(xlim=limits, ylim=(len(values) - 0.4, -0.6))


def _sides(values: Array, middle: float) -> list[str]:
    return [_LINE if value >= middle else _BELOW for value in values]


def _marker(count: int) -> str:
    return "." if count <= _FEW_SAMPLES else ""


def _limits(values: Array, low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """Return the range of an axis, and a margin: what is allowed, or where the values use little of it, what they use.

    Raises:
        ValueError: A value is infinite or NaN.
    """
    least, most = float(values.min()), float(values.max())
    if not np.isfinite([least, most]).all():
        message = f"only finite values can be drawn, not {least} to {most}"
        raise ValueError(message)
    if np.isfinite([low, high]).all() and (whole or most - least >= _FLAT * (high - low)):
        least, most = min(least, low), max(most, high)
    margin = 0.04 * (most - least) or max(1.0, abs(most)) / 2
    return least - margin, most + margin
