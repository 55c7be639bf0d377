"""The operator table: which function implements which ONNX operator from which opset on.

An operator is a plain function on tensors whose signature is the ONNX signature: positional parameters are the inputs,
keyword-only parameters the attributes, under the specification's names and with its defaults. An attribute that became
an input in a later opset is one positional parameter, whichever way it arrives. How a parameter is annotated says
how `onnxvis.lower` hands it over:

- with `Tensor` (`Tensor`, `Tensor | None`): as a tensor;
- with `Tensor` and a Python number (`Tensor | float | None`): a constant scalar as a number, all else as a tensor;
- with `ConstantTensor`: as a tensor, which must be known when the graph is lowered, as for the following;
- without `Tensor` (`Ints | None`, `float`, `str`): as a Python value, which must therefore be known when the graph is
  lowered: it can be an attribute or a constant, not something computed from the values of the model's input.

Two keyword-only parameters are no attributes: `outputs` receives the number of outputs that the node has, `input_types`
the ONNX element types of its inputs (`onnx.TensorProto.DataType`; None for an omitted one). A function returns one
tensor, or a tuple of as many as the node has outputs.

A torch tensor does not always have the dtype of its ONNX type. Floats of 8 bits and less are held in float32 and
integers of less than 8 bits in int8, since torch does not compute in them; and quantized integers that a gradient must
pass are *carried* by floats: the values of an int8 tensor in a float32 one, those of int32 in float64. Only operators
that are entered with `carries=True`, and those of `HANDING_ON`, are handed such tensors; for all others they are
converted to integers before, which cuts the gradient. An operator whose outputs have such a type says which by `types`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from torch import Tensor

from onnxvis.graph import HANDING_ON

Ints = tuple[int, ...]
Floats = tuple[float, ...]
Function = Callable[..., Any]
Types = tuple[int | None, ...]
OutputTypes = Callable[[Types, Mapping[str, Any]], Sequence[int | None]]
Passing = Literal["tensor", "scalar", "constant", "static"]
F = TypeVar("F", bound=Function)


class ConstantTensor(Tensor):
    """In an annotation: a tensor whose values decide the shape of the result; never instantiated."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operator.

    Attributes:
        name: The specification's name.
        passing: "tensor", "scalar" (a constant scalar becomes a Python number), "constant" (a tensor that must be
            known) or "static" (a Python value).
        positional: Whether it can be a node's input; the others are attributes.
        variadic: Whether it takes all remaining inputs.
        single: Whether a static value is one number rather than a tuple.
    """

    name: str
    passing: Passing
    positional: bool
    variadic: bool
    single: bool


@dataclass(frozen=True)
class Operator:
    """One entry of the table.

    Attributes:
        op_type: The ONNX name, e.g. "Conv".
        domain: "" for the default domain.
        since: The first opset for which the function is right.
        function: The implementation, on torch tensors.
        differentiable: Whether a gradient passes from outputs to inputs.
        carries: Whether the function takes quantized integers as floats; see the docstring of this module.
        cuts: Positions of outputs through which no gradient passes, where it passes others.
        types: The ONNX types of the outputs, from those of the inputs and the attributes; None where the dtype of what
            the function returns says all.
    """

    op_type: str
    domain: str
    since: int
    function: Function = field(repr=False)
    differentiable: bool
    carries: bool = False
    types: OutputTypes | None = field(default=None, repr=False)
    cuts: frozenset[int] = frozenset()

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in the order of the signature, without `outputs` and `input_types`."""
        return tuple(_parameters(self.function))

    @functools.cached_property
    def counts_outputs(self) -> bool:
        """Whether the function wants to know how many outputs the node has."""
        return "outputs" in inspect.signature(self.function).parameters

    @functools.cached_property
    def asks_types(self) -> bool:
        """Whether the function wants to know the ONNX types of its inputs."""
        return "input_types" in inspect.signature(self.function).parameters


_TABLE: dict[tuple[str, str], list[Operator]] = {}


def operator(
    op_type: str,
    *,
    since: int = 1,
    domain: str = "",
    differentiable: bool = True,
    carries: bool = False,
    types: OutputTypes | None = None,
    cuts: Iterable[int] = (),
) -> Callable[[F], F]:
    """Enter the decorated function into the table; the function itself is returned unchanged.

    Args:
        op_type: The ONNX name.
        since: The first opset of this meaning. It serves until the next entry of the same name.
        domain: The operator set; "" is the default one.
        differentiable: False where no useful gradient passes (comparisons, indices).
        carries: True where the function takes, and returns, quantized integers as floats.
        types: Returns the ONNX types of the outputs; needed where their torch dtype says less.
        cuts: Positions of outputs through which no gradient passes, where it passes others.
    """

    def enter(function: F) -> F:
        entries = _TABLE.setdefault((domain, op_type), [])
        carried = carries or (not domain and op_type in HANDING_ON)
        entries.append(Operator(op_type, domain, since, function, differentiable, carried, types, frozenset(cuts)))
        entries.sort(key=lambda entry: -entry.since)
        return function

    return enter


def find(op_type: str, version: int, domain: str = "") -> Operator | None:
    """Return the newest entry that is not newer than the model's opset, or None."""
    domain = "" if domain == "ai.onnx" else domain
    return next((entry for entry in _TABLE.get((domain, op_type), ()) if entry.since <= version), None)


def entries() -> Iterator[Operator]:
    """All entries, by domain, name and descending `since`."""
    for key in sorted(_TABLE):
        yield from _TABLE[key]


def _parameters(function: Function) -> Iterator[Parameter]:
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("outputs", "input_types"):
            continue
        kinds = _alternatives(hints[name])
        yield Parameter(
            name=name,
            passing=_passing(kinds),
            positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
            variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
            single=bool(kinds & {int, float}),
        )


def _alternatives(hint: Any) -> set[Any]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return set(typing.get_args(hint))
    return {hint}


def _passing(kinds: set[Any]) -> Passing:
    if ConstantTensor in kinds:
        return "constant"
    if Tensor not in kinds:
        return "static"
    return "scalar" if kinds & {int, float} else "tensor"
