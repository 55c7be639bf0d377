"""The command line: parse, call one public function, print."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from onnxvis import options
from onnxvis.errors import OnnxvisError, SettingError
from onnxvis.images import Fourier, Pixel
from onnxvis.maximize import OnStep
from onnxvis.model import NodeSpec, load
from onnxvis.prepare import Prepared, measure_file, prepare
from onnxvis.recipe import Recipe
from onnxvis.render import check_writable
from onnxvis.result import Result, VisualizationInterrupted
from onnxvis.transforms import Jitter

_UNBOUNDED = 10_000
INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended: 128 + SIGINT."""

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="See what the units of an ONNX model look for.",
)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; errors that the model or the request causes are one line on stderr."""
    try:
        app(prog_name="onnxvis")
    except OnnxvisError as error:
        _err.print(f"onnxvis: {error.message}", style="red", markup=False)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of a pipe has seen enough: `onnxvis nodes m.onnx | head`.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # What remains is printing itself, to a full disk for example.
        _err.print(f"onnxvis: cannot write the output: {error.strerror or error}", style="red", markup=False)
        sys.exit(1)


def _version(show: bool) -> None:  # noqa: FBT001 - typer's callback
    if show:
        _out.print(f"onnxvis {installed_version('onnxvis')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def nodes(model: options.Model, pattern: options.Pattern = None, as_json: options.Json = False) -> None:
    """List what can be visualized: short name, operator, shape, number of filters."""
    loaded = load(model)
    found = [spec for spec in loaded.nodes if pattern is None or _matches(spec, pattern)]
    if as_json:
        # Not through rich, which wraps and styles.
        sys.stdout.write(json.dumps([dataclasses.asdict(spec) for spec in found], indent=2) + "\n")
        return
    _out.print(str(loaded), markup=False)
    if not found:
        _out.print(f"No name matches {pattern!r}." if pattern else "Nothing here can be visualized.", markup=False)
        return
    # In a pipe no name is cut or folded.
    _out.print(_node_table(found), width=None if _out.is_terminal else _UNBOUNDED)


@app.command()
def visualize(
    model: options.Model,
    node: options.Node = None,
    filter_: options.Filter = None,
    output: options.Output = None,
    steps: options.Steps = Recipe.steps,
    learning_rate: options.LearningRate = Recipe.learning_rate,
    seed: options.Seed = Recipe.seed,
    seed_image: options.SeedImage = None,
    size: options.Size = None,
    preprocess: options.Preprocess = None,
    range_: options.Range = None,
    mean: options.Mean = None,
    std: options.Std = None,
    bgr: options.Bgr = None,
    layout: options.Layout = None,
    wrt: options.Wrt = None,
    channel_axis: options.ChannelAxis = None,
    logits: options.Logits = Recipe.logits,
    parameterization: options.Parameterization = None,
    jitter: options.Jitter = None,
    tv_weight: options.TvWeight = Recipe.tv_weight,
    tv_beta: options.TvBeta = Recipe.tv_beta,
    lp_weight: options.LpWeight = Recipe.lp_weight,
    lp_p: options.LpP = Recipe.lp_p,
    device: options.Device = "auto",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a picture of what a filter looks for, and measure by onnxruntime what it does to the model."""
    settings = {
        "node": node,
        "filters": tuple(filter_ or ()),
        "channel_axis": channel_axis,
        "logits": logits,
        "wrt": wrt,
        "size": _size(size),
        "preprocess": preprocess,
        "range": _numbers("--range", range_, 2),
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "bgr": bgr,
        "layout": None if layout is None else layout.upper(),
        "tv_weight": tv_weight,
        "tv_beta": tv_beta,
        "lp_weight": lp_weight,
        "lp_p": lp_p,
        "steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    recipe = _recipe(settings, parameterization, jitter)
    try:
        status = _visualize(model, recipe, output, seed_image, device, verbose=verbose, quiet=quiet)
    except KeyboardInterrupt:
        _err.print("onnxvis: interrupted before there was anything to write", style="red", markup=False)
        status = INTERRUPTED
    raise typer.Exit(status)


def _visualize(
    path: Path, recipe: Recipe, output: Path | None, seed_image: Path | None, device: str, *, verbose: bool, quiet: bool
) -> int:
    began = time.perf_counter()
    if output is not None:
        check_writable(output)
    prepared = prepare(load(path), recipe, seed_image=seed_image, device=device)
    target = output or Path(_default_name(path, prepared))
    check_writable(target)
    if not quiet:
        _print_facts(prepared)
    try:
        with _progress(recipe.steps, shown=not quiet) as on_step:
            result = prepared.run(on_step)
    except VisualizationInterrupted as interruption:
        result = interruption.result
    result.save(target)
    # What counts is the file: it is read back, and measured again.
    written = measure_file(target, prepared)
    result = dataclasses.replace(result, activation=written.activation, measurement=written)
    if quiet:
        _out.print(str(target), markup=False)
    else:
        _print_result(result, target, time.perf_counter() - began)
    if verbose and not quiet and result.history:
        _out.print(_loss_table(result, recipe))
    return INTERRUPTED if result.interrupted else 0


def _recipe(settings: Mapping[str, Any], parameterization: str | None, jitter: str | None) -> Recipe:
    kinds = {"fourier": Fourier, "pixel": Pixel}
    if parameterization not in {*kinds, None}:
        message = f"No parameterization {parameterization!r}. There are {', '.join(kinds)}."
        raise SettingError(message, parameterization=parameterization)
    chosen = None if parameterization is None else kinds[parameterization]()
    recipe = Recipe(**settings, parameterization=chosen)
    if jitter is None:
        return recipe
    (offset,) = _numbers("--jitter", jitter, 1) or (0.0,)
    if not math.isfinite(offset) or (offset > 1 and offset != int(offset)):
        message = f"--jitter {jitter!r} is not understood. Write whole pixels, 8, or a fraction of the size, 0.05."
        raise SettingError(message, jitter=jitter)
    transforms = () if offset == 0 else (Jitter(offset if offset < 1 else int(offset)),)
    return dataclasses.replace(recipe, transforms=transforms)


def _default_name(path: Path, prepared: Prepared) -> str:
    target = prepared.target
    named = target.labels or [str(index) for index in target.filters]
    parts = [path.stem, target.name, *named]
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("_.") for part in parts) + ".png"


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[xX,](\d+))?", text.strip())
    if match is None:
        message = f"--size {text!r} is not understood. Write 224, or HEIGHTxWIDTH as 240x320."
        raise SettingError(message, size=text)
    return int(match[1]), int(match[2] or match[1])


