"""From the words of the command line to settings."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxvis.cppn import Cppn
from onnxvis.errors import SettingError
from onnxvis.images import Fourier, Parameterization, Pixel
from onnxvis.judges import Judge
from onnxvis.laplacian import Laplacian
from onnxvis.losses import Goal, Neuron
from onnxvis.maco import Maco
from onnxvis.photos import photo_colors
from onnxvis.recipe import Recipe
from onnxvis.transforms import Jitter
from onnxvis.units import Pictures
from onnxvis.variations import Kind, Variation
from onnxvis.visualize import pictures_of

_COLORED: Mapping[str, Callable[..., Parameterization]] = {"fourier": Fourier, "laplacian": Laplacian, "cppn": Cppn}
_PARAMETERIZATIONS: Mapping[str, Callable[..., Parameterization]] = {"pixel": Pixel, "maco": Maco, **_COLORED}


def filters_of(words: Sequence[str]) -> tuple[tuple[str, ...], Pictures | None]:
    """Return the filters that one picture shows together, and the filters of each picture where there are several.

    Raises:
        SettingError: A range stands beside other filters.
    """
    several = [pictures for word in words if (pictures := pictures_of(word)) is not None]
    if not several:
        return tuple(words), None
    if len(words) > 1:
        message = (
            "A range of filters makes one picture for each, and stands alone: write --filter 0-15,20, or name those "
            "that one picture shows together one by one."
        )
        raise SettingError(message, filters=tuple(words))
    return (), several[0]


def goal_of(minimize: bool, reach: str | None) -> Goal:  # noqa: FBT001 - as it comes from the command line
    """Read --minimize and --reach; several values are those of a group of pictures."""
    if minimize and reach is not None:
        message = "--minimize and --reach contradict each other: give one of them."
        raise SettingError(message)
    values = numbers_of("--reach", reach)
    if minimize:
        return "minimize"
    return "maximize" if values is None or len(values) > 1 else values[0]


def variation_of(
    seeds: int | None, diversity: int | None, interpolate: int | None, reach: str | None
) -> Variation | None:
    """Read what asks for several pictures of one unit; None: nothing does.

    Raises:
        SettingError: Two of them do.
    """
    values = numbers_of("--reach", reach) or ()
    counts: tuple[tuple[Kind, int | None], ...] = (
        ("seeds", seeds),
        ("diversity", diversity),
        ("interpolation", interpolate),
        ("tuning", len(values) if len(values) > 1 else None),
    )
    asked = [(kind, count) for kind, count in counts if count is not None]
    if len(asked) > 1:
        message = "--seeds, --diversity, --interpolate and several values of --reach exclude each other: give one."
        raise SettingError(message, kinds=[kind for kind, _ in asked])
    return Variation(*asked[0], values) if asked else None


def neuron_of(text: str | None, token: int | None = None) -> Neuron:
    """Read "center", or one number for each spatial axis as 3,5; a token is the one number of a sequence."""
    if token is not None and text is not None:
        message = "--neuron and --token contradict each other: give one of them."
        raise SettingError(message)
    if text is None:
        return None if token is None else (token,)
    if text.strip().lower() == "center":
        return "center"
    if not re.fullmatch(r"-?\d+([,x]-?\d+)*", text.strip()):
        message = f"--neuron {text!r} is not understood. Write center, or one number for each spatial axis: 3,5."
        raise SettingError(message, neuron=text)
    return tuple(int(part) for part in re.split("[,x]", text.strip()))


def wrt_of(names: Sequence[str] | None) -> str | tuple[str, ...] | None:
    """Read one input or several."""
    if not names:
        return None
    return names[0] if len(names) == 1 else tuple(names)


def inputs_of(words: Sequence[str] | None) -> dict[str, str | float] | None:
    """Read NAME=FILE.npy and NAME=NUMBER; names may hold "=" themselves.

    Raises:
        SettingError: A word is neither.
    """
    if not words:
        return None
    found: dict[str, str | float] = {}
    for word in words:
        name, equals, value = word.rpartition("=")
        number = _number(value)
        if not equals or not name or (number is None and Path(value).suffix.lower() != ".npy"):
            message = f"--input {word!r} is not understood. Write NAME=FILE.npy or NAME=NUMBER."
            raise SettingError(message, input=word)
        found[name] = value if number is None else number
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # An integer input takes no 16000.0 by name alone.
    return int(value) if value.is_integer() and "." not in text else value


def judge_of(path: Path | None, preprocess: str | None) -> Judge | None:
    """Load the judge, if there is one.

    Raises:
        OnnxvisError: It cannot be loaded, or is no classifier of pictures.
    """
    if path is None:
        if preprocess is not None:
            message = "--judge-preprocess is of a judge: name one with --judge."
            raise SettingError(message, preprocess=preprocess)
        return None
    return Judge.of(path, preprocess=preprocess)


def size_of(text: str | None) -> tuple[int, ...] | None:
    """Read 224, 240x320 or 16x32x32."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+([xX,]\d+){0,2}", text.strip()):
        message = f"--size {text!r} is not understood. Write 224, or HEIGHTxWIDTH as 240x320."
        raise SettingError(message, size=text)
    return tuple(int(part) for part in re.split("[xX,]", text.strip()))


