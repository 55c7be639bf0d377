"""The command line: parse, call one public function, print."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import sys
import time
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from onnxvis import check_cli, diff_cli, options, report
from onnxvis.commands import INTERRUPTED, Command
from onnxvis.doctor import diagnose
from onnxvis.errors import OnnxvisError, SettingError
from onnxvis.model import NodeSpec, load
from onnxvis.processor import describe
from onnxvis.recipe import Recipe
from onnxvis.render import check_writable
from onnxvis.replay import replay as replayed
from onnxvis.requests import (
    inputs_of,
    judge_of,
    recipe_of,
    variation_of,
)
from onnxvis.result import SUFFIXES, check_written

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


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="With --version: what a report of a fault should say of this machine.")
    ] = False,
) -> None:
    if verbose and not version:
        message = "--verbose goes with --version."
        raise typer.BadParameter(message, param_hint="--verbose")
    if not version:
        return
    if verbose:
        for label, text in describe():
            report.fact(label, text)
    else:
        report.line(f"onnxvis {installed_version('onnxvis')}")
    raise typer.Exit


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
    preset: options.Preset = Recipe.preset,
    objective: options.Objective = None,
    direction: options.Direction = None,
    steps: options.Steps = None,
    learning_rate: options.LearningRate = None,
    patience: options.Patience = None,
    seed: options.Seed = Recipe.seed,
    seed_image: options.SeedImage = None,
    near: options.Near = None,
    near_weight: options.NearWeight = Recipe.near_weight,
    seeds: options.Seeds = None,
    diversity: options.Diversity = None,
    interpolate: options.Interpolate = None,
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
    spectrum: options.Spectrum = None,
    jitter: options.Jitter = None,
    views: options.Views = None,
    tv_weight: options.TvWeight = None,
    tv_beta: options.TvBeta = Recipe.tv_beta,
    lp_weight: options.LpWeight = None,
    lp_p: options.LpP = Recipe.lp_p,
    backprop: options.Backprop = None,
    gradient_modifier: options.GradientModifier = None,
    transparency: options.Transparency = None,
    images: options.Images = None,
    judge: options.Judge = None,
    judge_preprocess: options.JudgePreprocess = None,
    batch: options.Batch = None,
    animation: options.Animation = None,
    strip: options.Strip = None,
    history: options.History = None,
    precision: options.Precision = Recipe.precision,
    device: options.Device = "auto",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a picture of what a filter looks for, and measure by onnxruntime what it does to the model."""
    # The options are named as the settings are.
    recipe, pictures = recipe_of(locals())
    variation = variation_of(seeds, diversity, interpolate, reach)
    given = {
        "seed_image": seed_image,
        "device": device,
        "images": images,
        "judge": judge_of(judge, judge_preprocess),
    }
    command = Command(output, given, animation, strip, history, verbose=verbose, quiet=quiet)
    if pictures or variation:
        _exit(lambda: command.many(model, recipe, pictures, variation, batch))
    _exit(lambda: command.one(model, recipe))


@app.command()
def doctor(
    model: options.Model,
    node: options.Node = None,
    filter_: options.Filter = None,
    neuron: options.Neuron = None,
    minimize: options.Minimize = False,
    reach: options.Reach = None,
    preset: options.Preset = Recipe.preset,
    objective: options.Objective = None,
    direction: options.Direction = None,
    learning_rate: options.LearningRate = None,
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
    tv_weight: options.TvWeight = None,
    tv_beta: options.TvBeta = Recipe.tv_beta,
    lp_weight: options.LpWeight = None,
    lp_p: options.LpP = Recipe.lp_p,
    images: options.Images = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say why a picture stays grey, and what to do about it."""
    recipe, pictures = recipe_of(locals())
    if pictures or variation_of(None, None, None, reach):
        message = "The doctor looks at one unit and one goal: name one filter, and one value to reach."
        raise SettingError(message, filters=filter_, reach=reach)
    found = diagnose(load(model), recipe, seed_image=seed_image, device=device, images=images)
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
        return
    report.diagnosis(found)


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


app.command("check")(check_cli.check)
app.command("baseline")(check_cli.baseline)
app.command("diff")(diff_cli.diff_command)


def _exit(run: Any) -> None:
    """Leave with the status of what is run; Ctrl-C before there is anything to write says so."""
    try:
        status = run()
    except KeyboardInterrupt:
        report.error("interrupted before there was anything to write")
        status = INTERRUPTED
    raise typer.Exit(status)


def _matches(spec: NodeSpec, pattern: str) -> bool:
    names = [name.lower() for name in (spec.name, spec.node, spec.tensor, spec.op_type)]
    wanted = pattern.lower()
    return any(wanted in name or fnmatch.fnmatchcase(name, wanted) for name in names)
