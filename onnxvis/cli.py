"""The command line: parse, call one public function, print."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import sys
import time
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxvis import options, report
from onnxvis.callbacks import ANIMATIONS, Animation
from onnxvis.errors import OnnxvisError, SettingError
from onnxvis.folder import PictureFolder
from onnxvis.maximize import Callback
from onnxvis.model import NodeSpec, load
from onnxvis.prepare import Prepared, prepare
from onnxvis.recipe import Recipe
from onnxvis.render import check_writable, write_file
from onnxvis.replay import replay as replayed
from onnxvis.requests import (
    filters_of,
    goal_of,
    inputs_of,
    neuron_of,
    numbers_of,
    recipe_of,
    size_of,
    wrt_of,
)
from onnxvis.result import SUFFIXES, Result, VisualizationInterrupted, check_written

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended: 128 + SIGINT."""

_LONGEST_NAME = 100
"""Letters of a file's default name; file systems stop at 255 bytes."""

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="See what the units of an ONNX model look for.",
)


def main() -> None:
    """Run the command line; errors that the model or the request causes are one line on stderr."""
    try:
        app(prog_name="onnxvis")
    except OnnxvisError as error:
        report.error(error.message)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of a pipe has seen enough: `onnxvis nodes m.onnx | head`.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # What remains is printing itself, to a full disk for example.
        report.error(f"cannot write the output: {error.strerror or error}")
        sys.exit(1)


def _version(show: bool) -> None:  # noqa: FBT001 - typer's callback
    if show:
        report.line(f"onnxvis {installed_version('onnxvis')}")
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
    report.nodes(loaded, found)
    if not found:
        report.line(f"No name matches {pattern!r}." if pattern else "Nothing here can be visualized.")