def numbers_of(option: str, text: str | None, count: int | None = None) -> tuple[float, ...] | None:
    """Read numbers with commas or blanks between them."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        example = "0,2,4" if option == "--reach" else {1: "8", 2: "0,255"}.get(count or 0, "0.485,0.456,0.406")
        message = f"{option} {text!r} is not understood. Write {option}={example}"
        raise SettingError(message, option=option, text=text)
    return numbers


def recipe_of(words: Mapping[str, Any]) -> tuple[Recipe, Pictures | None]:
    """Fill a recipe.

    Args:
        words: What the command line was given, by the names of its options; those that it does not have are left out.

    Returns:
        tuple: The recipe, and the filters of each picture where there are several; see `filters_of`.
    """
    filters, pictures = filters_of(words["filter_"] or ())
    told = {item.name: words[item.name] for item in dataclasses.fields(Recipe) if item.name in words}
    layout, direction = words["layout"], words["direction"]
    read = {
        "filters": filters,
        "neuron": neuron_of(words["neuron"], words.get("token")),
        "goal": goal_of(words["minimize"], words["reach"]),
        "wrt": wrt_of(words["wrt"]),
        "inputs": inputs_of(words["input_"]),
        "size": size_of(words["size"]),
        "range": numbers_of("--range", words["range_"], 2),
        "mean": numbers_of("--mean", words["mean"]),
        "std": numbers_of("--std", words["std"]),
        "layout": None if layout is None else layout.upper(),
        "direction": None if direction is None else str(direction),
        "parameterization": _parameterization(words["parameterization"], words.get("spectrum")),
        "transforms": _rolled(words["jitter"]),
        # The path is given beside the recipe, which says what it has been read as.
        "seed_image": None,
    }
    return Recipe(**{**told, **read}), pictures


def _rolled(jitter: str | None) -> tuple[Jitter, ...] | None:
    """Read --jitter: None leaves the transforms to the preset, 0 is none."""
    if jitter is None:
        return None
    (offset,) = numbers_of("--jitter", jitter, 1) or (0.0,)
    if not math.isfinite(offset) or (offset > 1 and offset != int(offset)):
        message = f"--jitter {jitter!r} is not understood. Write whole pixels, 8, or a fraction of the size, 0.05."
        raise SettingError(message, jitter=jitter)
    return () if offset == 0 else (Jitter(offset if offset < 1 else int(offset)),)


def _parameterization(name: str | None, spectrum: Path | None) -> Parameterization | None:
    if name not in {*_PARAMETERIZATIONS, None}:
        message = f"No parameterization {name!r}. There are {', '.join(_PARAMETERIZATIONS)}."
        raise SettingError(message, parameterization=name)
    if spectrum is None:
        return None if name is None else _PARAMETERIZATIONS[name]()
    if name == "pixel":
        message = "Pixels have neither a spectrum nor colors of photos: leave --spectrum out, or write maco."
        raise SettingError(message, parameterization=name)
    table = spectrum.suffix.lower() == ".npy"
    if table and name not in (None, "maco"):
        message = f"A table of magnitudes is for maco alone, not for {name}: give a folder of photos for its colors."
        raise SettingError(message, parameterization=name)
    colors = None if table else photo_colors(spectrum)
    if name in (None, "maco"):
        return Maco(spectrum=str(spectrum), colors=colors)
    return _COLORED[name](colors=colors)
