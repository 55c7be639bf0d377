"""The command `onnxvis diff`: the same network exported twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from onnxvis import report
from onnxvis.commands import INTERRUPTED
from onnxvis.config import ACCEPTED, Config, overridden
from onnxvis.diff import Difference, diff
from onnxvis.diff_page import diff_page
from onnxvis.diff_table import print_difference
from onnxvis.errors import OnnxvisError, SettingError
from onnxvis.recipe import Recipe
from onnxvis.render import check_writable, read_array, write_file
from onnxvis.requests import inputs_of, size_of

USAGE = 2
"""The exit status of a request that cannot be understood."""

First = Annotated[Path, typer.Argument(metavar="A", help="The .onnx file that is taken for right.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The .onnx file that should be the same network.")]
Tolerance = Annotated[
    float | None,
    typer.Option(metavar="X", help="Largest relative error of a layer. Default: by the precision of the files."),
]
MinCosine = Annotated[float | None, typer.Option(metavar="X", help="Smallest cosine of a layer's values.")]
Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help=f"A difference that is none: {', '.join(ACCEPTED)}."),
]
Unit = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE:FILTER", help="Show what this unit of A looks for, by both files."),
]
FailOn = Annotated[str | None, typer.Option(metavar="LEVEL", help="Exit with 1 from: warn, fail (default) or never.")]
PreprocessA = Annotated[str | None, typer.Option("--preprocess-a", metavar="NAME", help="How A wants pictures.")]
PreprocessB = Annotated[str | None, typer.Option("--preprocess-b", metavar="NAME", help="How B wants pictures.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings. Default: onnxvis.toml or pyproject.toml.")
]
Layers = Annotated[bool, typer.Option("--layers", help="Print every layer, not only those around a difference.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it instead.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with all layers and pictures.")]
Images = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Photos that both are shown too.")]
Size = Annotated[str | None, typer.Option(metavar="SIZE", help="Open sizes: 224, 240x320 or 16x32x32.")]
Held = Annotated[
    list[str] | None, typer.Option("--input", metavar="NAME=FILE", help="Hold an input at a .npy file or a number.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Of the noise.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, help="Steps of the pictures of --unit. Default: 96.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what is wrong.")]


def diff_command(
    first: First,
    second: Second,
    tolerance: Tolerance = None,
    min_cosine: MinCosine = None,
    accept: Accept = None,
    fail_on: FailOn = None,
    unit: Unit = None,
    images: Images = None,
    size: Size = None,
    preprocess_a: PreprocessA = None,
    preprocess_b: PreprocessB = None,
    input_: Held = None,
    seed: Seed = None,
    steps: Steps = None,
    layers: Layers = False,
    json_: JsonFile = None,
    html: Html = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Say whether two files are the same network, and if not, from which layer on and why."""
    try:
        settings = overridden(
            Config.of(config).diff,
            tolerance=tolerance,
            min_cosine=min_cosine,
            accept=tuple(word.strip() for text in accept for word in text.split(",")) if accept else None,
            fail_on=fail_on,
            images=None if images is None else str(images),
            size=size_of(size),
            preprocess_a=None if preprocess_a is None else {"preset": preprocess_a},
            preprocess_b=None if preprocess_b is None else {"preset": preprocess_b},
            seed=seed,
        )
        units = [_unit(text) for text in unit or ()]
        held = _held(input_)
        for path in (json_, html):
            if path is not None and str(path) != "-":
                check_writable(path, (path.suffix.lower(),))
    except OnnxvisError as error:
        report.error(error.message)
        raise typer.Exit(USAGE) from None
    recipe = Recipe(steps=steps) if steps else None
    try:
        found = diff(first, second, units=units, recipe=recipe, settings=settings, inputs=held)
    except KeyboardInterrupt:
        report.error("interrupted: no report is written")
        raise typer.Exit(INTERRUPTED) from None
    _write(found, json_, html)
    if str(json_) != "-":
        print_difference(found, every=layers, quiet=quiet)
    raise typer.Exit(0 if found.ok else 1)


def _unit(text: str) -> tuple[str, int | str]:
    node, colon, filter_ = text.rpartition(":")
    if not colon or not node or not filter_:
        message = f"--unit {text!r} is not understood. Write NODE:FILTER, such as conv3:12."
        raise SettingError(message, unit=text)
    return node, int(filter_) if filter_.isdecimal() else filter_


def _held(words: list[str] | None) -> dict[str, Any]:
    return {
        name: read_array(Path(value)) if isinstance(value, str) else np.asarray(value)
        for name, value in (inputs_of(words) or {}).items()
    }


def _write(found: Difference, json_: Path | None, html: Path | None) -> None:
    written = json.dumps(found.to_dict(), indent=2) + "\n"
    if str(json_) == "-":
        sys.stdout.write(written)
    elif json_ is not None:
        write_file(json_, written.encode())
    if html is not None:
        write_file(html, diff_page(found).encode())
