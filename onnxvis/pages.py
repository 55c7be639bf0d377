"""Pages that need nothing but themselves: no script, no network, every text escaped, every picture inside."""

from __future__ import annotations

import base64
import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath
from typing import get_args

from onnxvis.config import CHECKS
from onnxvis.outcomes import CheckReport, Detail, ModelReport, Outcome, Picture, Status
from onnxvis.summaries import concerns, duration, headline, is_fine, one_line

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""A page may show its own style and its own pictures, and do nothing else."""
_SIGNS: Mapping[Status, str] = {"pass": "✓", "skip": "-", "warn": "!", "fail": "✕", "error": "?"}
_WORDS: Mapping[Status, str] = {
    "pass": "passed",
    "skip": "skipped",
    "warn": "warning",
    "fail": "failed",
    "error": "not done",
}
_SHOWN = 5
"""Details of one check that are shown at once; the others unfold."""


class Markup(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


_SPACE = Markup(" ")


@dataclass(frozen=True)
class Bar:
    """A number of a table with a bar behind it.

    Attributes:
        text: What is written.
        share: The bar's length, in [0, 1].
        status: What gives it its color; None: it has no meaning of its own.
    """

    text: str
    share: float
    status: Status | None = None


Cell = str | float | Bar | None
"""What a table's cell may hold: a text or `Markup`, a number, a number with a bar, or nothing."""


def markup(text: object) -> Markup:
    """Return a text as HTML, on one line and without characters that cannot be seen; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(one_line(str(text))))


def element(tag: str, *content: object, **attributes: str) -> Markup:
    """Return an element; texts are escaped, and an attribute's name may end in an underscore."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(one_line(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{named}>{''.join(map(markup, content))}</{tag}>")


def page(title: str, sections: Iterable[Markup], *, kind: str = "", header: Iterable[Markup] = ()) -> str:
    """Return a whole page.

    Args:
        title: What it says, in one line.
        sections: What follows below.
        kind: What sort of page it is, in a few words above the title.
        header: What stands below the title.
    """
    style = resources.files(__package__).joinpath("pages.css").read_text(encoding="utf-8")
    kicker = [element("p", kind, class_="kind")] if kind else []
    top = element("header", *kicker, element("h1", title), *header)
    shown = f"{kind}: {title}" if kind else title
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{element('title', shown)}\n<style>\n{style}</style>"
    )
    body = "\n".join([top, element("main", Markup("\n"), Markup("\n".join(sections)), Markup("\n"))])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def section(heading: str | Markup, *content: Markup) -> Markup:
    """Return a part of a page under its heading."""
    return element("section", element("h2", heading), Markup("\n"), *content)


def badge(status: Status, word: str | None = None) -> Markup:
    """Return a status as a word (None: its own) with a sign, in its color."""
    sign = element("span", _SIGNS[status], aria_hidden="true")
    return element("span", sign, _SPACE, _WORDS[status] if word is None else word, class_=f"badge {status}")


def table(headers: Sequence[str | Markup], rows: Iterable[Sequence[Cell]], *, label: str, class_: str = "") -> Markup:
    """Return a table, which scrolls by itself where it is wider than the page.

    Args:
        headers: A word for each column.
        rows: The cells of each row, the first of which names it. Columns of numbers are aligned to the right.
        label: What the table is of, for those who cannot see it.
        class_: Names for the style.
    """
    kept = [list(row) for row in rows]
    numeric = [any(isinstance(row[column], (int, float, Bar)) for row in kept) for column in range(len(headers))]
    heads = [
        element("th", head, scope="col", **({"class_": "number"} if is_number else {}))
        for head, is_number in zip(headers, numeric, strict=True)
    ]
    lines = [
        element("tr", *(_cell(cell, number=numeric[column], first=column == 0) for column, cell in enumerate(row)))
        for row in kept
    ]
    body = Markup("\n".join(lines))
    named = {"class_": class_} if class_ else {}
    whole = element("table", element("thead", element("tr", *heads)), Markup("\n"), element("tbody", body), **named)
    return element("div", whole, class_="scroll", role="region", aria_label=label, tabindex="0")


def pictures(shown: Iterable[Picture]) -> Markup:
    """Return pictures side by side, each with its title below."""
    return element("div", *map(_figure, shown), class_="pictures")


def folded(summary: str | Markup, *content: Markup, is_open: bool = False) -> Markup:
    """Return content that unfolds under its summary."""
    inner = Markup("".join([element("summary", summary), *content]))
    return Markup(f"<details{' open' if is_open else ''}>{inner}</details>")


def facts(known: Mapping[str, object]) -> Markup:
    """Return what is known, by name."""
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in known.items())
    return element("dl", *pairs, class_="facts")


def notes(texts: Iterable[str]) -> Markup:
    """Return sentences as a list."""
    return element("ul", *(element("li", text) for text in texts), class_="notes")


