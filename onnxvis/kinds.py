"""What values the settings of a file may have: readers that append to a list what they refuse, so that all is told.

A reader takes a plain value, where it stands, and the list of problems; it returns the value as settings hold it.
"""

from __future__ import annotations

import difflib
import math
import numbers
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_INT64_END = 2**63

Reader = Callable[[Any, str, list[str]], Any]


def refused(value: Any, where: str, allowed: str) -> str:
    """Return one problem: where it is, what was found, what is allowed."""
    return f"{where} is {_shown(value)}, and must be {allowed}"


def unknown(word: str, known: Sequence[str]) -> str:
    """Return the end of a problem: the nearest known word, else all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"nearest: '{near[0]}'" if near else f"known: {', '.join(known)}"


def number(least: float = -math.inf, most: float = math.inf, *, above: bool = False) -> Reader:
    """Return a reader of finite numbers from `least` to `most`.

    Args:
        least: The smallest.
        most: The largest.
        above: Whether `least` itself is excluded.
    """
    low = "" if math.isinf(least) else f" above {least:g}" if above else f" of at least {least:g}"
    allowed = f"a finite number{low}" if math.isinf(most) else f"a number from {least:g} to {most:g}"

    def read(value: Any, where: str, problems: list[str]) -> Any:
        found = _real(value)
        if math.isfinite(found) and least <= found <= most and not (above and found == least):
            return found
        problems.append(refused(value, where, allowed))
        return value

    return read


def whole(least: int) -> Reader:
    """Return a reader of whole numbers from `least` on, as far as 64 bits hold them; 1.0 is one too, as in JSON."""

    def read(value: Any, where: str, problems: list[str]) -> Any:
        found = _integer(value)
        if found is not None and least <= found < _INT64_END:
            return found
        problems.append(refused(value, where, f"a whole number from {least} on"))
        return value

    return read


def flag(value: Any, where: str, problems: list[str]) -> Any:
    """Read true or false."""
    if not isinstance(value, bool):
        problems.append(refused(value, where, "true or false"))
    return value


def text(allowed: str, pattern: str = r"(?s).+") -> Reader:
    """Return a reader of texts that a pattern matches from end to end; paths become texts."""

    def read(value: Any, where: str, problems: list[str]) -> Any:
        found = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(found, str) and re.fullmatch(pattern, found):
            return found
        problems.append(refused(value, where, allowed))
        return value

    return read


ANY_TEXT = text("a text", r"(?s).*")
"""Reads texts, also the empty one."""


def choice(*choices: str) -> Reader:
    """Return a reader of one of some words."""

    def read(value: Any, where: str, problems: list[str]) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        hint = unknown(value, choices) if isinstance(value, str) else f"known: {', '.join(choices)}"
        problems.append(f"{where} is {_shown(value)}: {hint}")
        return value

    return read


def several(item: Reader, counts: Sequence[int] | None = None, *, alone: bool = False) -> Reader:
    """Return a reader of lists.

    Args:
        item: Reads each item.
        counts: How many there may be; None: any number, none too.
        alone: Whether one item may stand without a list.
    """
    many = "" if counts is None else f" of {' or '.join(map(str, counts))} items"

    def read(value: Any, where: str, problems: list[str]) -> Any:
        is_list = isinstance(value, Iterable) and not isinstance(value, (str, Mapping))
        if alone and not is_list:
            return (item(value, where, problems),)
        parts = tuple(value) if is_list else ()
        if not is_list or (counts is not None and len(parts) not in counts):
            problems.append(refused(value, where, f"a list{many}"))
            return value
        return tuple(item(part, f"{where}[{index}]", problems) for index, part in enumerate(parts))

    return read


def mapping(item: Reader | Mapping[str, Reader]) -> Reader:
    """Return a reader of tables.

    Args:
        item: Reads each value, whatever its key; or the reader of each key that is known.
    """

    def read(value: Any, where: str, problems: list[str]) -> Any:
        if not isinstance(value, Mapping):
            problems.append(refused(value, where, "a table"))
            return value
        found = {}
        for key, part in value.items():
            reader = item.get(key) if isinstance(item, Mapping) else item
            if reader is None or not isinstance(key, str):
                hint = unknown(str(key), list(item)) if isinstance(item, Mapping) else "keys are texts"
                problems.append(f"{where}.{key} is unknown: {hint}")
                continue
            found[key] = reader(part, f"{where}.{key}", problems)
        return found

    return read


def either(first: type, reader: Reader, other: Reader) -> Reader:
    """Return a reader that leaves values of a type to one reader and all others to another."""
    return lambda value, where, problems: (reader if isinstance(value, first) else other)(value, where, problems)


def anything(value: Any, _where: str, _problems: list[str]) -> Any:
    """Read a value that is looked at elsewhere."""
    return value


def checked(reader: Reader, value: Any, where: str) -> Any:
    """Read one value alone.

    Raises:
        ValueError: It is refused; all that is wrong with it is told.
    """
    problems: list[str] = []
    found = reader(value, where, problems)
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, float)):
        return None
    return int(value) if isinstance(value, numbers.Integral) or value.is_integer() else None


def _real(value: Any) -> float:
    """Return a number as a float, and what is none, or too large for one, as NaN."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _shown(value: Any) -> str:
    """Return a value on one line, as the file would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    shown = repr(value)
    most = 60
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
