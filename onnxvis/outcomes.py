"""What a check has found, in plain values: they travel between processes and into every report.

The status of a whole is the worst of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "skip", "warn", "fail", "error"]
"""skip: there was nothing to check, or no means to; error: the check itself could not be done."""
FailOn = Literal["warn", "fail", "never"]
"""From which status on a report is not good; "never": whatever is found, unless a check could not be done at all."""

_ORDER: tuple[Status, ...] = ("skip", "pass", "warn", "fail", "error")


def _finite(value: float | str) -> float | str | None:
    """JSON has no word for what is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def worst(statuses: Iterable[Status]) -> Status:
    """Return the most serious status; "skip" if there is none."""
    return max(statuses, key=_ORDER.index, default="skip")


@dataclass(frozen=True)
class Picture:
    """A picture that shows what a detail says.

    Attributes:
        title: What it shows.
        png: The file's bytes.
    """

    title: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class Detail:
    """One thing that was seen.

    Attributes:
        status: How serious it is.
        text: What was found, where, and what to do: one line.
        layer: The short name of the node concerned, as `--node` takes it; None: the whole model.
        tensor: The tensor's name in the file.
        figures: What was measured, by name; plain numbers and texts.
        pictures: What shows it, side by side.
    """

    status: Status
    text: str
    layer: str | None = None
    tensor: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the pictures."""
        return {
            "status": self.status,
            "text": self.text,
            "layer": self.layer,
            "tensor": self.tensor,
            "figures": {name: _finite(value) for name, value in self.figures.items()},
        }


@dataclass(frozen=True)
class Outcome:
    """What one check says of one model.

    Attributes:
        check: The name of the check, as `--only` and `--skip` take it.
        status: The worst of its details; without any, what the text says.
        text: One line for the table.
        details: What was seen, the most important first; empty where all is well.
        seconds: How long it took.
    """

    check: str
    status: Status
    text: str
    details: tuple[Detail, ...] = ()
    seconds: float = 0.0

    @property
    def layer(self) -> str | None:
        """The layer that the first detail of the outcome's own status names."""
        return next((item.layer for item in self.details if item.status == self.status and item.layer), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "check": self.check,
            "status": self.status,
            "text": self.text,
            "seconds": round(self.seconds, 3),
            "details": [detail.to_dict() for detail in self.details],
        }


@dataclass(frozen=True)
class ModelReport:
    """All that was checked of one model.

    Attributes:
        model: The file, as it was named.
        outcomes: One for each check, in the order in which they were done.
        facts: What the file is: opset, producer, sha256, inputs; texts by name.
        notes: What was assumed, a sentence each.
        seconds: How long all of it took.
    """

    model: str
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of the outcomes."""
        return worst(outcome.status for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "checks": [outcome.to_dict() for outcome in self.outcomes],
        }


@dataclass(frozen=True)
class CheckReport:
    """All models of one run.

    Attributes:
        models: In the order in which they were named.
        fail_on: From which status on the run is not good.
        seconds: How long it took.
    """

    models: tuple[ModelReport, ...]
    fail_on: FailOn = "fail"
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of the models."""
        return worst(model.status for model in self.models)

    @property
    def ok(self) -> bool:
        """Whether nothing is as bad as `fail_on` says."""
        return is_good(self.status, self.fail_on)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "format": "onnxvis-check-1",
            "status": self.status,
            "ok": self.ok,
            "fail_on": self.fail_on,
            "seconds": round(self.seconds, 3),
            "models": [model.to_dict() for model in self.models],
        }


def is_good(status: Status, fail_on: FailOn) -> bool:
    """Whether a status is below the one from which on a run is not good."""
    bad = "error" if fail_on == "never" else fail_on
    return _ORDER.index(status) < _ORDER.index(bad)