def check_page(report: CheckReport) -> str:
    """Return a report of checks as a page, with all its details and pictures.

    Of several models there is an overview first. Models with nothing to look at are folded.
    """
    single = len(report.models) == 1
    verdict = badge("pass", "good") if report.ok else badge("fail", "not good")
    header = element("p", verdict, element("span", _told(report), class_="quiet"), class_="verdict")
    overview = [] if single or not report.models else [section("Overview", _matrix(report))]
    title = (
        f"{PurePath(report.models[0].model).name} {headline(report).removeprefix('1 model ')}"
        if single
        else headline(report)
    )
    models = [
        _model(model, index, is_open=single or not is_fine(model.status)) for index, model in enumerate(report.models)
    ]
    return page(title, [*overview, *models], kind="onnxvis check", header=[header])


def _told(report: CheckReport) -> str:
    rules = {"warn": "warnings count as failures", "fail": "warnings are allowed", "never": "failures are allowed"}
    counts = Counter(outcome.status for model in report.models for outcome in model.outcomes)
    words = {**_WORDS, "warn": "with warnings"}
    parts = [f"{counts[status]} {words[status]}" for status in get_args(Status) if counts[status]]
    return " · ".join([f"checks: {', '.join(parts) or 'none'}", rules[report.fail_on], duration(report.seconds)])


def _matrix(report: CheckReport) -> Markup:
    """Return a table with a row for each model and a column for each check."""
    used = dict.fromkeys(outcome.check for model in report.models for outcome in model.outcomes)
    names = [name for name in CHECKS if name in used] + [name for name in used if name not in CHECKS]
    rows = []
    for index, model in enumerate(report.models):
        outcomes = {outcome.check: outcome for outcome in model.outcomes}
        link = element("a", model.model, href=f"#model-{index}")
        rows.append([link, badge(model.status), *(_sign(outcomes.get(name)) for name in names)])
    heads = [element("span", name) for name in names]
    return table(["model", "status", *heads], rows, label="Models and checks", class_="matrix")


def _sign(outcome: Outcome | None) -> Markup:
    if outcome is None:
        return Markup()
    sign = element("span", _SIGNS[outcome.status], aria_hidden="true")
    word = element("span", _WORDS[outcome.status], class_="unseen")
    return element("span", sign, word, class_=f"sign {outcome.status}", title=f"{outcome.check}: {outcome.text}")


def _model(model: ModelReport, index: int, *, is_open: bool) -> Markup:
    heading = element("h2", element("code", model.model), _SPACE, badge(model.status))
    known = [facts(model.facts)] if model.facts else []
    assumed = [notes(model.notes)] if model.notes else []
    checks = element("ol", *map(_outcome, model.outcomes), class_="checks")
    inner = folded(heading, *known, *assumed, checks, is_open=is_open)
    return element("section", inner, class_="model", id=f"model-{index}")


def _outcome(outcome: Outcome) -> Markup:
    line = element(
        "div",
        element("h3", outcome.check),
        badge(outcome.status),
        element("p", outcome.text),
        element("span", duration(outcome.seconds), class_="quiet"),
        class_="line",
    )
    found = concerns(outcome)
    first = [details(found[:_SHOWN])] if found else []
    count = len(found) - _SHOWN
    others = [folded(f"{count} more", details(found[_SHOWN:]))] if count > 0 else []
    return Markup(f"{element('li', line, *first, *others)}\n")


def details(found: Sequence[Detail]) -> Markup:
    """Return what was seen as a list, with its figures and pictures."""
    return element("ul", *map(_detail, found), class_="details")


def _detail(detail: Detail) -> Markup:
    place = detail.layer if detail.layer is not None else detail.tensor
    parts = [badge(detail.status), element("div", *([element("code", place)] if place is not None else []))]
    parts.append(element("p", detail.text))
    if detail.figures:
        parts.append(facts({name: _number(value) for name, value in detail.figures.items()}))
    if detail.pictures:
        parts.append(pictures(detail.pictures))
    return element("li", *parts, class_=detail.status)


def _cell(cell: Cell, *, number: bool, first: bool) -> Markup:
    text = cell.text if isinstance(cell, Bar) else "" if cell is None else _number(cell)
    attributes = {"class_": "number"} if number and not first else {}
    if isinstance(cell, Bar):
        share = min(max(cell.share, 0.0), 1.0) if math.isfinite(cell.share) else 1.0
        attributes = {"class_": f"number bar {cell.status or ''}".strip(), "style": f"--share: {share:.1%}"}
    return element("th", text, scope="row", **attributes) if first else element("td", text, **attributes)


def _number(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else value


def _figure(picture: Picture) -> Markup:
    caption = element("figcaption", picture.title)
    if not picture.png:
        return element("figure", element("div", "no picture", class_="missing"), caption)
    data = base64.b64encode(picture.png).decode()
    alt = html.escape(one_line(picture.title))
    return element("figure", Markup(f'<img src="data:image/png;base64,{data}" alt="{alt}">'), caption)
