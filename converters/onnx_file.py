"""What every converter does besides converting: options, metadata, a file that is whole or absent, a comparison.

Needs onnx, numpy and onnxruntime, and no framework. The scripts beside it import it by its name, because the folder of
a script is on the path of modules. A converter is

    def convert(arguments: argparse.Namespace) -> None:
        library = framework("library")                          # the import, or a ConversionError
        with refusing(f"library cannot read {arguments.source}"):  # whatever it raises becomes one line
            network = library.load(existing(arguments.source))
        with refusing("library cannot export this model"):
            model = library.export(network, opset=arguments.opset)
        deliver(model, arguments, lambda feeds: [network(*feeds.values())], layout="NCHW")

    if __name__ == "__main__":
        run(convert, options(__doc__, source="a saved network", opset=18))

`deliver` writes the metadata, checks the model, writes the file, and compares framework and onnxruntime. `options`
gives an `argparse.ArgumentParser`, to which a converter adds its own options before it hands it to `run`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from comparison import TOLERANCE, Array, Feeds, Shapes, compare, compared_shapes, draw_inputs, sizes_of
from meaning import LAYOUTS, PRESETS, meaning
from onnx import helper
from refusal import ConversionError, refusing
from silence import silence

__all__ = [
    "Array",
    "ConversionError",
    "Feeds",
    "Shapes",
    "deliver",
    "existing",
    "framework",
    "options",
    "refusing",
    "run",
    "write",
]

_ONE_FILE = 2**31 - 2**24  # bytes of weights; protobuf reads files below 2 GiB, and the graph needs some of them


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def options(description: str | None, *, source: str, opset: int) -> argparse.ArgumentParser:
    """Make a parser with the arguments that all converters have.

    Args:
        description: The converter's docstring; its first line is shown.
        source: What the first argument is, such as "a .keras or .h5 file".
        opset: The default of `--opset`.

    Returns:
        argparse.ArgumentParser: It gives `source` (str), `output` (Path), `opset`, `layout`, `preprocess`, `range`,
        `mean`, `std`, `bgr`, `labels` (None where not given), `shape` (a list of (name or None, sizes)), `tolerance`.
    """
    parser = _Parser(description=(description or "").partition("\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("source", help=source)
    add("output", type=Path, help="the ONNX file to write")
    add("--opset", type=int, default=opset, metavar="N", help="the version of ONNX's operators (default %(default)s)")
    add = parser.add_argument_group("what the file says about its input and output").add_argument
    add("--layout", type=str.upper, choices=LAYOUTS, help="the input's axes, such as NCHW, NHWC, NCW, NC")
    add("--preprocess", choices=PRESETS, help="range, mean, std and channel order by their usual name")
    add("--range", type=_numbers, metavar="LOW,HIGH", help="what black and white are before mean and std")
    add("--mean", type=_numbers, metavar="A[,B,C]", help="subtracted, in units of the range")
    add("--std", type=_numbers, metavar="A[,B,C]", help="divided by, likewise")
    add("--bgr", action=argparse.BooleanOptionalAction, help="the channels are blue, green, red")
    add("--labels", type=Path, metavar="FILE", help="class names: one a line, or JSON (a list, or by index)")
    add = parser.add_argument_group("the comparison with onnxruntime").add_argument
    shape = "an input's size, where the model leaves it open"
    add("--shape", type=_shape, action="append", default=[], metavar="[NAME=]N,C,H,W", help=shape)
    add("--tolerance", type=float, default=TOLERANCE, help="largest difference, relative (default %(default)s)")
    return parser


def run(convert: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> NoReturn:
    """Convert as the command line says, and exit: 0; 1 and one line on stderr for an error; 2 likewise for misuse."""
    arguments = parser.parse_args()
    try:
        convert(arguments)
    except ConversionError as error:
        sys.exit(f"{parser.prog}: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def existing(source: str) -> Path:
    """Return the path of a file or folder that is there.

    Raises:
        ConversionError: It is not.
    """
    path = Path(source)
    if not path.exists():
        message = f"there is no {source}"
        raise ConversionError(message)
    return path


def framework(name: str) -> Any:
    """Import a module of the framework: when it is needed, so that a wrong option need not wait for it.

    Raises:
        ConversionError: It is not installed in this environment, or broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"cannot import {name} ({error}): `uv run {sys.argv[0]} ...` brings what this script needs"
        raise ConversionError(message) from error


