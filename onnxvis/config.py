"""What `onnxvis check` and `onnxvis diff` are told by a file: onnxvis.toml, or [tool.onnxvis] of a pyproject.toml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from onnxvis.errors import SettingError
from onnxvis.globs import absolute, files_of, matches
from onnxvis.kinds import Reader, choice, either, flag, mapping, number, refused, several, text, whole
from onnxvis.outcomes import FailOn
from onnxvis.preprocess import PRESETS
from onnxvis.settings_file import candidates, read_table, table_of

CHECKS: Mapping[str, str] = {
    "load": "The file is a valid model.",
    "policy": "The opset, the operators and the domains are those that are allowed.",
    "weights": "No weight is NaN or infinite.",
    "unused-initializers": "Every weight in the file is read by a node.",
    "agreement": "Every float tensor of the torch graph agrees with onnxruntime.",
    "gradients": "Gradients agree with central differences of onnxruntime.",
    "finite": "No tensor becomes NaN or infinite.",
    "constant-outputs": "Every output depends on the input.",
    "dead-units": "Units answer to something.",
    "saturated-units": "Units are not stuck where their nonlinearity is flat.",
    "int8-overflow": "No sum of 8-bit products overflows on processors without VNNI.",
    "baseline": "The pictures and activations that were recorded are still reached.",
}
"""The checks, in the order in which they are done, and what holds where they pass."""
ACCEPTED = ("preprocessing", "permutation", "attributes")
"""Differences that `DiffSettings.accept` may name."""
TOLERANCES = ("float32", "float64", "float16", "bfloat16", "quantized", "gradients")
"""What `CheckSettings.tolerances` may name."""
_LAYOUT = r"FLAT|(?!.*(.).*\1)(?![^H]*D[^H]*$)(?![^W]*H[^W]*$)[NCDHW]+"
"""As `onnxvis.preprocess.is_layout`: no letter twice, D only beside H, H only beside W."""
_CONDITION = r"\s*(>=|<=|==|!=|>|<)\s*[0-9]+\s*"
_PATHS = frozenset({"images", "baseline", "inputs"})
"""Settings that are paths, or hold some."""

_Settings = TypeVar("_Settings", "CheckSettings", "DiffSettings")


@dataclass(frozen=True)
class CheckSettings:
    """The settings of the checks of one model, with their defaults.

    Attributes:
        only: The checks to do; (): all of them.
        skip: Checks to leave out, also of those in `only`.
        fail_on: From which status on the run is not good: "warn", "fail", or "never".
        tolerances: Largest relative errors, by what the tensor is computed in (float32, float64, float16, bfloat16,
            quantized), and of gradients; what is missing has the program's default.
        images: A folder of photos to feed too, beside noise and edge values.
        size: The spatial sizes where the file leaves them open, in pixels: (height, width), (length,), (depth, height,
            width); one number for all of them.
        input_shapes: Shapes by input name, where the file leaves them open.
        inputs: What other inputs are held at, by name: a number, or the path of a .npy file.
        preprocess: A preset: imagenet, caffe, tf, unit, raw255, none; None: by the file's metadata.
        range: What black and white become before normalization.
        mean: Subtracted, by channel in the model's order, or one for all.
        std: Divided by, likewise.
        bgr: Whether the model takes blue, green, red.
        layout: The input's axes in order: NCHW, NHWC, CHW, NCW, NCDHW, NC, ...
        opset: Conditions on the version of the default operator set, such as ">=13,<=20"; None: any.
        operators: The operators that are allowed; None: all.
        forbidden_operators: Operators that are not.
        domains: The operator sets that are allowed beside the default one; None: all.
        max_dead: The share of a layer's units, in [0, 1], from which on dead ones are a failure; below, a warning.
        max_saturated: The same of saturated units.
        baseline: The path of a baseline that was recorded.
        timeout: Seconds that one model may take; None: any.
        seed: Of all random numbers.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    fail_on: FailOn = "fail"
    tolerances: Mapping[str, float] = field(default_factory=dict)
    images: str | None = None
    size: tuple[int, ...] | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    inputs: Mapping[str, str | float] | None = None
    preprocess: str | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool | None = None
    layout: str | None = None
    opset: str | None = None
    operators: tuple[str, ...] | None = None
    forbidden_operators: tuple[str, ...] = ()
    domains: tuple[str, ...] | None = None
    max_dead: float = 0.5
    max_saturated: float = 0.5
    baseline: str | None = None
    timeout: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Hold lists as tuples and numbers as Python's, and refuse what no check can use.

        Raises:
            SettingError: Settings are of the wrong kind, or out of their range; all of them are named.
        """
        _settle(self, _CHECK)


@dataclass(frozen=True)
class DiffSettings:
    """The settings of a comparison of two models, with their defaults.

    Attributes:
        tolerance: Largest relative error of a layer; None: by the precision of the two files.
        min_cosine: Smallest cosine between the answers of a layer, in [-1, 1]; None: not asked.
        fail_on: From which status on the comparison is not good: "warn", "fail", or "never".
        images: A folder of photos to feed too, beside noise.
        seed: Of all random numbers.
        preprocess_a: How the first model takes pictures: preset, range, mean, std, bgr, layout; None: by its metadata.
        preprocess_b: The same of the second.
        accept: Differences that are none: "preprocessing", "permutation", "attributes".
        size: The spatial sizes where the files leave them open, in pixels.
        input_shapes: Shapes by input name, where the files leave them open.
    """

    tolerance: float | None = None
    min_cosine: float | None = None
    fail_on: FailOn = "fail"
    images: str | None = None
    seed: int = 0
    preprocess_a: Mapping[str, Any] | None = None
    preprocess_b: Mapping[str, Any] | None = None
    accept: tuple[str, ...] = ()
    size: tuple[int, ...] | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        """Hold lists as tuples and numbers as Python's, and refuse what no comparison can use.

        Raises:
            SettingError: Settings are of the wrong kind, or out of their range; all of them are named.
        """
        _settle(self, _DIFF)


@dataclass(frozen=True)
class Config:
    """All that one file says.

    Attributes:
        path: The file; None: there is none.
        files: Globs of the models to check where none are named, relative to the file.
        jobs: How many models are checked side by side; 0: one for each core.
        check: The settings of all models.
        models: Settings of the models whose path, relative to the file, matches a glob; later ones win.
        diff: The settings of comparisons.
    """

    path: Path | None = None
    files: tuple[str, ...] = ()
    jobs: int = 1
    check: CheckSettings = field(default_factory=CheckSettings)
    models: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    diff: DiffSettings = field(default_factory=DiffSettings)

    @classmethod
    def of(cls, path: Path | None = None) -> Config:
        """Read the settings of a file.

        Args:
            path: The file; a pyproject.toml is read at [tool.onnxvis]. None: the first onnxvis.toml, or pyproject.toml
                with that table, in the current folder or above it, up to the root of the repository; without one, the
                defaults.

        Raises:
            SettingError: The file cannot be read, or says what no setting can be; all such things are named.
        """
        if path is None:
            return next((cls._read(file, table) for file, table in candidates(Path.cwd())), cls())
        table = table_of(path)
        if table is None:
            message = f"{path} has no table [tool.onnxvis]. Add one, or give another --config."
            raise SettingError(message, path=path)
        return cls._read(path, table)

    @property
    def folder(self) -> Path:
        """What paths in the file are relative to."""
        return Path.cwd() if self.path is None else absolute(self.path).parent

    def settings_for(self, model: Path) -> CheckSettings:
        """Return the settings of one model: those of all, and what tables whose glob its path matches say instead."""
        settings = self.check
        for glob, given in self.models:
            if matches(model, glob, self.folder):
                settings = overridden(settings, **given)
        return settings

    def model_files(self) -> tuple[Path, ...]:
        """Return the models that `files` names, sorted within each glob; relative to the current folder if below it.

        Raises:
            SettingError: A glob matches no file.
        """
        files: dict[Path, None] = {}
        for glob in self.files:
            found = files_of(glob, self.folder)
            if not found:
                message = f"{self.path}: files: {glob!r} matches no file in {self.folder}. Correct the glob."
                raise SettingError(message, path=self.path, glob=glob)
            files |= dict.fromkeys(found)
        return tuple(files)

    @classmethod
    def _read(cls, path: Path, table: Mapping[str, Any]) -> Config:
        problems: list[str] = []
        found = read_table(table, _SECTIONS, "", problems)
        if problems:
            several = f"{len(problems)} problems: " if len(problems) > 1 else ""
            message = f"{path}: {several}{'; '.join(problems)}."
            raise SettingError(message, path=path, problems=tuple(problems))
        folder = absolute(path).parent
        check, diff = found.get("check", {}), found.get("diff", {})
        run = {name: check.pop(name) for name in ("files", "jobs") if name in check}
        models = tuple((glob, _rooted(given, folder)) for glob, given in check.pop("models", ()))
        settings, comparison = CheckSettings(**_rooted(check, folder)), DiffSettings(**_rooted(diff, folder))
        return cls(path, check=settings, models=models, diff=comparison, **run)


def chosen_checks(settings: CheckSettings) -> tuple[str, ...]:
    """Return the names of the checks that settings ask for, in order.

    Args:
        settings: `only` and `skip`.

    Raises:
        SettingError: They leave none.
    """
    chosen = tuple(
        name for name in CHECKS if (not settings.only or name in settings.only) and name not in settings.skip
    )
    if not chosen:
        only = f"only = {', '.join(settings.only)} and " if settings.only else ""
        message = f"{only}skip = {', '.join(settings.skip)} leave no check to do. Take out one of them."
        raise SettingError(message, only=settings.only, skip=settings.skip)
    return chosen


def overridden(settings: _Settings, **given: Any) -> _Settings:
    """Replace settings by those that are given: None means not given, and mappings are merged key by key.

    Raises:
        SettingError: A setting is of the wrong kind, or out of its range.
    """
    news = {name: value for name, value in given.items() if value is not None}
    for name, value in news.items():
        if isinstance(value, Mapping):
            news[name] = {**(getattr(settings, name) or {}), **value}
    return dataclasses.replace(settings, **news)


def _settle(settings: Any, readers: Mapping[str, Reader]) -> None:
    """Read each setting anew, so that Python's users are told the same as those of a file."""
    problems: list[str] = []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if value is not None or item.default is not None:
            object.__setattr__(settings, item.name, readers[item.name](value, item.name, problems))
    if problems:
        message = f"{'; '.join(problems)}."
        raise SettingError(message, problems=tuple(problems))


