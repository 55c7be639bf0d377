"""What every report of a check says in the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onnxvis.outcomes import CheckReport, Detail, ModelReport, Outcome, Status

_CONCERNS = frozenset({"warn", "fail", "error"})
_VERBS: Mapping[Status, tuple[str, str]] = {
    "pass": ("passes", "pass"),
    "warn": ("has warnings", "have warnings"),
    "fail": ("fails", "fail"),
    "error": ("could not be checked", "could not be checked"),
    "skip": ("was skipped", "were skipped"),
}


def concerns(outcome: Outcome) -> tuple[Detail, ...]:
    """Return the details that are not fine."""
    return tuple(detail for detail in outcome.details if detail.status in _CONCERNS)


def further(outcome: Outcome) -> tuple[Detail, ...]:
    """Return the details that are not fine, without the first where the outcome says the same."""
    details = concerns(outcome)
    return details[1:] if details and details[0].text == outcome.text else details


def is_fine(status: Status) -> bool:
    """Whether a status is no reason to look: it passed, or there was nothing to check."""
    return status not in _CONCERNS


def worst_outcome(model: ModelReport) -> Outcome | None:
    """Return the first check that has the status of its model; None if none was done."""
    return next((outcome for outcome in model.outcomes if outcome.status == model.status), None)


def headline(report: CheckReport) -> str:
    """Return how many models there are, and how they fare: one line."""
    if len(report.models) == 1:
        return f"1 model {_VERBS[report.status][0]}"
    counts = Counter(model.status for model in report.models)
    parts = [f"{counts[status]} {verbs[counts[status] > 1]}" for status, verbs in _VERBS.items() if counts[status]]
    models = f"{len(report.models)} models"
    return f"{models}: {', '.join(parts)}" if parts else models


def duration(seconds: float) -> str:
    """Return a time in the unit in which it reads well."""
    minute = 60
    return f"{seconds:.1f} s" if seconds < minute else f"{int(seconds // minute)} min {seconds % minute:02.0f} s"


def one_line(text: str) -> str:
    """Return a text without line breaks and other characters that cannot be seen."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