def deliver(
    model: onnx.ModelProto,
    arguments: argparse.Namespace,
    reference: Callable[[Feeds], Sequence[Any]],
    *,
    layout: str | None = None,
    labels: Sequence[str] = (),
    shapes: Shapes | None = None,
    feeds: Feeds | None = None,
) -> None:
    """Write a model with what its input means, and compare onnxruntime on the written file with the framework.

    Args:
        model: The converted model. Its metadata are changed.
        arguments: The options, as parsed.
        reference: Runs the framework on inputs by name (in the order of the ONNX file); gives the outputs, as arrays,
            in the order of the ONNX file.
        layout: The order of the input's axes as the framework knows it, if it does.
        labels: The names of the classes, likewise; `--labels` wins.
        shapes: The sizes at which to compare, by input name, where the framework knows them; `--shape` wins.
        feeds: The inputs on which to compare, instead of drawn ones.

    Raises:
        ConversionError: The model is not valid, cannot be written, or computes something else than the framework.
    """
    told = meaning(arguments, layout, labels)
    check_labels(model, told.labels)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, entries | told.metadata())
    if feeds is None:
        feeds = draw_inputs(model, told, compared_shapes(model, arguments.shape, shapes or {}))
    with refusing("the framework cannot run the model on the input of the comparison"), silence():
        expected = [np.asarray(output) for output in reference(feeds)]
    write(model, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB, opset {_opset(model)}")
    print(f"metadata: {told}")
    compare(arguments.output, feeds, expected, arguments.tolerance)


def check_labels(model: onnx.ModelProto, labels: Sequence[str]) -> None:
    """Refuse labels that fit no output.

    Raises:
        ConversionError: The outputs have known sizes, and none of them is the number of labels.
    """
    shapes = [sizes_of(value)[1:] for value in model.graph.output]
    if not labels or any(None in shape or len(labels) in shape for shape in shapes):
        return
    message = f"--labels holds {len(labels)} names, but the outputs have the sizes {', '.join(map(str, shapes))}"
    raise ConversionError(message)


def write(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write it; a file that was there stays as it is until the new one is complete.

    Weights that do not fit into one file (2 GiB) go into `NAME.data` beside it.

    Raises:
        ConversionError: The model is not valid, or the file cannot be written.
    """
    beside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _ONE_FILE
    location = f"{path.name}.data" if beside else None
    with (
        refusing(f"cannot write {path}"),
        tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder,
    ):
        staged = Path(folder) / path.name
        onnx.save(model, staged, save_as_external_data=beside, location=location)
        with refusing("the exporter made an invalid model, nothing is written"):
            onnx.checker.check_model(staged, full_check=True)
        # The weights first: a model without them would be half-written.
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == staged):
            part.replace(path.with_name(part.name))


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.replace(",", " ").split())
    except ValueError as error:
        message = f"{text!r} is not a list of numbers such as 0.5,0.5,0.5"
        raise argparse.ArgumentTypeError(message) from error


def _shape(text: str) -> tuple[str | None, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    numbers = sizes.replace(",", " ").split()
    if not numbers or not all(number.isdecimal() and int(number) for number in numbers):
        message = f"{text!r} is not a shape such as 1,224,224,3 or image=1,224,224,3"
        raise argparse.ArgumentTypeError(message)
    return name or None, tuple(int(number) for number in numbers)
