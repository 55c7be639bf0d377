"""From details to an outcome: the worst first, and one line for the table."""

from __future__ import annotations

from collections.abc import Iterable

from onnxvis.outcomes import Detail, Outcome, Status, worst

_SEVERITY: tuple[Status, ...] = ("error", "fail", "warn", "pass", "skip")
_MOST = 50
"""Details of one outcome: of a model that is broken everywhere, the first are enough."""


def concluded(check: str, details: Iterable[Detail], good: str) -> Outcome:
    """Return the outcome of some details, the most serious first, else in the order in which they come.

    Args:
        check: The name of the check.
        details: What was seen.
        good: What the table says where nothing is wrong.
    """
    ordered = sorted(details, key=lambda detail: _SEVERITY.index(detail.status))
    status = worst(["pass", *(detail.status for detail in ordered)])
    bad = [detail for detail in ordered if detail.status in ("error", "fail", "warn")]
    if not bad:
        return Outcome(check, status, good, tuple(ordered[:_MOST]))
    more = f" ({len(bad) - 1} more)" if len(bad) > 1 else ""
    return Outcome(check, status, f"{bad[0].text}{more}", tuple(ordered[:_MOST]))


def skipped(check: str, reason: str) -> Outcome:
    """Return the outcome of a check that has nothing to look at, or no means to.

    Args:
        check: The name of the check.
        reason: Why.
    """
    return Outcome(check, "skip", reason)


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return names in a row, the first few by name.

    Args:
        names: The names.
        most: How many are named.
    """
    several = list(names)
    shown = ", ".join(repr(name) for name in several[:most])
    return shown if len(several) <= most else f"{shown} and {len(several) - most} more"
