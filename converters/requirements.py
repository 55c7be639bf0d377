"""Print what converters need, one requirement a line, for environments that are not made by uv.

    python converters/requirements.py converters/from_keras.py converters/from_tflite.py > requirements.txt

Each converter says it in its own header (PEP 723, https://peps.python.org/pep-0723/), and nothing says it again.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def header(script: Path) -> dict[str, Any]:
    """Read the inline metadata of a script.

    Raises:
        ValueError: It has none.
    """
    lines = script.read_text(encoding="utf-8").splitlines()
    if "# /// script" not in lines:
        message = f"{script} has no header of PEP 723"
        raise ValueError(message)
    start = lines.index("# /// script") + 1
    end = lines.index("# ///", start)
    return tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[start:end]))


def requirements(scripts: Sequence[Path]) -> list[str]:
    """List what scripts need together, in alphabetical order."""
    return sorted({requirement for script in scripts for requirement in header(script)["dependencies"]})


if __name__ == "__main__":
    print("\n".join(requirements([Path(argument) for argument in sys.argv[1:]])))
