"""From a person's words to a unit: a tensor, its channel axis, and the filters in it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import onnx_ir as ir

from onnxvis.errors import FilterError, NotVisualizableError
from onnxvis.graph import computed_values
from onnxvis.model import Model

Filters = SupportsIndex | str | Sequence[SupportsIndex | str] | None

_SHOWN = 20
_SATURATING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "QLinearSoftmax", "QLinearSigmoid"})
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_REARRANGING = _QUANTIZERS | frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Cast", "Clip"}
)
_AFTER_CLASSES = _SATURATING | _REARRANGING | {"Relu", "GlobalAveragePool", "AveragePool", "ReduceMean"}


@dataclass(frozen=True)
class Target:
    """One unit, or several that are looked at together.

    Attributes:
        query: What was asked for.
        name: The short name of the tensor that is maximized.
        tensor: Its name in the file.
        op_type: The operator that computes it.
        shape: Its shape, as far as the file says.
        filters: Indices along the channel axis; () means the whole tensor.
        channel_axis: The axis of the channels; None if `filters` is () and it is not known.
        asked: The tensor that was asked for; another than `tensor` where the target has moved to the logits.
        asked_op: The saturating operator from whose output the target has moved, else "".
        labels: The class names of `filters`, where the model has them.
    """

    query: str
    name: str
    tensor: str
    op_type: str
    shape: tuple[int | str | None, ...] | None
    filters: tuple[int, ...]
    channel_axis: int | None
    asked: str
    asked_op: str = ""
    labels: tuple[str, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether the target is the logits of what was asked for."""
        return self.tensor != self.asked

    def __str__(self) -> str:
        named = ", ".join(self.labels) or ", ".join(map(str, self.filters))
        return f"{self.name} filter {named}" if self.filters else self.name


def resolve(
    model: Model,
    node: str | None = None,
    filters: Filters = None,
    *,
    channel_axis: int | None = None,
    logits: bool = True,
) -> Target:
    """Find the unit that a name and filter numbers (or class names) mean.

    Args:
        model: The model; with known shapes (`Model.at`), more channel axes can be told.
        node: Any name of a node, tensor or scope; None: the first output.
        filters: Channel indices (negative ones count from the end) or class names; None: the whole tensor.
        channel_axis: Where the channels are, if that cannot be told from the graph.
        logits: Move a softmax or sigmoid output to its input, whose gradient does not vanish.

    Raises:
        UnknownNodeError: No node has this name.
        AmbiguousNodeError: Several have it.
        FilterError: No such filter, or the channel axis is not known.
        NotVisualizableError: The tensor is not a float tensor, or no input reaches it.
    """
    asked = _value(model, node)
    _check_visualizable(model, asked)
    value = _before_saturation(model, asked, channel_axis) if logits else asked
    shape = model.spec(value).shape
    wanted = _listed(filters)
    axis = _axis(model, value, channel_axis) if wanted or channel_axis is not None else _known_axis(model, value)
    count = shape[axis] if shape is not None and axis is not None and axis < len(shape) else None
    named = model.labels if len(model.labels) == count and _decides(value) else ()
    indices = tuple(dict.fromkeys(_index(model, value, item, count, named) for item in wanted))
    producer = value.producer()
    return Target(
        query=node or str(asked.name),
        name=model.names.short_name(value),
        tensor=str(value.name),
        op_type="" if producer is None else producer.op_type,
        shape=shape,
        filters=indices,
        channel_axis=axis,
        asked=str(asked.name),
        asked_op=_saturating_op(asked) if value is not asked else "",
        labels=tuple(named[index] for index in indices) if named else (),
    )


def _value(model: Model, node: str | None) -> ir.Value:
    if node is None:
        if not model.ir.graph.outputs:
            message = f"{model.name} has no output. Name a node with --node."
            raise NotVisualizableError(message)
        return model.ir.graph.outputs[0]
    return model.names.find(node, source=model.name)


def _check_visualizable(model: Model, value: ir.Value) -> None:
    spec = model.spec(value)
    node = value.producer()
    kind = (
        "an input of the model"
        if value.is_graph_input()
        else "a constant"
        if node is None
        else f"computed by {node.op_type}"
    )
    remedy = f"'onnxvis nodes {model.name}' lists what can be visualized."
    if not spec.is_float and value not in set(model.activations):
        message = f"Tensor {spec.name!r} ({kind}) holds {spec.dtype}, not floats: no gradient reaches it. {remedy}"
        raise NotVisualizableError(message, tensor=spec.name)
    if value not in set(computed_values(model.ir.graph)):
        message = f"Tensor {spec.name!r} ({kind}) does not depend on the values of any input. {remedy}"
        raise NotVisualizableError(message, tensor=spec.name)


