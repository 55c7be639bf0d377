"""One line for whatever goes wrong."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator

_LENGTH = 500  # of what a framework says; some show all settings of a layer


class ConversionError(Exception):
    """What a user can do something about, in one line."""


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever a framework raises into a `ConversionError` that begins with `what` ("X cannot read FILE")."""
    try:
        yield
    except ConversionError:
        raise
    except Exception as error:
        kind = f"{type(error).__name__}: "
        message = f"{what}: {kind}{_reason(str(error)).removeprefix(kind)}"
        raise ConversionError(message) from error


def _reason(text: str) -> str:
    """Return the first line, or the last of those that only say where ("in user code:", followed by a traceback)."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return textwrap.shorten(lines[-1] if lines[0].endswith(":") else lines[0], _LENGTH, placeholder=" ...")
