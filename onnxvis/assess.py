"""How good a picture is: numbers on the file as written, by onnxruntime through the original model.

Every number is defined in docs/measuring.md. What does not apply, because the input is no picture or there is nothing
to compare with, is None, and never a number that looks like one.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxvis.baselines import Answers, answers_to_folder, answers_to_noise
from onnxvis.judges import Judge, Verdict
from onnxvis.losses import Goal
from onnxvis.measure import Meter
from onnxvis.robustness import Disturbance, Disturbances, disturbed
from onnxvis.spectrum import Spectrum, spectrum
from onnxvis.standing import (
    Agreement,
    Place,
    Standing,
    agreement,
    combined,
    kept,
    place,
    standardized,
    standing,
)
from onnxvis.target import Target

Array = np.ndarray[Any, Any]

_LEVELS = 255
_NEAR_LEVELS = 5
"""How many levels from black or white still count as near."""
_ALMOST_ALL, _ALL = 99, 100
"""Per cent between which one digit more is shown."""
_USUAL = Disturbances()
_NAMES: Mapping[Disturbance, str] = {"shift": "shift", "turn": "turn", "blur": "blur", "jpeg": "JPEG"}


@dataclass(frozen=True)
class Assessment:
    """How good a picture is.

    Attributes:
        activation: Of what is written.
        seed_activation: Of what the run started from.
        float_activation: Before rounding to 8 bits; None where nothing was rounded.
        kept_by_8_bits: Which part of the gain over the seed is left after rounding; 1 is all.
        survival: Which part of it is left under each disturbance that applies; an entry is None where nothing was
            gained.
        standing: Where the unit stands among its layer's units on the picture.
        standardized: The same in standard deviations of each unit's answers to the baseline.
        strength: The activation in standard deviations from its mean on the baseline.
        place: Where the picture stands among natural images.
        clipped: The share of the values that are at an end of the range, in [0, 1].
        near_clipped: The share of those within 2 % of an end, these included.
        spectrum: How the energy is spread over frequencies.
        verdict: What a judge says.
    """

    activation: float
    seed_activation: float
    float_activation: float | None
    kept_by_8_bits: float | None
    survival: Mapping[Disturbance, float | None]
    standing: Standing | None
    standardized: Standing | None
    strength: float | None
    place: Place | None
    clipped: float
    near_clipped: float
    spectrum: Spectrum | None
    verdict: Verdict | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not finite is None there."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Return it in words: a label and a text for each line, at most six."""
        found = (
            ("8 bits", "" if self.kept_by_8_bits is None else f"keep {_percent(self.kept_by_8_bits)} of the gain"),
            ("baseline" if self.standing is None else "rank", self._rank()),
            ("survives", ", ".join(f"{_NAMES[name]} {_percent(part)}" for name, part in self._survived())),
            ("values", self._values()),
            ("photos", "" if self.place is None else _placed(self.place)),
            ("judge", "" if self.verdict is None else str(self.verdict)),
        )
        return tuple((label, text) for label, text in found if text)

    def _survived(self) -> list[tuple[Disturbance, float]]:
        return [(name, part) for name, part in self.survival.items() if part is not None]

    def _rank(self) -> str:
        parts = []
        if self.standing is not None:
            found = self.standing
            parts.append(f"{found.rank} of {found.units}, margin {found.margin:.3g} over filter {found.rival}")
        # On noise alone, units vary otherwise than on what they were trained for: the rank would mislead.
        if self.standardized is not None and self.place is not None:
            parts.append(f"standardized {self.standardized.rank}")
        if self.strength is not None:
            parts.append(f"{abs(self.strength):.3g} sd {'below' if self.strength < 0 else 'above'} the baseline")
        return ", ".join(parts)

    def _values(self) -> str:
        parts = [f"{_percent(self.clipped)} clipped"]
        if self.spectrum is not None:
            parts += [] if self.spectrum.slope is None else [f"spectral slope {self.spectrum.slope:.1f}"]
            parts.append(f"{_percent(self.spectrum.fine)} of the energy in fine detail")
        return ", ".join(parts)


