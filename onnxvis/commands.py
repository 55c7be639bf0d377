"""What `onnxvis visualize` does: make the pictures, write them, read them back, and say so."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxvis import report
from onnxvis.callbacks import ANIMATIONS, HISTORIES, Animation, Strip
from onnxvis.errors import SettingError
from onnxvis.figures import history_plot
from onnxvis.folder import PictureFolder
from onnxvis.maximize import Callback
from onnxvis.model import load
from onnxvis.prepare import prepare
from onnxvis.recipe import Recipe
from onnxvis.render import check_writable, png_bytes, write_file
from onnxvis.result import SUFFIXES, Result, VisualizationInterrupted, check_written
from onnxvis.runs import Prepared
from onnxvis.units import Pictures
from onnxvis.variations import Variation, prepare_variation, with_agreement

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended: 128 + SIGINT."""

_LONGEST_NAME = 100
"""Letters of a file's default name; file systems stop at 255 bytes."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One call of `onnxvis visualize`: where things go, and what is said.

    Attributes:
        output: The file or folder; None: named after the target.
        given: What `prepare` is given beside the recipe.
        animation: The file of the animation; None: there is none.
        strip: The file of the pictures over the steps; None: there is none.
        history: The file of the losses; None: there is none.
        verbose: Whether a table of the losses is printed.
        quiet: Whether nothing but paths is printed.
    """

    output: Path | None
    given: Mapping[str, Any]
    animation: Path | None
    strip: Path | None
    history: Path | None
    verbose: bool
    quiet: bool

    @property
    def extra(self) -> list[Path]:
        """The files that are written beside a picture."""
        return [path for path in (self.animation, self.strip, self.history) if path is not None]

    def one(self, path: Path, recipe: Recipe) -> int:
        """Make one picture."""
        began = time.perf_counter()
        if self.output is not None:
            check_writable(self.output, SUFFIXES)
        callbacks = self._callbacks()
        prepared = prepare(load(path), recipe, **self.given)
        target = self.output or Path(_default_name(path, prepared) + ".png")
        check_writable(target, SUFFIXES)
        if not self.quiet:
            report.facts(prepared)
        try:
            with report.progress(prepared.recipe.steps or 0, shown=not self.quiet) as shown:
                result = prepared.run([*shown, *callbacks])
        except VisualizationInterrupted as interruption:
            result = interruption.result
        result.save(target)
        # What counts is the file: it is read back.
        check_written(result, target)
        if self.history is not None:
            write_file(self.history, _history(result, self.history))
        self._print(result, target, time.perf_counter() - began)
        return INTERRUPTED if result.interrupted else 0

    def many(
        self, path: Path, recipe: Recipe, pictures: Pictures | None, variation: Variation | None, batch: int | None
    ) -> int:
        """Make one picture for each filter, or several that belong together, and a sheet of all."""
        began = time.perf_counter()
        if self.extra:
            message = "--animation, --strip and --history are of one picture: name one filter, or several one by one."
            raise SettingError(message)
        if pictures is not None and variation is not None:
            message = f"A range of filters is one picture for each; with --{variation.kind} name one filter."
            raise SettingError(message, kind=variation.kind)
        prepared = (
            prepare(load(path), recipe, pictures=pictures, **self.given)
            if variation is None
            else prepare_variation(load(path), recipe, variation, **self.given)
        )
        labels = () if variation is None else variation.labels()
        default = _default_name(path, prepared, many=variation is None)
        folder = PictureFolder(self.output or Path(default), prepared, labels)
        if not self.quiet:
            report.facts(prepared)
        size, count, interrupted = prepared.batch_size(batch), len(prepared.units.targets), False
        made: list[Result | None] = []
        try:
            with report.progress(prepared.recipe.steps or 0, shown=not self.quiet, batches=-(-count // size)) as shown:
                for results in prepared.run_all(size, shown):
                    if variation is not None:
                        made += results
                        continue
                    for written, result in folder.add(results):
                        self._print_one(written, result)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            for written, result in folder.add(with_agreement(prepared, made)):
                self._print_one(written, result, labels[int(written.stem)])
            self._print_all(folder, time.perf_counter() - began, size)
        if not folder.written:
            message = (
                "interrupted before there was anything to write" if interrupted else "there is no picture to write"
            )
            report.error(message)
        return INTERRUPTED if interrupted else int(not folder.written)

    def _callbacks(self) -> list[Callback]:
        """Return what is called after each step; refuse files that cannot be written before there is any."""
        if self.history is not None:
            check_writable(self.history, HISTORIES)
        if self.strip is not None:
            check_writable(self.strip)
        if self.animation is not None:
            check_writable(self.animation, ANIMATIONS)
        named = [path for path in (self.output, self.animation, self.strip, self.history) if path is not None]
        if len(set(named)) < len(named):
            message = "Two files have one name: give -o, --animation, --strip and --history a file each."
            raise SettingError(message, paths=named)
        callbacks: list[Callback] = [] if self.animation is None else [Animation(self.animation)]
        return callbacks if self.strip is None else [*callbacks, Strip(self.strip)]

    def _print(self, result: Result, target: Path, seconds: float) -> None:
        if self.quiet:
            report.line(str(target))
            return
        report.result(result, [*result.files(target), *self.extra], seconds)
        if self.verbose and result.history:
            report.losses(result)

    def _print_one(self, written: Path, result: Result, told: str = "") -> None:
        if self.quiet:
            report.line(str(written))
        else:
            report.picture(result, written, told)

    def _print_all(self, folder: PictureFolder, seconds: float, size: int) -> None:
        sheet = folder.finish()
        if self.quiet:
            return
        if folder.agreement is not None:
            report.fact("agreement", str(folder.agreement))
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


def _history(result: Result, path: Path) -> bytes:
    """Return the losses before each step as JSON, or as a figure."""
    if path.suffix.lower() == ".json":
        return (result.history_json() + "\n").encode()
    names = list(result.history[0]) if result.history else []
    curves = {name: [step[name] for step in result.history] for name in names}
    return png_bytes(history_plot(curves, f"{result.model_name}: {result.target}"), {})
