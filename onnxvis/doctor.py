"""Why is it grey? What stands between a recipe and its picture, in words and with the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxvis.examination import Beginning, Examination, Trial, examine
from onnxvis.findings import Finding, findings_of, percent
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.seeds import HeldValue, SeedImage
from onnxvis.standing import combined


@dataclass(frozen=True)
class Diagnosis:
    """What stands between a recipe and its picture.

    Attributes:
        facts: What was measured: a label and a text for each line.
        findings: What is in the way, the most important first.
        verdict: The outcome in a sentence.
    """

    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    verdict: str

    @property
    def ok(self) -> bool:
        """Whether nothing is in the way."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "facts": [{"label": label, "text": text} for label, text in self.facts],
            "findings": [{"cause": item.cause, "text": item.text, "remedy": item.remedy} for item in self.findings],
        }

    def __str__(self) -> str:
        lines = [f"{label:<11} {text}" for label, text in self.facts]
        return "\n".join([*lines, *map(str, self.findings), self.verdict])


def diagnose(
    model: Any,
    recipe: Recipe | None = None,
    *,
    seed_image: SeedImage | None = None,
    inputs: Mapping[str, HeldValue] | None = None,
    device: str = "auto",
    images: str | os.PathLike[str] | None = None,
) -> Diagnosis:
    """Find out what stands between a recipe and its picture, by looking at its starts and trying a few of its steps.

    Args:
        model: A path, bytes, `ModelProto` or `Model`.
        recipe: The settings, the unit among them; None: the defaults, for the first output.
        seed_image: What to start from; see `onnxvis.visualize`.
        inputs: What other inputs are held at.
        device: "auto", "cpu" or "cuda".
        images: A folder of natural images to ask the layer about, besides noise.

    Raises:
        OnnxvisError: The model, the target or a setting is wrong. A dead unit and NaN are findings instead.
    """
    wanted = Recipe() if recipe is None else recipe
    prepared = prepare(load(model), wanted, seed_image=seed_image, inputs=inputs, device=device, images=images)
    seen = examine(prepared)
    findings = findings_of(seen)
    return Diagnosis(tuple(_facts(seen)), findings, _verdict(seen, findings))


def _verdict(seen: Examination, findings: tuple[Finding, ...]) -> str:
    if findings:
        others = len(findings) - 1
        rest = "" if not others else f"; then {others} more"
        return f"In the way: {findings[0].cause}{rest}."
    return f"Nothing is in the way: {seen.trial}."


def _facts(seen: Examination) -> Iterator[tuple[str, str]]:
    prepared = seen.prepared
    yield "target", f"{prepared.target} of {prepared.model.name}"
    yield "fed", str(prepared.image_input.preprocess)
    yield "noise", _on_noise(seen)
    if len(seen.feedings) > 1:
        listed = ", ".join(f"{item.name} {item.spread:.3g} ({percent(item.liveliness)})" for item in seen.feedings)
        yield "if fed as", f"sd of the unit on noise (and of the layer, in % of its size): {listed}"
    yield "starts", _on_starts(seen.beginnings)
    names = prepared.units.objective.names
    for label, looked in (
        ("at start", seen.beginnings[0].look),
        ("at the end", None if seen.trial is None else seen.trial.after),
    ):
        if looked is not None:
            pulls = zip(names, looked.norms, looked.shares, strict=True)
            listed = ", ".join(f"{name} {norm:.3g} ({percent(share)})" for name, norm, share in pulls)
            yield label, f"gradient on the image: {listed}"
    if seen.trial is not None:
        yield "run", str(seen.trial)
        yield "picture", _on_picture(seen.trial)


def _on_noise(seen: Examination) -> str:
    baseline, constant = seen.prepared.assessor.baseline, seen.constant
    own = combined(baseline, seen.target.filters)
    with np.errstate(invalid="ignore", over="ignore"):
        mean, spread = float(own.mean()), float(own.std())
    images = f"{len(own)} images of noise{'' if seen.prepared.assessor.natural is None else ' and photos'}"
    units = len(constant)
    rest = "" if units == 1 else f"; {int(constant.sum())} of the layer's {units} units never change"
    return f"{mean:.3g} with sd {spread:.2g} over {images}{rest}"


def _on_starts(beginnings: tuple[Beginning, ...]) -> str:
    alive = [item for item in beginnings if item.contrast]
    usual = sum(item.contrast == 1 and not item.woken for item in beginnings)
    parts = [f"{usual} of {len(beginnings)} have a gradient as they are"]
    raised = [item for item in alive if item.contrast != 1 and not item.woken]
    if raised:
        parts.append(f"{len(raised)} at up to {max(item.contrast for item in raised):g} times the usual contrast")
    woken = [item for item in alive if item.woken]
    if woken:
        parts.append(f"{len(woken)} after up to {max(item.woken for item in woken)} steps with relaxed rectifiers")
    dead = len(beginnings) - len(alive)
    return ", ".join([*parts, *([f"{dead} have none"] if dead else [])])


def _on_picture(trial: Trial) -> str:
    before, after = trial.contrasts
    return f"contrast {before:.3g} to {after:.3g}, values moved by {trial.moved:.3g}, {percent(trial.clipped)} clipped"