@app.command()
def visualize(
    model: options.Model,
    node: options.Node = None,
    filter_: options.Filter = None,
    output: options.Output = None,
    neuron: options.Neuron = None,
    token: options.Token = None,
    minimize: options.Minimize = False,
    reach: options.Reach = None,
    steps: options.Steps = Recipe.steps,
    learning_rate: options.LearningRate = Recipe.learning_rate,
    patience: options.Patience = None,
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
    input_: options.Input = None,
    channel_axis: options.ChannelAxis = None,
    logits: options.Logits = Recipe.logits,
    parameterization: options.Parameterization = None,
    jitter: options.Jitter = None,
    tv_weight: options.TvWeight = Recipe.tv_weight,
    tv_beta: options.TvBeta = Recipe.tv_beta,
    lp_weight: options.LpWeight = Recipe.lp_weight,
    lp_p: options.LpP = Recipe.lp_p,
    backprop: options.Backprop = None,
    gradient_modifier: options.GradientModifier = None,
    batch: options.Batch = None,
    animation: options.Animation = None,
    history: options.History = None,
    precision: options.Precision = Recipe.precision,
    device: options.Device = "auto",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a picture of what a filter looks for, and measure by onnxruntime what it does to the model."""
    filters, pictures = filters_of(filter_ or ())
    settings = {
        "node": node,
        "filters": filters,
        "channel_axis": channel_axis,
        "neuron": neuron_of(neuron, token),
        "goal": goal_of(minimize, reach),
        "logits": logits,
        "wrt": wrt_of(wrt),
        "inputs": inputs_of(input_),
        "size": size_of(size),
        "preprocess": preprocess,
        "range": numbers_of("--range", range_, 2),
        "mean": numbers_of("--mean", mean),
        "std": numbers_of("--std", std),
        "bgr": bgr,
        "layout": None if layout is None else layout.upper(),
        "tv_weight": tv_weight,
        "tv_beta": tv_beta,
        "lp_weight": lp_weight,
        "lp_p": lp_p,
        "backprop": backprop,
        "gradient_modifier": gradient_modifier,
        "steps": steps,
        "learning_rate": learning_rate,
        "patience": patience,
        "seed": seed,
        "precision": precision,
    }
    recipe = recipe_of(settings, parameterization, jitter)
    command = _Command(output, seed_image, device, animation, history, verbose=verbose, quiet=quiet)
    _exit(lambda: command.many(model, recipe, pictures, batch) if pictures else command.one(model, recipe))


@app.command()
def replay(
    picture: options.Picture,
    model: options.Model,
    output: options.ReplayOutput = None,
    seed_image: options.SeedImage = None,
    input_: options.Input = None,
    device: options.Device | None = None,
    quiet: options.Quiet = False,
) -> None:
    """Make a picture again from the recipe inside it, and say whether it comes out the same."""
    target = output or picture.with_name(f"{picture.stem}-replay.png")
    check_writable(target, SUFFIXES)

    def run() -> int:
        began = time.perf_counter()
        again = replayed(picture, model, seed_image=seed_image, inputs=inputs_of(input_), device=device)
        again.result.save(target)
        check_written(again.result, target)
        if quiet:
            report.line(str(target))
        else:
            report.fact("target", f"{again.result.target} of {again.result.model_name}")
            for reason in again.reasons:
                report.fact("note", reason)
            report.result(again.result, again.result.files(target), time.perf_counter() - began)
            report.fact("replay", "the same bits" if again.same else "not the same bits")
        return 0 if again.same else 1

    _exit(run)


def _exit(run: Any) -> None:
    """Leave with the status of what is run; Ctrl-C before there is anything to write says so."""
    try:
        status = run()
    except KeyboardInterrupt:
        report.error("interrupted before there was anything to write")
        status = INTERRUPTED
    raise typer.Exit(status)


@dataclasses.dataclass(frozen=True)
class _Command:
    """One call of `onnxvis visualize`: where things go, and what is said."""

    output: Path | None
    seed_image: Path | None
    device: str
    animation: Path | None
    history: Path | None
    verbose: bool
    quiet: bool

    def one(self, path: Path, recipe: Recipe) -> int:
        """Make one picture."""
        began = time.perf_counter()
        if self.output is not None:
            check_writable(self.output, SUFFIXES)
        callbacks = self._callbacks()
        prepared = prepare(load(path), recipe, seed_image=self.seed_image, device=self.device)
        target = self.output or Path(_default_name(path, prepared) + ".png")
        check_writable(target, SUFFIXES)
        if not self.quiet:
            report.facts(prepared)
        try:
            with report.progress(recipe.steps, shown=not self.quiet) as shown:
                result = prepared.run([*shown, *callbacks])
        except VisualizationInterrupted as interruption:
            result = interruption.result
        result.save(target)
        # What counts is the file: it is read back.
        check_written(result, target)
        if self.history is not None:
            write_file(self.history, (result.history_json() + "\n").encode())
        self._print(result, target, time.perf_counter() - began)
        return INTERRUPTED if result.interrupted else 0

    def many(self, path: Path, recipe: Recipe, pictures: Any, batch: int | None) -> int:
        """Make one picture for each filter, and a sheet of all."""
        began = time.perf_counter()
        if self.animation is not None or self.history is not None:
            message = "--animation and --history are of one picture: name one filter, or several one by one."
            raise SettingError(message)
        prepared = prepare(load(path), recipe, pictures=pictures, seed_image=self.seed_image, device=self.device)
        folder = PictureFolder(self.output or Path(_default_name(path, prepared, many=True)), prepared)
        if not self.quiet:
            report.facts(prepared)
        size, count, interrupted = prepared.batch_size(batch), len(prepared.units.targets), False
        try:
            with report.progress(recipe.steps, shown=not self.quiet, batches=-(-count // size)) as shown:
                for results in prepared.run_all(size, shown):
                    for written, result in folder.add(results):
                        self._print_one(written, result)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._print_all(folder, time.perf_counter() - began, size)
        if not folder.written:
            message = (
                "interrupted before there was anything to write" if interrupted else "there is no picture to write"
            )
            report.error(message)
        return INTERRUPTED if interrupted else int(not folder.written)

    def _callbacks(self) -> list[Callback]:
        if self.history is not None:
            check_writable(self.history, (".json",))
        if self.animation is None:
            return []
        check_writable(self.animation, ANIMATIONS)
        return [Animation(self.animation)]

    def _print(self, result: Result, target: Path, seconds: float) -> None:
        if self.quiet:
            report.line(str(target))
            return
        extra = [path for path in (self.animation, self.history) if path is not None]
        report.result(result, [*result.files(target), *extra], seconds)
        if self.verbose and result.history:
            report.losses(result)

    def _print_one(self, written: Path, result: Result) -> None:
        if self.quiet:
            report.line(str(written))
        else:
            report.picture(result, written)

    def _print_all(self, folder: PictureFolder, seconds: float, size: int) -> None:
        sheet = folder.finish()
        if self.quiet:
            return
        if folder.dead:
            listed = ", ".join(map(str, folder.dead))
            report.fact("dead", f"no gradient at any start, or not finite: filter {listed}")
        if sheet is not None:
            at_once = f"{size} at a time, " if size > 1 else ""
            count = len(folder.written)
            report.fact("wrote", f"{count} picture{'s' if count != 1 else ''} and {sheet} ({at_once}{seconds:.1f} s)")


def _default_name(path: Path, prepared: Prepared, *, many: bool = False) -> str:
    target = prepared.target
    named = [] if many else target.labels or [str(index) for index in target.filters]
    parts = [path.stem, target.name, *named]
    name = "-".join(re.sub(r"[^\w.]+", "_", part).strip("_.") for part in parts)
    return name[:_LONGEST_NAME]


def _matches(spec: NodeSpec, pattern: str) -> bool:
    names = [name.lower() for name in (spec.name, spec.node, spec.tensor, spec.op_type)]
    wanted = pattern.lower()
    return any(wanted in name or fnmatch.fnmatchcase(name, wanted) for name in names)
