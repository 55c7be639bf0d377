"""What `onnxvis check` prints: tables whose words say everything, and whose colors only repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from onnxvis.outcomes import CheckReport, FailOn, ModelReport, Outcome, Status, is_good
from onnxvis.report import OUT
from onnxvis.summaries import duration, further, headline, is_fine, one_line, worst_outcome

_STYLES: Mapping[Status, str] = {
    "pass": "green",
    "skip": "dim",
    "warn": "yellow",
    "fail": "bold red",
    "error": "bold red",
}
_STATUS_WIDTH = 5
_SECONDS_WIDTH = 8
_GAP = 2
_INDENT = 4
_LEAST_TEXT = 24
"""What a text has at least, however narrow the terminal and however long the names."""
_MOST_DETAILS = 10
"""Of one check; all of them are in the other formats."""


def show(report: CheckReport, *, quiet: bool = False, console: Console = OUT) -> None:
    """Print a report.

    Args:
        report: What was found. Of one model each check is a line, of several each model.
        quiet: Only what is not good, as `fail_on` says; nothing where all is.
        console: Where to; it says how wide that is, and whether it has colors.
    """
    for line in lines(report, console.width, quiet=quiet):
        console.print(line)


def lines(report: CheckReport, width: int, *, quiet: bool = False) -> Iterator[Text]:
    """Yield the lines of a report, none wider than the width unless a single word is."""
    if quiet and report.ok:
        return
    # Without --quiet warnings are shown too where they are good enough.
    fail_on = report.fail_on if quiet else "warn"
    bad = [model for model in report.models if not is_good(model.status, fail_on)]
    if len(report.models) == 1 and not quiet:
        yield from _whole_lines(report.models[0], width)
    else:
        yield from _several_lines(bad if quiet else report.models, bad, fail_on, width)
    if report.models:
        yield Text()
    yield Text(f"{headline(report)} ({duration(report.seconds)})", style="green" if report.ok else "bold red")


def _several_lines(
    models: Sequence[ModelReport], bad: Sequence[ModelReport], fail_on: FailOn, width: int
) -> Iterator[Text]:
    """Yield a line for each model, and then those checks of the bad ones that are bad."""
    yield from _summary_lines(models, width)
    for model in bad:
        yield Text()
        yield _name(model)
        yield from _outcomes_lines([item for item in model.outcomes if not is_good(item.status, fail_on)], width)


def _whole_lines(model: ModelReport, width: int) -> Iterator[Text]:
    """Yield the name of a model, what is known of it, and all checks."""
    yield _name(model)
    # The digest is for programs.
    known = ", ".join(f"{name} {value}" for name, value in model.facts.items() if name != "sha256")
    for text in ([known] if known else []) + [f"note: {note}" for note in model.notes]:
        yield from _wrapped(Text(" " * _INDENT), text, width)
    yield from _outcomes_lines(model.outcomes, width)


def _outcomes_lines(outcomes: Sequence[Outcome], width: int) -> Iterator[Text]:
    names = max((cell_len(one_line(outcome.check)) for outcome in outcomes), default=0)
    for outcome in outcomes:
        yield from _outcome_lines(outcome, names, width)


def _name(model: ModelReport) -> Text:
    return Text(one_line(model.model), style="bold")


def _outcome_lines(outcome: Outcome, names: int, width: int) -> Iterator[Text]:
    head = Text(set_cell_size(one_line(outcome.check), names + _GAP)).append_text(_status(outcome.status))
    room = max(width - _SECONDS_WIDTH, cell_len(head.plain) + _LEAST_TEXT)
    first, *rest = _wrapped(head, outcome.text, room)
    gap = max(room - cell_len(first.plain), 0)
    yield first.append(" " * gap).append(f"{duration(outcome.seconds):>{_SECONDS_WIDTH}}", style="dim")
    yield from rest
    details = further(outcome)
    for detail in details[:_MOST_DETAILS]:
        yield from _wrapped(Text(" " * _INDENT).append_text(_status(detail.status)), detail.text, width)
    if len(details) > _MOST_DETAILS:
        yield Text(f"{' ' * _INDENT}... and {len(details) - _MOST_DETAILS} more: --json has all", style="dim")


def _summary_lines(models: Sequence[ModelReport], width: int) -> Iterator[Text]:
    """Yield a line for each model: name, status, how many checks are fine, and the first that is not."""
    names = max((cell_len(one_line(model.model)) for model in models), default=0)
    counts = [f"{sum(is_fine(item.status) for item in model.outcomes)}/{len(model.outcomes)}" for model in models]
    widest = max(map(len, counts), default=0)
    for model, count in zip(models, counts, strict=True):
        head = Text(set_cell_size(one_line(model.model), names + _GAP)).append_text(_status(model.status))
        yield from _wrapped(head.append(f"{count:>{widest}}{' ' * _GAP}"), _first(model), width)


def _first(model: ModelReport) -> str:
    found = worst_outcome(model)
    if found is None or is_fine(found.status):
        return ""
    return f"{found.check} at {found.layer}" if found.layer else found.check


def _status(status: Status) -> Text:
    return Text(f"{status:<{_STATUS_WIDTH}}", style=_STYLES[status]).append(" " * _GAP)


def _wrapped(head: Text, text: str, width: int) -> Iterator[Text]:
    """Yield a text behind a head, and its other lines below itself; no word is broken, so that names can be found."""
    indent = cell_len(head.plain)
    for number, line in enumerate(_broken(one_line(text), max(width - indent, _LEAST_TEXT))):
        start = Text(" " * indent) if number else head.copy()
        start.append(line)
        start.rstrip()
        yield start


def _broken(text: str, width: int) -> list[str]:
    """Break a text between words; wide letters count twice, as they are shown."""
    first, *words = text.split(" ")
    found = [first]
    for word in words:
        if cell_len(found[-1]) + 1 + cell_len(word) <= width:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found
