"""The commands `check` and `baseline`: from their words to reports, annotations and an exit status."""

from __future__ import annotations

import dataclasses
import glob
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxvis import check_table, options, report
from onnxvis.baseline import ordinary_note, record
from onnxvis.commands import INTERRUPTED
from onnxvis.config import CheckSettings, Config, chosen_checks, overridden
from onnxvis.errors import OnnxvisError, SettingError
from onnxvis.fingerprints import RECIPE
from onnxvis.formats import as_json, github, junit, sarif
from onnxvis.globs import absolute, files_of
from onnxvis.model import load
from onnxvis.outcomes import CheckReport
from onnxvis.pages import check_page
from onnxvis.render import check_writable, write_file
from onnxvis.requests import size_of
from onnxvis.summaries import headline, one_line, worst_outcome
from onnxvis.workers import check_models

USAGE = 2
"""The exit status of a command that asks for what cannot be done."""
_STDOUT = Path("-")
_FORMATS: Mapping[str, tuple[Callable[[CheckReport], str], tuple[str, ...]]] = {
    "junit": (junit, (".xml",)),
    "json": (as_json, (".json",)),
    "sarif": (sarif, (".sarif", ".json")),
    "html": (check_page, (".html",)),
}
"""What writes each format, and what the names of its files end in."""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="Files, folders (all .onnx files in them) and globs. Default: the files that the configuration names.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The settings. Default: onnxvis.toml or pyproject.toml here or above."
    ),
]
Only = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Do this check; several: A,B, or repeat it.")]
Skip = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Leave this check out, likewise.")]
FailOn = Annotated[
    str | None,
    typer.Option(metavar="STATUS", help="warn, fail or never: from which status on the exit status is 1."),
]
Images = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Photos to feed too, beside noise.")]
BaselineFile = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="What 'onnxvis baseline' recorded of the model.")
]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Check so many models side by side; 0: one for each core. Default: 1."),
]
Timeout = Annotated[float | None, typer.Option(metavar="S", help="Seconds that one model may take.")]
JUnit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; -: print it.")]
Sarif = Annotated[Path | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF.")]
Github = Annotated[bool, typer.Option("--github", help="Print annotations for GitHub, and add to the job's summary.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page with all details and pictures.")
]
BaselineOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The .json file to write. Default: MODEL-baseline.json here."),
]
Unit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODE:FILTER", help="A unit to record, or several; NODE: is a whole layer. Default: some of each depth."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Of all random numbers. Default: 0.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=0, help=f"Of each picture. Default: {RECIPE.steps}.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what is not good.")]


def check(
    models: Models = None,
    config: ConfigFile = None,
    only: Only = None,
    skip: Skip = None,
    fail_on: FailOn = None,
    images: Images = None,
    size: options.Size = None,
    preprocess: options.Preprocess = None,
    baseline: BaselineFile = None,
    jobs: Jobs = None,
    timeout: Timeout = None,
    junit: JUnit = None,
    as_json: JsonFile = None,
    sarif: Sarif = None,
    github: Github = False,
    html: Html = None,
    quiet: Quiet = False,
) -> None:
    """Check that models are sound: that onnxruntime agrees, no unit is dead, nothing has drifted."""
    with _usage_errors():
        given = {
            "only": _words(only),
            "skip": _words(skip),
            "fail_on": fail_on,
            "images": images,
            "size": size_of(size),
            "preprocess": preprocess,
            "baseline": baseline,
            "timeout": timeout,
        }
        files = {"junit": junit, "json": as_json, "sarif": sarif, "html": html}
        run = _Run.of(models or (), config, given, jobs)
        targets = _targets(files, github=github)
    try:
        found = run.check()
    except KeyboardInterrupt:
        report.error("interrupted: no report is written")
        raise typer.Exit(INTERRUPTED) from None
    _tell(found, targets, github=github, quiet=quiet)
    raise typer.Exit(0 if found.ok else 1)


