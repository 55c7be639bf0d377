"""What the command line prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from onnxvis.doctor import Diagnosis
from onnxvis.maximize import Callback, Step
from onnxvis.model import Model, NodeSpec
from onnxvis.result import Result
from onnxvis.runs import Prepared

_UNBOUNDED = 10_000
_NEAR = 0.1
"""How far from a value, relative to it, counts as reached."""

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Print a line as it is."""
    OUT.print(text, markup=False)


def fact(label: str, text: str) -> None:
    """Print a labelled line."""
    line(f"{label:<11} {text}")


def error(text: str) -> None:
    """Print an error."""
    ERR.print(f"onnxvis: {text}", style="red", markup=False)


def nodes(model: Model, specs: Sequence[NodeSpec]) -> None:
    """Print what can be visualized."""
    line(str(model))
    if not specs:
        return
    # In a pipe no name is cut or folded.
    OUT.print(_node_table(specs), width=None if OUT.is_terminal else _UNBOUNDED)


def facts(prepared: Prepared) -> None:
    """Print what is known before the first step."""
    targets = prepared.units.targets
    target = targets[0]
    same = len({item.filters for item in targets}) == 1
    several = f"{target}, {len(targets)} pictures" if same else f"{target.name}, {len(targets)} filters"
    what = str(target) if len(targets) == 1 else several
    fact("target", f"{what} of {prepared.model.name}, {target.op_type} {_shape(target.shape)}")
    for note in prepared.notes:
        fact("note", note)
    if "assumed" not in prepared.image_input.preprocess.source:
        fact("preprocess", str(prepared.image_input.preprocess))
    if prepared.left_out:
        count = sum(prepared.left_out.values())
        listed = ", ".join(sorted(prepared.left_out))
        fact("left out", f"{count} node{'s' if count != 1 else ''} that the target does not need ({listed})")
    fact("verified", str(prepared.verification))


def result(found: Result, paths: Sequence[Path], seconds: float) -> None:
    """Print what a run gave."""
    several = found.measurement.by_filter if len(found.measurement.by_filter) > 1 else ()
    parts = f" = {' + '.join(f'{value:.4g}' for value in several)}" if several else ""
    change = f"{found.seed_activation:.4g} -> {found.activation:.4g}{parts}"
    fact("activation", f"{change} (by {found.verification.engine}, on the file as written)")
    goal = found.recipe.goal
    if isinstance(goal, (int, float)) and abs(found.activation - goal) > _NEAR * max(abs(goal), _NEAR):
        fact("note", f"{goal:g} was not reached: try more --steps, --jitter 0, or another value")
    if found.target.moved:
        before, after = found.seed_measurement.output, found.measurement.output
        fact(found.target.asked_op.lower(), f"{_listed(before)} -> {_listed(after)}")
    for name, (before_score, after_score) in found.scores.items():
        fact(name, f"{before_score:.4g} -> {after_score:.4g}")
    if found.assessment is not None:
        for label, text in found.assessment.lines():
            fact(label, text)
    done, wanted = len(found.history), found.recipe.steps or 0
    plural = "" if done == 1 else "s"
    steps = f"{done} step{plural}"
    if found.interrupted:
        steps = f"interrupted after {done} of {wanted} steps"
    elif done < wanted:
        steps = f"at a plateau after {done} of {wanted} steps"
    fact("wrote", f"{', '.join(map(str, paths))} ({_described(found)}, {steps}, {seconds:.1f} s)")


def _described(found: Result) -> str:
    item = found.parts[0].image_input
    if item.kind == "picture":
        height, width = item.size
        return f"{width}x{height}"
    return f"{item.kind} {_shape(item.shape)}"


def diagnosis(found: Diagnosis) -> None:
    """Print what stands between a recipe and its picture."""
    for label, text in found.facts:
        fact(label, text)
    for finding in found.findings:
        line(str(finding))
    line(found.verdict)


def losses(found: Result) -> None:
    """Compare the losses, weighted, at the first and the last step."""
    table = Table("loss", "weight", "first", "last", box=None, pad_edge=False)
    weights = [weight for _, weight in found.recipe.loss.terms]
    first, last = found.history[0], found.history[-1]
    for name, weight in zip(first, weights, strict=False):
        table.add_row(_plain(name), f"{weight:g}", f"{first[name]:.4g}", f"{last[name]:.4g}")
    table.add_row("total", "", f"{sum(first.values()):.4g}", f"{sum(last.values()):.4g}")
    OUT.print(table)


def picture(found: Result, path: Path, told: str = "") -> None:
    """Print one line for one of many pictures; of a group, with what tells it from the others."""
    stopped = " (interrupted)" if found.interrupted else ""
    what = ", ".join(found.target.labels or map(str, found.target.filters))
    several = found.measurement.by_filter if len(found.measurement.by_filter) > 1 else ()
    parts = f" = {' + '.join(f'{value:.4g}' for value in several)}" if several else ""
    scores = "".join(f", {name} {after:.4g}" for name, (_, after) in found.scores.items())
    fact(
        told or f"filter {what}",
        f"{found.seed_activation:.4g} -> {found.activation:.4g}{parts}{scores}  {path.name}{stopped}",
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


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


@contextmanager
def progress(steps: int, *, shown: bool, batches: int = 1) -> Iterator[list[Callback]]:
    """Show a bar on a terminal; elsewhere nothing, and no step waits for it."""
    if not shown or not ERR.is_terminal:
        yield []
        return
    columns = (
        TextColumn("optimizing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task("", total=steps * batches, loss="")

        def on_step(step: Step) -> None:
            bar.update(task, advance=1, loss=_shown(step.losses))

        yield [on_step]


def _shown(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
