"""All checks of one model, in this process."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import onnx

from onnxvis import config
from onnxvis.checks import REGISTRY
from onnxvis.config import CheckSettings, chosen_checks
from onnxvis.errors import DataDependentShapeError, ModelError, OnnxvisError, UnsupportedOpError
from onnxvis.inspection import Inspection
from onnxvis.model import Model, load
from onnxvis.outcomes import Detail, ModelReport, Outcome

CHECKS = tuple(config.CHECKS)
"""The names of all checks, in the order in which they are done."""
_OF_THE_FILE = frozenset({"load", "policy", "weights", "unused-initializers"})
"""What can be said of a model that does not run."""
_BASELINE = "baseline"
_OVERFLOW = "int8-overflow"
_IN_PYTHON = re.compile(r"input_shapes=(\{.*?\})? in Python")
"""What messages say to those who visualize."""
_log = logging.getLogger(__name__)

Source = str | os.PathLike[str] | bytes | onnx.ModelProto | Model


def check(model: Source, settings: CheckSettings = CheckSettings(), *, name: str | None = None) -> ModelReport:  # noqa: B008 - frozen
    """Check one model; whatever is wrong with it is in the report.

    Args:
        model: A path, the bytes of a file, a `ModelProto` or a loaded model.
        settings: What to check, and how.
        name: What the report calls it; default: the path as given.

    Raises:
        SettingError: The settings leave no check to do.
        TypeError: The model is none of these.
    """
    started = time.perf_counter()
    if not isinstance(model, (str, os.PathLike, bytes, onnx.ModelProto, Model)):
        message = f"A model is a path, bytes, a ModelProto or a loaded model, and not {model!r:.60}."
        raise TypeError(message)
    chosen = chosen_checks(settings)
    called = _called(model, name)
    loaded, outcome = _loaded(model)
    if loaded is None:
        rest = [Outcome(check, "skip", "the model does not load") for check in chosen if check != "load"]
        return ModelReport(called, (outcome, *rest), seconds=time.perf_counter() - started)
    inspection = Inspection(loaded, settings)
    outcomes = _outcomes(inspection, settings, chosen)
    return ModelReport(called, outcomes, facts(inspection), _notes(inspection, chosen), time.perf_counter() - started)


def facts(inspection: Inspection) -> dict[str, str]:
    """Return what the file is, by name.

    Args:
        inspection: The model.
    """
    model = inspection.model
    domains = {domain: version for domain, version in model.ir.opset_imports.items() if domain not in ("", "ai.onnx")}
    others = "".join(f", {domain} {version}" for domain, version in domains.items())
    found = {
        "opset": f"{model.opset}{others}",
        "producer": " ".join(filter(None, (model.ir.producer_name, model.ir.producer_version))) or "unknown",
        "nodes": str(len(model.ir.graph)),
        "inputs": "; ".join(map(str, model.inputs)),
        "outputs": "; ".join(map(str, model.outputs)),
        "sha256": model.file_sha256[:12],
    }
    # Only where a check has made the session: nothing is run for the facts alone.
    oracle = vars(inspection).get("oracle")
    return found if oracle is None else {**found, "engine": str(oracle.engine)}


def _called(model: Source, name: str | None) -> str:
    if name is not None:
        return name
    if isinstance(model, Model):
        return model.name
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else "the model"


def _loaded(model: Source) -> tuple[Model | None, Outcome]:
    started = time.perf_counter()
    try:
        return load(model), Outcome("load", "pass", "")
    except OnnxvisError as error:
        outcome = _failure("load", error)
    except Exception as error:  # noqa: BLE001 - a file that nobody has thought of must not take the other models along
        outcome = _failure("load", error)
    return None, _timed(outcome, started)


def _outcomes(inspection: Inspection, settings: CheckSettings, chosen: tuple[str, ...]) -> tuple[Outcome, ...]:
    outcomes: list[Outcome] = []
    runs = True
    for name in chosen:
        if not runs and name not in _OF_THE_FILE:
            outcomes.append(Outcome(name, "skip", "the model does not run, see load"))
            continue
        started = time.perf_counter()
        outcome = _timed(_done(name, _function(name, inspection, settings)), started)
        outcomes.append(outcome)
        runs = runs and not (name == "load" and outcome.status in ("fail", "error"))
    return tuple(outcomes)


def _function(name: str, inspection: Inspection, settings: CheckSettings) -> Callable[[], Outcome]:
    if name == _BASELINE:
        return lambda: _compared(inspection.model, settings)
    return lambda: REGISTRY[name](inspection, settings)


def _compared(model: Model, settings: CheckSettings) -> Outcome:
    if settings.baseline is None:
        return Outcome(_BASELINE, "skip", "no baseline is given")
    # Most checks need none, and it brings the whole optimizer.
    from onnxvis.baseline_check import compare  # noqa: PLC0415

    return compare(Path(settings.baseline), model, settings)


def _done(name: str, function: Callable[[], Outcome]) -> Outcome:
    try:
        return function()
    except OnnxvisError as error:
        return _failure(name, error)
    except Exception as error:  # noqa: BLE001 - one check that breaks must not take the others along
        _log.debug("%s broke", name, exc_info=True)
        return _failure(name, error)


def _failure(name: str, error: Exception) -> Outcome:
    text = _IN_PYTHON.sub("input-shapes in onnxvis.toml", " ".join(str(error).split())) or type(error).__name__
    if isinstance(error, (UnsupportedOpError, DataDependentShapeError)):
        return Outcome(name, "skip", text)
    if isinstance(error, ModelError):
        return Outcome(name, "fail", text, (Detail("fail", text),))
    if not isinstance(error, OnnxvisError):
        text = f"the check broke at {type(error).__name__}: {text[:300]}. This is a bug of onnxvis: please report it"
    return Outcome(name, "error", text, (Detail("error", text),))


def _timed(outcome: Outcome, started: float) -> Outcome:
    return Outcome(outcome.check, outcome.status, outcome.text, outcome.details, time.perf_counter() - started)


def _notes(inspection: Inspection, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Return what was assumed, where a check has looked; a model that does not run has nothing to note."""
    if "_placed" not in vars(inspection):
        return ()
    note = inspection.ordinary_note if _OVERFLOW in chosen else None
    return inspection.notes if note is None else (*inspection.notes, note)