def baseline(
    model: options.Model,
    output: BaselineOutput = None,
    unit: Unit = None,
    config: ConfigFile = None,
    size: options.Size = None,
    preprocess: options.Preprocess = None,
    seed: Seed = None,
    steps: Steps = None,
) -> None:
    """Record what a model answers, for `check --baseline` to compare with later."""
    target = Path(f"{model.stem}-baseline.json") if output is None else output
    with _usage_errors():
        check_writable(target, (".json",))
        given = {"size": size_of(size), "preprocess": preprocess, "seed": seed}
        settings = overridden(Config.of(config).settings_for(model), **given)
        recipe = None if steps is None else dataclasses.replace(RECIPE, steps=steps)
    try:
        loaded = load(model)
        recorded = record(loaded, [_unit(word) for word in unit or ()], settings=settings, recipe=recipe)
        note = ordinary_note(loaded, recorded)
    except KeyboardInterrupt:
        report.error("interrupted: no baseline is written")
        raise typer.Exit(INTERRUPTED) from None
    recorded.save(target)
    if note is not None:
        report.fact("note", note)
    for item in recorded.units:
        report.fact("unit", f"{item.name}: {item.seed_activation:.4g} -> {item.activation:.4g}")
    count = len(recorded.units)
    pictures = f"{count} picture{'s' if count != 1 else ''}"
    report.fact("wrote", f"{target} ({pictures}, statistics of {len(recorded.tensors)} tensors)")


def _unit(word: str) -> tuple[str | None, int | str | None]:
    """Read NODE:FILTER at its last colon, since names hold colons too; either may be missing."""
    node, _, name = word.rpartition(":") if ":" in word else (word, "", "")
    return node or None, (int(name) if name.isdecimal() else name or None)


@dataclass(frozen=True)
class _Run:
    """What is checked, and how.

    Attributes:
        settings: Those of each file.
        fail_on: From which status on the run is not good.
        jobs: How many models are checked side by side; 0: one for each core.
    """

    settings: Mapping[Path, CheckSettings]
    fail_on: Any
    jobs: int

    @classmethod
    def of(cls, words: Sequence[str], path: Path | None, given: Mapping[str, Any], jobs: int | None) -> _Run:
        """Read the configuration, and replace what the command line says otherwise.

        Raises:
            SettingError: Something in either cannot be.
        """
        config = Config.of(path)
        files = _without_repeats(file for word in words for file in _files(word)) or config.model_files()
        if not files:
            message = (
                "No model is named. Give files, folders or globs, or write files = [...] under [check] of onnxvis.toml."
            )
            raise SettingError(message)
        if given["baseline"] is not None and len(files) > 1:
            message = (
                f"--baseline is of one model, and there are {len(files)}. Write baseline = ... under "
                '[check.models."GLOB"] of onnxvis.toml, for each of them.'
            )
            raise SettingError(message, files=files)
        settings = {file: _settings(config.settings_for(file), given) for file in files}
        fail_on = overridden(config.check, fail_on=given["fail_on"]).fail_on
        return cls(settings, fail_on, config.jobs if jobs is None else jobs)

    def check(self) -> CheckReport:
        """Check all of them; nothing was computed in this process before."""
        began = time.perf_counter()
        reports = check_models(self.settings, self.settings.__getitem__, jobs=self.jobs, fresh=True)
        return CheckReport(reports, self.fail_on, time.perf_counter() - began)


def _without_repeats(files: Iterable[Path]) -> tuple[Path, ...]:
    """Leave out what has been named before, be it in other words."""
    named: dict[Path, Path] = {}
    for file in files:
        named.setdefault(absolute(file), file)
    return tuple(named.values())