def made_by(value: ir.Value) -> str:
    """Return the operator that computes a tensor's numbers, behind whatever only rearranges or quantizes them."""
    while (node := value.producer()) is not None and node.op_type in _REARRANGING and node.inputs[0] is not None:
        value = node.inputs[0]
    return "" if node is None else node.op_type


def _before_saturation(model: Model, value: ir.Value, channel_axis: int | None) -> ir.Value:
    """Step back over a softmax or sigmoid, and over what only rearranges its output."""
    current = value
    while (node := current.producer()) is not None and node.op_type in _SATURATING | _REARRANGING:
        source = node.inputs[0]
        if source is None or (node.op_type in _REARRANGING and current.index() != 0):
            break
        current = source
        if node.op_type in _SATURATING:
            logits = _before_quantizers(current)
            return logits if _same_channels(model, logits, value, channel_axis) else value
    return value


def _before_quantizers(value: ir.Value) -> ir.Value:
    while (node := value.producer()) is not None and node.op_type in _QUANTIZERS and node.inputs[0] is not None:
        value = node.inputs[0]
    return value


def _same_channels(model: Model, first: ir.Value, second: ir.Value, channel_axis: int | None) -> bool:
    if channel_axis is not None:
        # It was said of the second, and means the same in the first only where nothing has been rearranged.
        shape = model.spec(first).shape
        return shape is not None and shape == model.spec(second).shape
    return _channels(model, first) == _channels(model, second)


def _decides(value: ir.Value) -> bool:
    """Whether a tensor becomes an output without another layer in between: its channels are the classes."""
    if value.is_graph_output():
        return True
    readers = [use.node for use in value.uses()]
    return any(node.op_type in _AFTER_CLASSES and _decides(node.outputs[0]) for node in readers)


def _channels(model: Model, value: ir.Value) -> int | str | None:
    shape, axis = model.spec(value).shape, _known_axis(model, value)
    return None if shape is None or axis is None or axis >= len(shape) else shape[axis]


def _known_axis(model: Model, value: ir.Value) -> int | None:
    return model.channel_axes.get(str(value.name))


def _saturating_op(value: ir.Value) -> str:
    current: ir.Value | None = value
    while current is not None and (node := current.producer()) is not None:
        if node.op_type in _SATURATING:
            return node.op_type
        current = node.inputs[0]
    return ""


def _axis(model: Model, value: ir.Value, given: int | None) -> int:
    shape = model.spec(value).shape
    name = model.names.short_name(value)
    if given is not None:
        if shape is not None and not -len(shape) <= given < len(shape):
            message = f"--channel-axis {given} is out of range: {name!r} has shape {_written(shape)}."
            raise FilterError(message, channel_axis=given)
        return given % len(shape) if shape is not None else given
    axis = _known_axis(model, value)
    if axis is None:
        message = (
            f"Which axis of {name!r} {_written(shape)} holds the filters cannot be told from the graph. "
            "Say it with --channel-axis, or leave --filter out to maximize the whole tensor."
        )
        raise FilterError(message, tensor=str(value.name))
    return axis


def _written(shape: Sequence[int | str | None] | None) -> str:
    return "of unknown shape" if shape is None else "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _listed(filters: Filters) -> list[int | str]:
    if filters is None:
        return []
    items = [filters] if isinstance(filters, str) or not isinstance(filters, Iterable) else list(filters)
    return [item if isinstance(item, str) else operator.index(item) for item in items]


def _index(model: Model, value: ir.Value, item: int | str, count: int | str | None, labels: Sequence[str]) -> int:
    name = model.names.short_name(value)
    if isinstance(item, str) and not item.strip().removeprefix("-").isdecimal():
        return _label_index(name, item, labels)
    index = int(item)
    if isinstance(count, int):
        _check_range(name, (index,), count)
        return index % count
    return index


def _label_index(name: str, label: str, labels: Sequence[str]) -> int:
    if not labels:
        message = f"--filter {label!r} is no number, and {name!r} has no class names. Give a filter number."
        raise FilterError(message, filter=label)
    folded = [known.casefold() for known in labels]
    if label.casefold() not in folded:
        shown = ", ".join(labels[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")
        hint = " Of all filters at once, visualize_filters makes one picture each." if label == "all" else ""
        message = f"{name!r} has no class {label!r}. Its classes: {shown}.{hint}"
        raise FilterError(message, filter=label)
    if folded.count(label.casefold()) > 1:
        numbers = [str(index) for index, known in enumerate(folded) if known == label.casefold()]
        message = f"{name!r} has {len(numbers)} classes {label!r}: give a filter number, {', '.join(numbers)}."
        raise FilterError(message, filter=label)
    return folded.index(label.casefold())


def _check_range(name: str, indices: Sequence[int], count: int) -> None:
    wrong = [index for index in indices if not -count <= index < count]
    if wrong:
        message = f"Filter {wrong[0]} is out of range: {name!r} has {count} filters, 0 to {count - 1}."
        raise FilterError(message, filter=wrong[0], filters=count)