def _numbers(option: str, text: str | None, count: int | None = None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        example = {1: "8", 2: "0,255"}.get(count or 0, "0.485,0.456,0.406")
        message = f"{option} {text!r} is not understood. Write {option}={example}"
        raise SettingError(message, option=option, text=text)
    return numbers


def _matches(spec: NodeSpec, pattern: str) -> bool:
    names = [name.lower() for name in (spec.name, spec.node, spec.tensor, spec.op_type)]
    wanted = pattern.lower()
    return any(wanted in name or fnmatch.fnmatchcase(name, wanted) for name in names)


def _shape(shape: Sequence[int | str | None] | None) -> str:
    return "?" if shape is None else " x ".join("?" if dim is None else str(dim) for dim in shape)


def _node_table(specs: Sequence[NodeSpec]) -> Table:
    table = Table("name", "operator", "shape", "filters", box=None, pad_edge=False)
    for spec in specs:
        table.add_row(*map(_plain, (spec.name, spec.op_type, _shape(spec.shape), str(spec.filters or "?"))))
    return table


def _plain(text: str) -> str:
    """Keep rich from reading [brackets] in a name as markup."""
    return text.replace("[", r"\[")


def _fact(label: str, text: str) -> None:
    _out.print(f"{label:<11} {text}", markup=False)


def _print_facts(prepared: Prepared) -> None:
    target = prepared.target
    _fact("target", f"{target} of {prepared.model.name}, {target.op_type} {_shape(target.shape)}")
    for note in prepared.notes:
        _fact("note", note)
    if "assumed" not in prepared.image_input.preprocess.source:
        _fact("preprocess", str(prepared.image_input.preprocess))
    if prepared.left_out:
        count = sum(prepared.left_out.values())
        listed = ", ".join(sorted(prepared.left_out))
        _fact("left out", f"{count} node{'s' if count != 1 else ''} that the target does not need ({listed})")
    _fact("verified", str(prepared.verification))


def _print_result(result: Result, target: Path, seconds: float) -> None:
    engine = result.verification.engine
    several = result.measurement.by_filter if len(result.measurement.by_filter) > 1 else ()
    parts = f" = {' + '.join(f'{value:.4g}' for value in several)}" if several else ""
    change = f"{result.seed_activation:.4g} -> {result.activation:.4g}{parts}"
    _fact("activation", f"{change} (by {engine}, on the file as written)")
    if result.target.moved:
        before, after = result.seed_measurement.output, result.measurement.output
        _fact(result.target.asked_op.lower(), f"{_listed(before)} -> {_listed(after)}")
    done = len(result.history)
    plural = "" if done == 1 else "s"
    steps = f"interrupted after {done} of {result.recipe.steps} steps" if result.interrupted else f"{done} step{plural}"
    width, height = result.image.size
    _fact("wrote", f"{target} ({width}x{height}, {steps}, {seconds:.1f} s)")


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _loss_table(result: Result, recipe: Recipe) -> Table:
    """Compare the losses, weighted, at the first and the last step."""
    table = Table("loss", "weight", "first", "last", box=None, pad_edge=False)
    weights = [weight for _, weight in recipe.objective.terms]
    first, last = result.history[0], result.history[-1]
    for name, weight in zip(first, weights, strict=False):
        table.add_row(_plain(name), f"{weight:g}", f"{first[name]:.4g}", f"{last[name]:.4g}")
    table.add_row("total", "", f"{sum(first.values()):.4g}", f"{sum(last.values()):.4g}")
    return table


@contextmanager
def _progress(steps: int, *, shown: bool) -> Iterator[OnStep | None]:
    """Show a bar on a terminal; elsewhere nothing, and no step waits for it."""
    if not shown or not _err.is_terminal:
        yield None
        return
    columns = (
        TextColumn("optimizing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as bar:
        task = bar.add_task("", total=steps, loss="")

        def on_step(step: int, losses: Mapping[str, float]) -> None:
            bar.update(task, completed=step, loss="  ".join(f"{name} {value:.4g}" for name, value in losses.items()))

        yield on_step
