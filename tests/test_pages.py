"""Pages are whole, safe, readable for everybody, and need nothing but themselves."""

import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from PIL import Image

from onnxvis.outcomes import CheckReport, Detail, ModelReport, Outcome, Picture
from onnxvis.pages import (
    Bar,
    Markup,
    badge,
    check_page,
    element,
    facts,
    folded,
    markup,
    notes,
    page,
    pictures,
    section,
    table,
)
from tests.test_formats import NASTY, REPORT, REPORTS, TEXTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = frozenset({"meta", "img", "br", "wbr"})
CSS = resources.files("onnxvis").joinpath("pages.css").read_text(encoding="utf-8")


def png(color: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), color).save(stream, "PNG")
    return stream.getvalue()


PICTURES = (Picture("recorded", png()), Picture("now & <then>", png("blue")), Picture("none", b""))
DRIFTED = Outcome("baseline", "fail", "1 unit", (Detail("fail", "it drifted", layer="a" * 90, pictures=PICTURES),))
SHOWN = CheckReport(
    (
        *REPORT.models,
        ModelReport(f"models/{'very-' * 12}long.onnx", (DRIFTED,), {"sha256": "0" * 64}, ("the layout is assumed",)),
    )
)


class Tree(HTMLParser):
    """Elements as they are opened, with their attributes; closing another than the last one opened is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names)
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it is the last one opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep what can be read."""
        if "style" not in self.open:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.found if name == tag]


def checked(text: str) -> Tree:
    """Check what holds for every page."""
    tree = Tree(text)
    assert tree.open == []
    assert {tag for tag, _ in tree.found} & {"script", "iframe", "link", "object", "embed", "form", "base"} == set()
    identifiers = [attributes["id"] for _, attributes in tree.found if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    for tag, attributes in tree.found:
        assert not any(name.startswith("on") for name in attributes)
        assert all(
            attributes[name].startswith(("data:image/png;base64,", "#"))
            for name in ("src", "href")
            if name in attributes
        )
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in ("col", "row")
    assert tree.of("html") == [{"lang": "en"}]
    assert len(tree.of("h1")) == 1
    policy = next(meta["content"] for meta in tree.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    targets = [link["href"][1:] for link in tree.of("a")]
    assert set(targets) <= set(identifiers)
    return tree


@given(REPORTS)
def test_every_report_is_a_balanced_page_without_links_out(report: CheckReport) -> None:
    text = check_page(report)
    text.encode()
    checked(text)


def test_nothing_of_the_page_or_its_style_leads_out() -> None:
    assert re.findall(r"https?:|//\w|@import|url\(", check_page(SHOWN).replace("base64", "")) == []


@given(TEXTS, TEXTS)
def test_texts_come_back_from_the_page_as_they_were_said(first: str, second: str) -> None:
    parts = [section(first, element("p", second, title=first)), table([first], [[second]], label=first)]
    whole = page(first, [*parts, folded(second, notes([first])), facts({first: second})], kind=second)
    tree = checked(whole)
    said = "".join(char if char.isprintable() else " " for char in first)
    assert " ".join(said.split()) in " ".join("".join(tree.texts).split())
    assert tree.of("p")[-1]["title"] == " ".join(said.split())


def test_markup_in_texts_is_text_and_markup_is_not_escaped_again() -> None:
    assert markup("<b>&") == "&lt;b&gt;&amp;"
    assert markup(Markup("<b>")) == "<b>"
    assert element("p", element("b", "<"), "&") == "<p><b>&lt;</b>&amp;</p>"
    assert element("p", title='"<', aria_label="x", class_="y") == '<p title="&quot;&lt;" aria-label="x" class="y"></p>'
    assert "<b>" not in check_page(CheckReport((ModelReport(NASTY, (Outcome("load", "fail", NASTY),)),)))


def test_a_check_page_says_all_that_is_not_fine() -> None:
    tree = checked(check_page(SHOWN))
    texts = " ".join(" ".join(tree.texts).split())
    for model in SHOWN.models:
        assert model.model in texts
        for outcome in model.outcomes:
            assert outcome.text in texts
            assert all(detail.text in texts for detail in outcome.details if detail.status in ("warn", "fail", "error"))
    assert "the layout is assumed" in texts
    assert [image["alt"] for image in tree.of("img")] == ["recorded", "now & <then>"]
    assert "no picture" in texts


def test_models_with_nothing_to_look_at_are_folded_and_the_others_open() -> None:
    fine = ModelReport("fine.onnx", (Outcome("load", "pass", "a model"),))
    opened = ["open" in details for details in checked(check_page(CheckReport((fine, *SHOWN.models)))).of("details")]
    assert opened == [False, True, True, True]
    assert ["open" in details for details in checked(check_page(CheckReport((fine,)))).of("details")] == [True]


def test_of_many_details_the_later_ones_are_folded_but_there() -> None:
    details = tuple(Detail("fail", f"layer {number} is off") for number in range(9))
    tree = checked(check_page(CheckReport((ModelReport("m", (Outcome("agreement", "fail", "9", details),)),))))
    assert [text for text in tree.texts if "is off" in text] == [f"layer {number} is off" for number in range(9)]
    assert len(tree.of("details")) == 2


def test_columns_of_numbers_are_aligned_and_bars_have_their_share() -> None:
    rows: list[Any] = [["a", 0.123456, Bar("1e-3", 0.25, "warn"), None], ["b", 3, Bar("nan", float("nan")), "x"]]
    tree = Tree(table(["layer", "cosine", "error", "note"], rows, label="Layers"))
    heads = [head.get("class") for head in tree.of("th") if head["scope"] == "col"]
    assert heads == [None, "number", "number", None]
    cells = tree.of("td")
    assert [cell.get("class") for cell in cells[:3]] == ["number", "number bar warn", None]
    assert [cell["style"] for cell in cells if "style" in cell] == ["--share: 25.0%", "--share: 100.0%"]
    assert "0.1235" in tree.texts
    assert tree.of("div")[0]["aria-label"] == "Layers"


def test_a_status_is_a_word_whose_sign_is_not_read_aloud() -> None:
    tree = Tree(badge("fail"))
    assert "".join(tree.texts).endswith(" failed")
    assert tree.of("span")[1] == {"aria-hidden": "true"}
    assert Tree(badge("fail", "not the same")).texts[-1] == " not the same"


def luminance(color: str) -> float:
    """Return the relative luminance of #rrggbb, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_have_the_contrast_that_everybody_needs(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme]))
    pairs = [(word, back) for word in ("ink", "quiet", "link") for back in ("paper", "card")]
    pairs += [(word, f"{word}-back") for word in ("pass", "warn", "fail", "error", "skip")]
    # Numbers stand on their bars.
    pairs += [("ink", f"{word}-back") for word in ("pass", "warn", "fail", "skip")]
    assert [(pair, ratio) for pair in pairs if (ratio := contrast(colors[pair[0]], colors[pair[1]])) < 4.5] == []


def test_the_style_knows_every_class_that_is_used() -> None:
    tree = checked(check_page(SHOWN))
    used = {name for _, attributes in tree.found for name in attributes.get("class", "").split()}
    assert {name for name in used if f".{name}" not in CSS} == set()


# The page stands in a frame, because no window is as narrow as a telephone; what looks at it is outside, so that its
# own policy holds.
FRAME = """<!DOCTYPE html>
<html style="color-scheme: light dark"><title></title>
<iframe style="border: 0; height: 900px; width: {width}px" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  page.querySelectorAll("details").forEach(item => item.open = true);
  const root = page.documentElement, images = [...page.images];
  document.title = JSON.stringify({{
    images: images.length,
    decoded: images.filter(image => image.naturalWidth > 0 && image.getBoundingClientRect().width > 20).length,
    width: root.clientWidth,
    wide: root.scrollWidth > root.clientWidth,
    cut: [...page.querySelectorAll("h1, h2, h3, p, code, dd, figcaption, .badge")].filter(
      item => !item.closest(".scroll") && item.getBoundingClientRect().right > root.clientWidth).length,
    back: getComputedStyle(root).backgroundColor,
    scripted: page.title,
  }});
}}, 50));
</script>"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that opens a page in a browser of its own, and says what is seen there."""
    if CHROMIUM is None:
        pytest.skip("needs chromium on the path")

    def run(text: str, width: int, scheme: str = "light") -> dict[str, Any]:
        path = tmp_path / "frame.html"
        path.write_text(FRAME.format(width=width, page=html.escape(text)), encoding="utf-8")
        dom = dumped(path, tmp_path / f"profile-{width}-{scheme}", scheme)
        found = re.search(r"<title>(\{.*?\})</title>", dom)
        assert found is not None, dom[:300]
        seen = json.loads(html.unescape(found.group(1)))
        assert width - 20 <= seen["width"] <= width  # the scroll bar takes some
        return dict(seen)

    return run