def _settings(settings: CheckSettings, given: Mapping[str, Any]) -> CheckSettings:
    """Replace settings of the file by those of the command line, whose --only is also done where the file skips it.

    Raises:
        SettingError: One is not possible, or no check is left to do.
    """
    found = overridden(settings, **given)
    if given["only"] is not None and given["skip"] is None:
        found = dataclasses.replace(found, skip=tuple(name for name in found.skip if name not in found.only))
    chosen_checks(found)
    return found


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Leave with the status of a wrong use when something cannot be done, before anything is."""
    try:
        yield
    except OnnxvisError as error:
        report.error(error.message)
        raise typer.Exit(USAGE) from None


def _words(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Split lists at commas; None: nothing is given."""
    if not given:
        return None
    return tuple(word.strip() for item in given for word in item.split(",") if word.strip())


def _files(word: str) -> Sequence[Path]:
    """Return the models that a file, a folder, or a glob that the shell has left alone means.

    A file that does not exist is a model that cannot be loaded: what a check of it reports.

    Raises:
        SettingError: There is no model in the folder, or none that the glob matches.
    """
    path = Path(word)
    if path.is_dir():
        found = files_of("**/*.onnx", path)
        message = f"There is no .onnx file in {word!r}. Name another folder, or the files."
    elif not path.exists() and glob.has_magic(word):
        found = files_of(word, Path())
        message = f"{word!r} matches no file. Correct it, or name the files."
    else:
        return [path]
    if not found:
        raise SettingError(message, models=word)
    return found


def _targets(files: Mapping[str, Path | None], *, github: bool) -> dict[str, Path]:
    """Return the files to write, after making sure that they can be.

    Raises:
        OnnxvisError: One cannot be written, two are the same, or two things are printed that do not go together.
    """
    targets = {name: path for name, path in files.items() if path is not None}
    if len({os.path.abspath(path) for path in targets.values()}) < len(targets):  # noqa: PTH100 - links may differ
        message = f"Two reports have one name: give {', '.join(f'--{name}' for name in targets)} a file each."
        raise SettingError(message, paths=tuple(targets.values()))
    if github and targets.get("json") == _STDOUT:
        message = "--json - and --github are both printed: give --json a file."
        raise SettingError(message)
    for name, path in targets.items():
        if name != "json" or path != _STDOUT:
            check_writable(path, _FORMATS[name][1])
    return targets


def _tell(found: CheckReport, targets: Mapping[str, Path], *, github: bool, quiet: bool) -> None:
    """Print and write a report in all formats that are asked for."""
    is_printed = targets.get("json") == _STDOUT
    with _commands_stopped() if github else nullcontext():
        check_table.show(found, quiet=quiet, console=report.ERR if is_printed else report.OUT)
    for name, path in targets.items():
        text = _FORMATS[name][0](found)
        if name == "json" and is_printed:
            sys.stdout.write(text)
        else:
            write_file(path, text.encode())
    if github:
        _annotate(found)


@contextmanager
def _commands_stopped() -> Iterator[None]:
    """Keep GitHub from reading commands in what is printed: a file may hold any names."""
    token = secrets.token_hex(16)
    report.line(f"::stop-commands::{token}")
    try:
        yield
    finally:
        report.line(f"::{token}::")


def _annotate(found: CheckReport) -> None:
    """Print annotations, and add a table to the summary of the job where there is one."""
    sys.stdout.write(github(found))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8", errors="replace") as file:
            file.write(_markdown(found))


def _markdown(found: CheckReport) -> str:
    """Return a table of the models in Markdown."""
    rows = ["| model | status | first of it |", "|---|---|---|"]
    for model in found.models:
        worst = worst_outcome(model)
        first = "" if worst is None or model.status in {"pass", "skip"} else f"{worst.check}: {worst.text}"
        cells = (model.model, model.status, first)
        rows.append(f"| {' | '.join(one_line(cell).replace('|', '&#124;') for cell in cells)} |")
    return "\n".join([f"### onnxvis check: {headline(found)}", "", *rows, "", ""])
