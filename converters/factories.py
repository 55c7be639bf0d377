"""A model that a function of somebody's Python code makes, and the inputs that it is to be given."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import operator
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_file import existing
from refusal import ConversionError, refusing


def is_factory(source: str) -> bool:
    """Tell `module:callable` from the path of a file."""
    return ":" in source and not Path(source).exists()


def made_by(source: str) -> Any:
    """Import a function and call it without arguments.

    Args:
        source: `module:callable`, looked for in the current folder too, or `path/to/file.py:callable`.

    Returns:
        Any: What the function returns.

    Raises:
        ConversionError: There is no such module or function, or either of them raises something.
    """
    module, _, name = source.rpartition(":")
    path = existing(module) if module.endswith(".py") else None
    look_here()
    with refusing(f"cannot import {module}"):
        imported = importlib.import_module(module) if path is None else _imported(path)
    try:
        factory = operator.attrgetter(name)(imported)
    except AttributeError as error:
        functions = ", ".join(key for key, value in vars(imported).items() if inspect.isfunction(value)) or "none"
        message = f"{module} has no {name!r}; its functions are {functions}"
        raise ConversionError(message) from error
    with refusing(f"{source}, called without arguments, fails"):
        return factory()


def look_here() -> None:
    """Let modules of the current folder be imported: a script starts with those of its own folder."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _imported(path: Path) -> Any:
    sys.path.insert(0, str(path.resolve().parent))  # its neighbors are imported as when it is run
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        message = "not a Python file"
        raise ImportError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickle look there
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Input:
    """A tensor that a function is given.

    Attributes:
        name: The function's parameter.
        sizes: Its shape.
        integer: Whether it holds integers: tokens, positions, masks.
    """

    name: str
    sizes: tuple[int, ...]
    integer: bool


@dataclass(frozen=True)
class Call:
    """The inputs of one call, by position and by name."""

    positional: tuple[Input, ...]
    named: Mapping[str, Input]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All of them, in the order of the function's parameters."""
        return (*self.positional, *self.named.values())


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add what has to be said of inputs where only a function is known."""
    add = parser.add_argument_group("the inputs; --shape gives their sizes, in order or by name").add_argument
    add("--integers", action="append", default=[], metavar="NAME", help="an input of integers, such as tokens")
    add("--dynamic-batch", action="store_true", help="leave the first axis of all inputs open")


def asked_call(signature: inspect.Signature, arguments: argparse.Namespace) -> Call:
    """Bind `--shape` and `--integers` to the parameters of a function.

    Args:
        signature: The function's, without what is not an input (`self`, parameters of the network).
        arguments: As parsed.

    Raises:
        ConversionError: An input that the function has not, or has and was given no shape.
    """
    unnamed = [sizes for name, sizes in arguments.shape if name is None]
    named = {name: sizes for name, sizes in arguments.shape if name is not None}
    try:
        bound = signature.bind(*unnamed, **named)
    except TypeError as error:
        message = f"{error}: give --shape N,C,H,W or --shape NAME=N,C,H,W for each input of {signature}"
        raise ConversionError(message) from error
    names = [*_positional_names(signature, len(bound.args)), *bound.kwargs]
    if not names:
        message = f"give the sizes of the inputs of {signature}: --shape N,C,H,W or --shape NAME=N,C,H,W"
        raise ConversionError(message)
    if unknown := set(arguments.integers) - set(names):
        message = f"--integers {min(unknown)}: there is no such input, but {', '.join(names)}"
        raise ConversionError(message)
    inputs = [
        Input(name, sizes, name in arguments.integers)
        for name, sizes in zip(names, [*bound.args, *bound.kwargs.values()], strict=True)
    ]
    count = len(bound.args)
    return Call(tuple(inputs[:count]), {given.name: given for given in inputs[count:]})


def _positional_names(signature: inspect.Signature, count: int) -> list[str]:
    names: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{index}" for index in range(count - len(names))]
        else:
            names.append(parameter.name)
    return names[:count]