def dumped(path: Path, profile: Path, scheme: str) -> str:
    """Return a file as a browser has it after its scripts; nothing can be reached from there."""
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *(f"--user-data-dir={profile}", "--window-size=1300,1000", "--virtual-time-budget=3000"),
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
    ]
    command = [str(CHROMIUM), *options, "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True, encoding="utf-8").stdout


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1200, "dark")])
def test_a_browser_shows_all_pictures_and_needs_no_scrolling_sideways(
    width: int, scheme: str, browse: Callable[..., dict[str, Any]]
) -> None:
    seen = browse(check_page(SHOWN), width, scheme)
    assert (seen["images"], seen["decoded"]) == (2, 2)
    assert not seen["wide"]
    assert seen["cut"] == 0
    assert (seen["back"] == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_probe_sees_pictures_that_are_broken_and_pages_that_are_too_wide(
    browse: Callable[..., dict[str, Any]],
) -> None:
    broken = pictures([Picture("broken", b"no picture"), PICTURES[0]])
    wide = Markup('<div style="width: 900px">wide</div>')
    seen = browse(page("Broken", [broken, wide]), 400)
    assert (seen["images"], seen["decoded"]) == (2, 1)
    assert seen["wide"]


@pytest.mark.parametrize("with_policy", [True, False])
def test_the_policy_of_the_page_forbids_scripts(with_policy: bool, browse: Callable[..., dict[str, Any]]) -> None:
    text = check_page(SHOWN).replace("</body>", "<script>document.title = 'scripted'</script></body>")
    policy = "" if with_policy else r'<meta http-equiv="Content-Security-Policy"[^>]*>'
    seen = browse(re.sub(policy, "", text) if policy else text, 400)
    assert (seen["scripted"] == "scripted") != with_policy
