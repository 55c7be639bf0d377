"""Finding and reading a file of settings: onnxvis.toml, or [tool.onnxvis] of a pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxvis.errors import SettingError, innermost_reason
from onnxvis.kinds import Reader, refused, unknown

_NAME = "onnxvis.toml"
_PROJECT = "pyproject.toml"
_REPOSITORY = ".git"


def candidates(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the files that hold settings, the nearest first, up to the root of the repository."""
    for place in (folder, *folder.parents):
        for path in (place / _NAME, place / _PROJECT):
            table = _found(path) if path.is_file() else None
            if table is not None:
                yield path, table
        if (place / _REPOSITORY).exists():
            return


def _found(path: Path) -> Mapping[str, Any] | None:
    """Return what a file holds that nobody has named: a broken pyproject.toml of other programs is not ours to mend."""
    try:
        return table_of(path)
    except SettingError:
        if path.name == _PROJECT and not _mentions_us(path):
            return None
        raise


def _mentions_us(path: Path) -> bool:
    try:
        return b"tool.onnxvis" in path.read_bytes()
    except OSError:
        return False


def table_of(path: Path) -> Mapping[str, Any] | None:
    """Return what a file holds; of a pyproject.toml only the program's own table, if it has one."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        message = f"The settings of {path} cannot be read: {innermost_reason(error)}. They are written in TOML."
        raise SettingError(message, path=path) from error
    if path.name != _PROJECT:
        return whole
    tools = whole.get("tool")
    return tools.get("onnxvis") if isinstance(tools, Mapping) else None


def read_table(table: Any, readers: Mapping[str, Reader], where: str, problems: list[str]) -> dict[str, Any]:
    """Read a table whose keys are settings, written with dashes or underscores."""
    if not isinstance(table, Mapping):
        problems.append(refused(table, where or "[tool.onnxvis]", "a table"))
        return {}
    found: dict[str, Any] = {}
    known = {name.replace("_", "-"): name for name in readers}
    for key, value in table.items():
        dashed = key.replace("_", "-")
        place = f"{where} {dashed}".lstrip()
        if dashed not in known:
            problems.append(f"{f'{where} {key}'.lstrip()} is unknown: {unknown(dashed, list(known))}")
        elif known[dashed] in found:
            problems.append(f"{place} is given twice, with a dash and with an underscore")
        else:
            found[known[dashed]] = readers[known[dashed]](value, place, problems)
    return found
