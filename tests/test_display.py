from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxvis.display import gallery_html, notebook_html

VOID = {"img"}
HISTORY = {"activation": [0.0, -1.0, -4.0], "total variation": [1.0, 2.0, 2.5]}
ROWS = [("activation", "0.2 -> 506"), ("kept by 8 bits", "99.8 %")]


def png(size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 90).save(buffer, "PNG")
    return buffer.getvalue()


class Page(HTMLParser):
    """What a browser would make of a fragment: its text, its pictures, and whether its tags are nested."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.images: list[dict[str, str]] = []
        self.text: list[str] = []
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag, which this must be."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Remember a text."""
        self.text.append(data)

    def picture(self, index: int) -> Image.Image:
        """Open one of the pictures."""
        kind, content = self.images[index]["src"].split(",")
        assert kind == "data:image/png;base64"
        return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_card_shows_the_picture_the_numbers_and_a_curve_for_each_loss() -> None:
    content = png()
    page = Page(notebook_html(content, HISTORY, ROWS, "conv5 filter 12"))
    assert base64.b64decode(page.images[0]["src"].split(",")[1]) == content
    assert page.text == [
        *("conv5 filter 12", "activation", "0.2 -> 506", "kept by 8 bits", "99.8 %", "losses over 3 steps"),
        *("activation", "0 → -4", "total variation", "1 → 2.5", "total", "1 → -1.5"),
    ]
    assert len(page.images) == 1 + 3
    assert page.open == []


@pytest.mark.parametrize(
    ("size", "shown"),
    [((16, 12), (224, 168)), ((224, 100), (224, 100)), ((640, 360), (640, 360)), ((100, 1), (300, 3))],
)
def test_a_tiny_picture_is_enlarged_by_a_whole_factor_pixel_by_pixel(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = Page(notebook_html(png(size), {}, [], "")).images[0]
    assert (int(image["width"]), int(image["height"])) == shown
    assert ("pixelated" in image["style"]) == (size != shown)
    assert f"width:{shown[0]}px" in image["style"]


def inked(curve: Image.Image) -> np.ndarray:
    return np.asarray(curve.getchannel("A")) > 128


def test_a_curve_follows_the_loss_on_any_background() -> None:
    falling, rising = (
        Page(notebook_html(png(), {"loss": values}, [], "")).picture(1) for values in (range(50, 0, -1), range(50))
    )
    assert falling.getchannel("A").getextrema() == (0, 255)
    rows, columns = np.nonzero(inked(falling))
    assert np.corrcoef(rows, columns)[0, 1] > 0.95
    upward = np.nonzero(inked(rising))
    assert np.corrcoef(upward[0], upward[1])[0, 1] < -0.95
    assert np.ptp(columns) > 0.95 * falling.width - 10
    color = np.asarray(falling)[inked(falling)][0, :3] / 255
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    on_white, on_black = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05
    assert min(on_white, on_black) > 3, "the least contrast of graphics by WCAG 2.1"


@pytest.mark.parametrize(
    "values", [[3.0], [0.0, 0.0], [np.nan, np.inf], [1.0, np.nan, 2.0], [1.7e308, -1.7e308], [5e-324, 0.0]]
)
def test_a_curve_of_any_numbers_is_drawn(values: list[float]) -> None:
    curve = Page(notebook_html(png(), {"loss": values}, [], "")).picture(1)
    assert inked(curve).any() == bool(np.isfinite(values).any())


def test_without_losses_and_numbers_there_is_a_picture_with_a_title() -> None:
    page = Page(notebook_html(png(), {"loss": []}, [], "title"))
    assert page.text == ["title"]
    assert "table" not in page.seen


@settings(max_examples=30)
@given(text=st.text(), other=st.text())
def test_whatever_a_name_holds_is_text(text: str, other: str) -> None:
    plain = Page(notebook_html(png(), HISTORY | {"name": [1.0] * 3}, [("a", "b")], "c"))
    page = Page(notebook_html(png(), HISTORY | {text: [1.0] * 3}, [(text, other)], other))
    assert page.seen == plain.seen
    assert page.open == []
    gallery = Page(gallery_html([png()], [f"a{text}"], f"a{other}"))
    assert set(gallery.seen) <= {"div", "figure", "img", "figcaption"}


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "' onload='", "&amp;", "\udcff"]
)
def test_what_looks_like_html_is_shown_as_it_is(text: str) -> None:
    shown = text.encode("utf-8", "backslashreplace").decode()
    fragment = notebook_html(png(), {text: [1.0, 2.0]}, [(text, text)], text)
    page = Page(fragment)
    assert page.text.count(shown) == 4
    assert page.images[0]["alt"] == shown
    assert fragment.encode(), "a browser can be sent it"
    assert shown in Page(gallery_html([png()], [text], text)).text


def test_nothing_is_loaded_from_elsewhere() -> None:
    fragment = notebook_html(png(), HISTORY, ROWS, "title") + gallery_html([png()], ["a"], "b")
    without = re.sub(r"data:image/png;base64,[\w+/=]+", "", fragment)
    assert not re.search(r"https?:|url\(|<(script|link|style)\b", without)
    assert not re.search(r"(?<![-\w])(color|background):(?!none)", without), "colors are the page's own"


def test_a_gallery_shows_each_picture_with_its_label() -> None:
    page = Page(gallery_html([png(), png((300, 200))], ["rings\n0.2 -> 5", "dots"], "logits"))
    assert page.text == ["logits", "rings", "0.2 -> 5", "dots"]
    assert [image["width"] for image in page.images] == ["224", "300"]
    assert page.open == []


def test_many_pictures_are_smaller() -> None:
    assert [image["width"] for image in Page(gallery_html([png()] * 10, ["a"] * 10)).images] == ["128"] * 10


def test_each_picture_of_a_gallery_needs_a_label() -> None:
    with pytest.raises(ValueError, match="1 pictures and 2 labels"):
        gallery_html([png()], ["a", "b"])


def test_the_same_input_gives_the_same_text() -> None:
    content = png()
    assert notebook_html(content, HISTORY, ROWS, "title") == notebook_html(content, HISTORY, ROWS, "title")
