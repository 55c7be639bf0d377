"""From a node's inputs and attributes to the arguments of the function that implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from onnxvis.errors import DataDependentShapeError, UnsupportedOpError
from onnxvis.ops.table import Operator, Parameter, Types

_LEGACY_HINTS = frozenset({"consumed_inputs", "is_test"})


class Known(Enum):
    """What is known of an input that is not a constant."""

    DYNAMIC = "depends on the values of the model's input"


@dataclass(frozen=True)
class Slot:
    """Stands in the arguments for the node's input number `index`."""

    index: int


def bind(
    operator: Operator,
    inputs: Sequence[Tensor | Known | None],
    attributes: Mapping[str, Any],
    outputs: int = 1,
    input_types: Types = (),
) -> tuple[list[Any], dict[str, Any]]:
    """Arrange a node's inputs and attributes as the arguments of its function.

    Args:
        operator: The entry of the table.
        inputs: For each input of the node the constant, `Known.DYNAMIC`, or None where it is omitted.
        attributes: The node's attributes as Python values (lists as tuples, tensors as tensors).
        outputs: The number of outputs that the node has.
        input_types: The ONNX element types of its inputs.

    Returns:
        Positional and keyword arguments; a `Slot` for each input that is to be passed as a tensor.

    Raises:
        DataDependentShapeError: A parameter that must be a Python value is computed from the model's input.
        UnsupportedOpError: The node has an input or an attribute that the function does not know.
    """
    args: list[Any] = []
    positional = [parameter for parameter in operator.parameters if parameter.positional]
    for index, value in enumerate(inputs):
        parameter = _parameter_at(operator, positional, index)
        args.append(_argument(operator, parameter, index, value))
    kwargs = {name: value for name, value in attributes.items() if name not in _LEGACY_HINTS}
    names = {parameter.name for parameter in operator.parameters}
    unknown = sorted(kwargs.keys() - names)
    if unknown:
        message = f"{operator.op_type}: attribute {', '.join(unknown)} is not implemented"
        raise UnsupportedOpError(message, op_type=operator.op_type, attributes=unknown)
    if operator.counts_outputs:
        kwargs["outputs"] = outputs
    if operator.asks_types:
        kwargs["input_types"] = tuple(input_types)
    return args, kwargs


def _parameter_at(operator: Operator, positional: Sequence[Parameter], index: int) -> Parameter:
    if index < len(positional):
        return positional[index]
    if positional and positional[-1].variadic:
        return positional[-1]
    message = f"{operator.op_type}: input number {index} is not implemented"
    raise UnsupportedOpError(message, op_type=operator.op_type, index=index)


def _argument(operator: Operator, parameter: Parameter, index: int, value: Tensor | Known | None) -> Any:
    if value is None:
        return None
    if parameter.passing == "tensor":
        return Slot(index)
    if parameter.passing == "scalar":
        return value.item() if isinstance(value, Tensor) and value.ndim == 0 else Slot(index)
    if isinstance(value, Known):
        message = f"{operator.op_type}: {parameter.name} {value.value}; it must be a constant"
        raise DataDependentShapeError(message, op_type=operator.op_type, parameter=parameter.name)
    if parameter.passing == "constant":
        return Slot(index)
    return value.item() if parameter.single else tuple(value.reshape(-1).tolist())
