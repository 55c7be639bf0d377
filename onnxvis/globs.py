"""Which files a glob of a settings file means: it is relative to that file's folder, and written with slashes."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Sequence
from pathlib import Path

_UP = ".."


def matches(path: Path, pattern: str, folder: Path) -> bool:
    """Whether a glob, relative to a folder, matches a path as a whole.

    Args:
        path: The file, relative to the current folder or absolute.
        pattern: With *, ? and [...] within a name, and ** for any number of folders, also none.
        folder: The folder that the pattern is relative to.
    """
    wanted = os.path.normpath(pattern).replace(os.sep, "/").split("/")
    names = {absolute(path).as_posix()} if Path(pattern).is_absolute() else _names(path, folder)
    return any(_match(name.split("/"), wanted) for name in names)


def files_of(pattern: str, folder: Path) -> list[Path]:
    """Return the files that a glob matches, sorted; relative to the current folder where they are below it."""
    names = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207 - pathlib refuses ".." and "/"
    return [_nearby(folder / name) for name in names if (folder / name).is_file()]


def absolute(path: Path) -> Path:
    """Return the absolute path without following links: a file goes by the name that the user gave it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**" and _match(parts, patterns[1:]):
        return True
    # Only ".." itself leads out of the folder.
    if not parts or (parts[0] == _UP and patterns[0] != _UP):
        return False
    rest = patterns if patterns[0] == "**" else patterns[1:]
    return fnmatch.fnmatchcase(parts[0], patterns[0]) and _match(parts[1:], rest)


def _names(path: Path, folder: Path) -> set[str]:
    """Return the names that a file may go by: relative to the folder, also where either is reached over a link."""
    whole = absolute(path)
    pairs = [(whole, absolute(folder)), (whole.parent.resolve() / whole.name, folder.resolve())]
    return {_relative(file, base) for file, base in pairs}


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        # On another drive there is no way from one to the other.
        return path.as_posix()


def _nearby(path: Path) -> Path:
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path