@dataclass(frozen=True)
class Assessor:
    """Assesses the pictures of one layer's units.

    Attributes:
        meter: Measures images through the original model.
        noise: What the layer answers to noise.
        natural: What it answers to natural images; None: there are none.
        judge: Another classifier that says what it sees; None: nobody.
        disturbances: How strongly pictures are disturbed.
    """

    meter: Meter = field(repr=False)
    noise: Answers
    natural: Answers | None = None
    judge: Judge | None = None
    disturbances: Disturbances = _USUAL

    @classmethod
    def of(
        cls,
        meter: Meter,
        target: Target,
        *,
        images: str | os.PathLike[str] | None = None,
        judge: Judge | None = None,
        disturbances: Disturbances = _USUAL,
    ) -> Assessor:
        """Ask the layer about noise and natural images, once for all its units.

        Args:
            meter: Measures images through the original model.
            target: One of the units.
            images: A folder of natural images.
            judge: Another classifier.
            disturbances: How strongly pictures will be disturbed.

        Raises:
            InputError: The folder is missing, empty, or a file in it cannot be used.
            SettingError: The judge knows other classes.
        """
        noise = answers_to_noise(meter, target)
        if judge is not None:
            judge.index_of(target, noise.values.shape[1])
            judge.check(torch.zeros(next(iter(meter.inputs.values())).image_shape))
        natural = None if images is None else answers_to_folder(meter, target, images)
        return cls(meter, noise, natural, judge, disturbances)

    @property
    def baseline(self) -> Array:
        """(images, units): what the layer answers to whatever nobody has optimized."""
        return np.concatenate([some.values for some in (self.noise, self.natural) if some is not None])

    def assess(
        self,
        target: Target,
        written: Mapping[str, Tensor],
        *,
        seed_activation: float,
        float_activation: float | None = None,
        goal: Goal | None = "maximize",
    ) -> Assessment:
        """Assess what is written; of several optimized inputs the first is looked at and disturbed.

        Args:
            target: The unit.
            written: (C, *spatial) in [0, 1] by input name; of pictures the 8-bit values.
            seed_activation: Of the start, as measured.
            float_activation: Before rounding to 8 bits, as measured; None where nothing was rounded.
            goal: What the activation should become. A value to reach, or None for an objective of one's own: what it
                has become was wanted, be it more or less than the seed's.

        Raises:
            SettingError: The judge knows other classes.
            InputError: The judge takes no such images.
        """
        answers = self.meter.answers_to([written], target)[0]
        activation = float(combined(answers, target.filters))
        direction = _direction(goal, activation - seed_activation)
        image = next(iter(written.values()))
        scaled = standardized(answers, self.baseline)
        return Assessment(
            activation=activation,
            seed_activation=seed_activation,
            float_activation=float_activation,
            kept_by_8_bits=None
            if float_activation is None
            else kept(activation, seed_activation, float_activation, direction),
            survival=self._survival(target, written, activation, seed_activation, direction),
            standing=standing(answers, target.filters, direction),
            standardized=None if scaled is None else standing(scaled, target.filters, direction),
            strength=self._strength(target, activation),
            place=self._place(target, activation, direction),
            clipped=_near_ends(image, 0),
            near_clipped=_near_ends(image, _NEAR_LEVELS),
            spectrum=spectrum(image.cpu().numpy()),
            verdict=None if self.judge is None else self.judge.judge(image, self.judge.index_of(target, len(answers))),
        )

    def agreement(self, target: Target, pictures: Sequence[Mapping[str, Tensor]]) -> Agreement | None:
        """Compare pictures of one unit, of different seeds, by what the other units of its layer see in them.

        Args:
            target: The unit.
            pictures: (C, *spatial) in [0, 1] by input name, as written.

        Returns:
            Agreement | None: None for fewer than two pictures, or a layer without other units.
        """
        return agreement(self.meter.answers_to(pictures, target), target.filters, self.baseline)

    def _survival(
        self, target: Target, written: Mapping[str, Tensor], activation: float, seed_activation: float, direction: float
    ) -> dict[Disturbance, float | None]:
        name, image = next(iter(written.items()))
        found: dict[Disturbance, float | None] = {}
        for how, copies in disturbed(image, self.meter.inputs[name], self.disturbances).items():
            views = [{**written, name: copy} for copy in copies]
            mean = float(combined(self.meter.answers_to(views, target), target.filters).mean())
            found[how] = kept(mean, seed_activation, activation, direction)
        return found

    def _strength(self, target: Target, activation: float) -> float | None:
        baseline = combined(self.baseline, target.filters)
        spread = float(baseline.std(ddof=1))
        return (activation - float(baseline.mean())) / spread if spread > 0 else None

    def _place(self, target: Target, activation: float, direction: float) -> Place | None:
        if self.natural is None:
            return None
        return place(activation, combined(self.natural.values, target.filters), self.natural.names, direction)


def _direction(goal: Goal | None, gain: float) -> float:
    """Return 1 where much activation is wanted, -1 where little is."""
    if goal == "maximize":
        return 1.0
    return -1.0 if goal == "minimize" or gain < 0 else 1.0


def _near_ends(image: Tensor, levels: int) -> float:
    """Return the share of the values that, in 8 bits, are at most so many levels from either end."""
    rounded = (image * _LEVELS).round()
    return float(((rounded <= levels) | (rounded >= _LEVELS - levels)).float().mean())


def _percent(share: float) -> str:
    """Write a share so that 100 % is all of it or more, and 0 % nothing or less."""
    percent = 100 * share
    if 0 < percent < 1:
        return f"{percent:.1g} %"
    if _ALMOST_ALL <= percent < _ALL:
        return f"{min(percent, _ALL - 0.1):.1f} %"
    return f"{percent:.0f} %"


def _placed(found: Place) -> str:
    return (
        f"beyond {_percent(found.beyond)} of {found.count} natural images; the best, {found.best}, has "
        f"{found.best_activation:.4g}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