def _section(readers: Mapping[str, Reader], name: str) -> Reader:
    return lambda table, _, problems: read_table(table, readers, name, problems)


def _models(tables: Any, _: str, problems: list[str]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Read the tables of some models; what is of the whole run is refused."""
    if not isinstance(tables, Mapping):
        problems.append(refused(tables, "[check.models]", "a table"))
        return ()
    readers = {**_CHECK, **dict.fromkeys(("fail_on", "files", "jobs"), _of_the_run)}
    return tuple(
        (glob, read_table(table, readers, f'[check.models."{glob}"]', problems)) for glob, table in tables.items()
    )


def _of_the_run(value: Any, where: str, problems: list[str]) -> Any:
    problems.append(f"{where} is a matter of the whole run: write it under [check]")
    return value


def _rooted(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths absolute that are relative to the folder of their file."""

    def rooted(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: rooted(item) for key, item in value.items()}
        return str(folder / value) if isinstance(value, str) else value

    return {name: rooted(value) if name in _PATHS else value for name, value in given.items()}


_SHARE = number(0, 1)
_POSITIVE = number(0, above=True)
_NOT_NEGATIVE = number(0)
_WORD = text("a text that is not empty")
_WORDS = several(_WORD)
_COUNT = whole(1)
_NUMBERS = several(number(), alone=True)
PREPROCESS: Mapping[str, Reader] = {
    "range": several(number(), counts=(2,)),
    "mean": _NUMBERS,
    "std": several(_POSITIVE, alone=True),
    "bgr": flag,
    "layout": text("axes in order, such as NCHW or NHWC", _LAYOUT),
}
"""How a picture becomes an input: settings, and what baselines record."""
_SHAPES: Mapping[str, Reader] = {
    "size": several(_COUNT, counts=(1, 2, 3), alone=True),
    "input_shapes": mapping(several(_COUNT)),
}
_RUN: Mapping[str, Reader] = {
    "fail_on": choice(*get_args(FailOn)),
    "images": _WORD,
    "seed": whole(0),
}
_CHECK: Mapping[str, Reader] = {
    "only": several(choice(*CHECKS)),
    "skip": several(choice(*CHECKS)),
    "tolerances": mapping(dict.fromkeys(TOLERANCES, _NOT_NEGATIVE)),
    "inputs": mapping(either(str, _WORD, number())),
    "preprocess": choice(*PRESETS),
    "opset": text("conditions such as '>=13,<=20'", f"{_CONDITION}(,{_CONDITION})*"),
    "operators": _WORDS,
    "forbidden_operators": _WORDS,
    "domains": _WORDS,
    "max_dead": _SHARE,
    "max_saturated": _SHARE,
    "baseline": _WORD,
    "timeout": _POSITIVE,
    **_RUN,
    **_SHAPES,
    **PREPROCESS,
}
_SIDE = mapping({"preset": choice(*PRESETS), **PREPROCESS})
_DIFF: Mapping[str, Reader] = {
    "tolerance": _NOT_NEGATIVE,
    "min_cosine": number(-1, 1),
    "preprocess_a": _SIDE,
    "preprocess_b": _SIDE,
    "accept": several(choice(*ACCEPTED)),
    **_RUN,
    **_SHAPES,
}
_SECTIONS: Mapping[str, Reader] = {
    "check": _section({**_CHECK, "files": _WORDS, "jobs": whole(0), "models": _models}, "[check]"),
    "diff": _section(_DIFF, "[diff]"),
}
