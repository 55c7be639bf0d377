"""What is reported of a model whose process died, or that did not finish: one outcome, of the check `process`."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from onnxvis.errors import innermost_reason
from onnxvis.outcomes import Detail, ModelReport, Outcome

CHECK = "process"
_FATAL = re.compile(r"Fatal Python error: .*|Windows fatal exception: .*")
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')


def crashed(path: Path, code: int | None, log: Path, seconds: float) -> ModelReport:
    """Report a model whose process has died.

    Args:
        path: The model.
        code: How the process ended: its exit status, or minus the number of a signal.
        log: What it has printed.
        seconds: How long it lived with the model.
    """
    text = f"{_ending(code)}; other models are not concerned: --only NAME tells which check does it"
    line = _fatal_line(log)
    return _report(path, text, seconds, () if line is None else (Detail("error", line),))


def late(path: Path, limit: float, seconds: float) -> ModelReport:
    """Report a model that has run out of time.

    Args:
        path: The model.
        limit: The seconds that it had.
        seconds: How long it took.
    """
    return _report(path, f"did not finish in {limit:g} s: raise timeout, or skip what takes long", seconds)


def unstarted(path: Path, code: int | None, seconds: float) -> ModelReport:
    """Report a model whose process has come to its end, or had to, before it took the model.

    Args:
        path: The model.
        code: How the process ended: its exit status, or minus the number of a signal; None: it did not.
        seconds: How long it was waited for.
    """
    ending = f"hung for {seconds:.0f} s" if code is None else "ended" if code >= 0 else f"died of signal {-code}"
    text = (
        f"its process {ending} before it took the model: in a script, guard what calls onnxvis with "
        "if __name__ == '__main__', and keep it in a file, since processes start with reading it"
    )
    return _report(path, text, seconds)


def untried(path: Path, first: str) -> ModelReport:
    """Report a model for which no process was started, since none came up before.

    Args:
        path: The model.
        first: The model whose report tells why.
    """
    return _report(path, f"not checked: no process starts here, see {first}", 0.0)


def raised(path: Path, error: Exception, seconds: float) -> ModelReport:
    """Report a model over which the checks themselves failed.

    Args:
        path: The model.
        error: What was raised.
        seconds: How long it took.
    """
    text = f"could not be checked: {type(error).__name__}: {innermost_reason(error)}"
    return _report(path, text, seconds)


def _report(path: Path, text: str, seconds: float, details: tuple[Detail, ...] = ()) -> ModelReport:
    return ModelReport(str(path), (Outcome(CHECK, "error", text, details, seconds),), seconds=seconds)


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with exit status {code} before there was a report"
    number = -code
    named = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
    why = ", as Linux ends what takes too much memory" if number == getattr(signal, "SIGKILL", None) else ""
    return f"crashed by signal {number}{named}{why}"


def _fatal_line(log: Path) -> str | None:
    """Return what Python's fault handler has left, and the innermost line of code that it names."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fatal = _FATAL.search(text)
    if fatal is None:
        return None
    frame = _FRAME.search(text, fatal.end())
    where = "" if frame is None else f", in {frame[3]} ({Path(frame[1]).name}, line {frame[2]})"
    return f"{fatal[0]}{where}"
