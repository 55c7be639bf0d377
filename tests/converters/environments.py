"""Interpreters of the environments that hold one framework each, and the converters run with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONVERTERS = ROOT / "converters"


def python_with(framework: str) -> Path:
    """Find the interpreter that has a framework, or skip the test.

    Args:
        framework: As in `ONNXVIS_TENSORFLOW_PYTHON` and `.venv-tensorflow`.
    """
    variable = f"ONNXVIS_{framework.upper()}_PYTHON"
    python = Path(os.environ.get(variable) or ROOT / f".venv-{framework}/bin/python")
    if not python.is_file():
        pytest.skip(f"needs an environment with {framework}: no {python} (name its interpreter in {variable})")
    return python


def run(python: Path, script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script with an interpreter, as a user would."""
    return subprocess.run([python, script, *arguments], capture_output=True, text=True, check=False, timeout=300)


def complaint(python: Path, script: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a converter that has to refuse: return the exit code and the only line that it writes to stderr."""
    finished = run(python, CONVERTERS / script, *arguments)
    (line,) = finished.stderr.splitlines()
    return finished.returncode, line
