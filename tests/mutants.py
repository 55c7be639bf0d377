"""Files that nobody should have written: small models, each changed at random in one to three places.

A mutant is drawn from its number alone, so that a finding can be looked at again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from tests.mutant_seeds import SEEDS

Mutator = Callable[[onnx.ModelProto, random.Random], None]


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        number: What it was drawn from.
        seed: Which model it was.
        changes: What was done to it.
        content: Its bytes.
    """

    number: int
    seed: int
    changes: tuple[str, ...]
    content: bytes


def mutant(number: int, seeds: Sequence[bytes] = SEEDS) -> Mutant:
    """Draw a file by its number."""
    draw = random.Random(number)  # noqa: S311 - nothing is secret here
    seed = number % len(seeds)
    if draw.random() < 0.2:
        name, damage = draw.choice(sorted(BYTES.items()))
        return Mutant(number, seed, (name,), damage(seeds[seed], draw))
    proto = onnx.ModelProto.FromString(seeds[seed])
    changes = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        name, mutator = draw.choice(sorted(MUTATORS.items()))
        mutator(proto, draw)
        changes.append(name)
    content = proto.SerializeToString(deterministic=True)
    if "not_utf8" in changes:
        content = content.replace(_MARK, b"\xff\xfe\xc3\x28")
    return Mutant(number, seed, tuple(changes), content)


def _flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3, 10])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwritten(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + draw.randbytes(draw.randint(1, 30)) + content[at + 30 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(content))
    return content[:begin] + content[begin + draw.randint(1, 40) :]


def _repeated(content: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(content))
    piece = content[begin : begin + draw.randint(1, 200)]
    return content[:begin] + piece * draw.randint(2, 5) + content[begin:]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes_flipped": _flipped,
    "bytes_overwritten": _overwritten,
    "bytes_cut": _cut,
    "bytes_repeated": _repeated,
}

_MARK = b"@@@@"
_ODD_INTEGERS = (-(2**63), -(2**31), -100, -2, -1, 0, 1, 2, 7, 100, 10_000, 2**20, 2**31, 2**40, 2**62, 2**63 - 1)
_ODD_FLOATS = (0.0, -1.0, 1e-30, 1e30, 1e6, float("nan"), float("inf"), -float("inf"))
_OPERATORS = [
    "Add",
    "MatMul",
    "Conv",
    "ConvTranspose",
    "Gemm",
    "Reshape",
    "Expand",
    "Tile",
    "Pad",
    "Resize",
    "Range",
    "ConstantOfShape",
    "OneHot",
    "Gather",
    "Slice",
    "Split",
    "Concat",
    "Transpose",
    "Softmax",
    "BatchNormalization",
    "MaxPool",
    "AveragePool",
    "LSTM",
    "GRU",
    "If",
    "Loop",
    "Scan",
    "Constant",
    "Cast",
    "Shape",
    "TopK",
    "NonZero",
    "CumSum",
    "Einsum",
    "EyeLike",
    "Unsqueeze",
    "Squeeze",
    "DepthToSpace",
    "Upsample",
    "GridSample",
    "RoiAlign",
    "NonMaxSuppression",
    "Hardmax",
    "Where",
    "Identity",
    "Trilu",
    "Bernoulli",
    "RandomNormal",
    "DFT",
    "STFT",
    "HannWindow",
    "Foo",
    "SequenceConstruct",
    "SplitToSequence",
    "Optional",
]


def graphs(proto: onnx.ModelProto) -> list[onnx.GraphProto]:
    """Return the main graph and all inner ones."""
    found = [proto.graph]
    for graph in found:
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    found.append(attribute.g)
                found.extend(attribute.graphs)
    return found


def _nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for graph in graphs(proto) for node in graph.node] + [
        node for function in proto.functions for node in function.node
    ]


def _node(proto: onnx.ModelProto, draw: random.Random) -> onnx.NodeProto:
    return draw.choice(_nodes(proto) or [proto.graph.node.add(op_type="Relu")])


def _attribute(proto: onnx.ModelProto, draw: random.Random) -> AttributeProto:
    found = [attribute for node in _nodes(proto) for attribute in node.attribute]
    return draw.choice(found) if found else proto.graph.node.add(op_type="Relu").attribute.add(name="alpha", type=1)


def _tensors(proto: onnx.ModelProto) -> list[TensorProto]:
    found = [tensor for graph in graphs(proto) for tensor in graph.initializer]
    return found + [attribute.t for node in _nodes(proto) for attribute in node.attribute if attribute.HasField("t")]


def _tensor(proto: onnx.ModelProto, draw: random.Random) -> TensorProto:
    return draw.choice(_tensors(proto) or [proto.graph.initializer.add(name="spare", data_type=1, dims=[1])])


def _infos(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [info for graph in graphs(proto) for info in (*graph.input, *graph.output, *graph.value_info)]


def _names(proto: onnx.ModelProto) -> list[str]:
    nodes = [name for node in _nodes(proto) for name in (*node.input, *node.output)]
    return nodes + [tensor.name for tensor in _tensors(proto)] + [info.name for info in _infos(proto)]


def _size(proto: onnx.ModelProto, draw: random.Random) -> None:
    infos = [info for info in _infos(proto) if info.type.tensor_type.shape.dim]
    if infos:
        draw.choice(draw.choice(infos).type.tensor_type.shape.dim).dim_value = draw.choice(_ODD_INTEGERS)


def _rank(proto: onnx.ModelProto, draw: random.Random) -> None:
    shape = draw.choice(_infos(proto)).type.tensor_type.shape
    if draw.random() < 0.5:
        del shape.dim[: draw.randint(0, 4)]
    else:
        for _ in range(draw.choice([1, 2, 30, 70])):
            shape.dim.add(dim_value=draw.choice([1, 1, 2, 1000]))


def _value_type(proto: onnx.ModelProto, draw: random.Random) -> None:
    type_ = draw.choice(_infos(proto)).type
    kind = draw.choice(["element", "sequence", "optional", "none", "sparse"])
    if kind == "element":
        type_.tensor_type.elem_type = draw.choice([*range(27), 99])
    elif kind == "none":
        type_.Clear()
    elif kind == "sparse":
        type_.sparse_tensor_type.elem_type = 1
    else:
        inner = type_.sequence_type.elem_type if kind == "sequence" else type_.optional_type.elem_type
        inner.tensor_type.elem_type = draw.randint(0, 26)


def _weight_dims(proto: onnx.ModelProto, draw: random.Random) -> None:
    tensor = _tensor(proto, draw)
    if tensor.dims and draw.random() < 0.7:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(_ODD_INTEGERS)
    else:
        tensor.dims.append(draw.choice([0, 1, 2, 2**40]))


def _weight_data(proto: onnx.ModelProto, draw: random.Random) -> None:
    tensor = _tensor(proto, draw)
    kind = draw.choice(["longer", "shorter", "both", "none", "random"])
    if kind == "both":
        tensor.float_data.append(1.0)
    elif kind == "none":
        tensor.ClearField("raw_data")
    elif kind == "random":
        tensor.raw_data = draw.randbytes(len(tensor.raw_data))
    else:
        tensor.raw_data = tensor.raw_data + b"\0\1\2" if kind == "longer" else tensor.raw_data[:-1]


def _weight_values(proto: onnx.ModelProto, draw: random.Random) -> None:
    """Change one number of a tensor that stays valid: shapes, axes, pads."""
    tensor = _tensor(proto, draw)
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except (TypeError, ValueError, onnx.checker.ValidationError):
        return
    if array.size == 0 or array.dtype.kind not in "iuf":
        return
    odd = draw.choice(_ODD_FLOATS) if array.dtype.kind == "f" else draw.choice(_ODD_INTEGERS)
    with np.errstate(all="ignore"):
        array.reshape(-1)[draw.randrange(array.size)] = np.array(odd).astype(array.dtype)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def _weight_type(proto: onnx.ModelProto, draw: random.Random) -> None:
    _tensor(proto, draw).data_type = draw.choice([*range(27), 99])


def _external(proto: onnx.ModelProto, draw: random.Random) -> None:
    tensor = _tensor(proto, draw)
    tensor.data_location = TensorProto.EXTERNAL
    entries = {
        "location": draw.choice(["", "w.bin", "../w.bin", "/etc/passwd", ".", "model.onnx", "a\0b", "x" * 5000]),
        "offset": draw.choice(["0", "-1", "1e9", "", str(2**64)]),
        "length": draw.choice(["0", "-1", "12", "", str(2**64)]),
    }
    for key in draw.sample(sorted(entries), draw.randint(0, 3)):
        tensor.external_data.add(key=key, value=entries[key])


def _cycle(proto: onnx.ModelProto, draw: random.Random) -> None:
    first, second = _node(proto, draw), _node(proto, draw)
    if first.input and second.output:
        first.input[draw.randrange(len(first.input))] = draw.choice(second.output)


def _duplicate(proto: onnx.ModelProto, draw: random.Random) -> None:
    graph = draw.choice(graphs(proto))
    fields = [field for field in (graph.node, graph.initializer, graph.input, graph.output) if field]
    if fields:
        field: Sequence[object] = draw.choice(fields)
        field.add().CopyFrom(draw.choice(field))  # type: ignore[attr-defined] # a repeated field of messages


def _removed(proto: onnx.ModelProto, draw: random.Random) -> None:
    graph = draw.choice(graphs(proto))
    fields = [
        field for field in (graph.node, graph.initializer, graph.input, graph.output, proto.opset_import) if field
    ]
    if fields:
        field = draw.choice(fields)
        del field[draw.randrange(len(field))]


def _renamed(proto: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(proto, draw)
    side = draw.choice([side for side in (node.input, node.output) if side] or [node.output])
    odd = [*_names(proto), "", "x" * 10_000, "self", "forward", "a.b/c", "\n", "0", "import os"]
    if side:
        side[draw.randrange(len(side))] = draw.choice(odd)
    node.name = draw.choice(odd)


def _arity(proto: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(proto, draw)
    side = draw.choice([node.input, node.output])
    if side and draw.random() < 0.5:
        del side[draw.randrange(len(side)) :]
    else:
        side.extend(draw.choice(_names(proto)) for _ in range(draw.choice([1, 2, 1000])))


def _operator(proto: onnx.ModelProto, draw: random.Random) -> None:
    _node(proto, draw).op_type = draw.choice(_OPERATORS)


def _domain(proto: onnx.ModelProto, draw: random.Random) -> None:
    _node(proto, draw).domain = draw.choice(
        ["com.microsoft", "ai.onnx.ml", "ai.onnx", "local", "x", "com.microsoft.nchwc"]
    )


def _attribute_removed(proto: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(proto, draw)
    if node.attribute:
        del node.attribute[draw.randrange(len(node.attribute))]


def _attribute_type(proto: onnx.ModelProto, draw: random.Random) -> None:
    attribute = _attribute(proto, draw)
    name = attribute.name
    attribute.Clear()
    attribute.name = name
    odd: list[object] = [1, -1, 2**62, 1.5, float("nan"), "text", "", [1, 2], [1.0], ["a", "b"], [2**62] * 4]
    attribute.CopyFrom(onnx.helper.make_attribute(name, draw.choice(odd)))


def _attribute_values(proto: onnx.ModelProto, draw: random.Random) -> None:
    found = [
        attribute for node in _nodes(proto) for attribute in node.attribute if attribute.ints or attribute.type == 2
    ]
    if not found:
        return
    attribute = draw.choice(found)
    if attribute.ints:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(_ODD_INTEGERS)
    else:
        attribute.i = draw.choice(_ODD_INTEGERS)


def _attribute_long(proto: onnx.ModelProto, draw: random.Random) -> None:
    attribute = _attribute(proto, draw)
    attribute.ints.extend([draw.choice(_ODD_INTEGERS)] * draw.choice([1, 10, 100_000]))


def _attribute_kind(proto: onnx.ModelProto, draw: random.Random) -> None:
    kinds = AttributeProto.AttributeType.values()
    _attribute(proto, draw).type = draw.choice(kinds)  # type: ignore[assignment] # the numbers are what is assigned


def _reference(proto: onnx.ModelProto, draw: random.Random) -> None:
    _attribute(proto, draw).ref_attr_name = draw.choice(["alpha", "", "missing"])


def _opset(proto: onnx.ModelProto, draw: random.Random) -> None:
    entry = draw.choice(proto.opset_import) if proto.opset_import else proto.opset_import.add()
    entry.version = draw.choice([0, -1, 1, 2, 6, 9, 13, 27, 28, 29, 10**9, 2**62])


def _ir_version(proto: onnx.ModelProto, draw: random.Random) -> None:
    proto.ir_version = draw.choice([0, -1, 1, 3, 14, 99, 10**9])


def _nested(proto: onnx.ModelProto, draw: random.Random) -> None:
    """Put branches into branches."""
    depth = draw.choice([2, 10, 30])
    inner = onnx.GraphProto(name="leaf")
    inner.node.add(op_type="Relu", input=[draw.choice(_names(proto) or ["x"])], output=["leaf"])
    inner.output.add(name="leaf").type.tensor_type.elem_type = 1
    for level in range(depth):
        outer = onnx.GraphProto(name=f"level{level}")
        node = outer.node.add(op_type="If", input=[draw.choice(_names(proto) or ["x"])], output=[f"level{level}"])
        for branch in ("then_branch", "else_branch")[: draw.randint(1, 2) if level > depth - 3 else 1]:
            node.attribute.append(onnx.helper.make_attribute(branch, inner))
        outer.output.add(name=f"level{level}").type.tensor_type.elem_type = 1
        inner = outer
    proto.graph.node.append(inner.node[0])


def _many_calls(proto: onnx.ModelProto, draw: random.Random) -> None:
    """Add functions that call one another twice, so that they double at each level, or in a circle."""
    levels = draw.choice([3, 10, 60])
    for level in range(levels):
        function = proto.functions.add(name=f"f{level}", domain="many", input=["a"], output=["c"])
        function.opset_import.add(domain="", version=17)
        function.opset_import.add(domain="many", version=1)
        last = level == levels - 1
        called = "Relu" if last else f"f{level + 1}"
        for source, result in (("a", "b"), ("b", "c")):
            function.node.add(op_type=called, domain="" if last else "many", input=[source], output=[result])
    proto.opset_import.add(domain="many", version=1)
    source = draw.choice([info.name for info in proto.graph.input] or ["x"])
    proto.graph.node.add(op_type="f0", domain="many", input=[source], output=["called"])


def _not_utf8(proto: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(proto, draw)
    kind = draw.choice(["name", "op_type", "output", "doc", "key"])
    if kind == "output" and node.output:
        node.output[0] = _MARK.decode()
    elif kind == "doc":
        proto.graph.doc_string = _MARK.decode()
    elif kind == "key":
        proto.metadata_props.add(key=_MARK.decode(), value=_MARK.decode())
    elif kind == "op_type":
        node.op_type = _MARK.decode()
    else:
        node.name = _MARK.decode()


def _metadata(proto: onnx.ModelProto, draw: random.Random) -> None:
    key = draw.choice(["layout", "range", "mean", "std", "labels", "color", "bgr"])
    odd = ["", "[", "NCHW", "XYZ", "[0, 1]", "[1, NaN]", "1e999", "null", "[" * 2000, '{"a": 1}', "0,0,0", "0 255"]
    proto.metadata_props.add(key=f"onnxvis.{key}", value=draw.choice(odd))
    node = _node(proto, draw)
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=draw.choice(odd))


def _sparse(proto: onnx.ModelProto, draw: random.Random) -> None:
    graph = draw.choice(graphs(proto))
    sparse = graph.sparse_initializer.add(dims=[draw.choice(_ODD_INTEGERS), draw.choice([1, 3, 2**40])])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), draw.choice(_names(proto) or ["x"])))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, draw.choice([1, 5, -1, 2**40])]), "positions"))


MUTATORS: dict[str, Mutator] = {
    "size": _size,
    "rank": _rank,
    "value_type": _value_type,
    "weight_dims": _weight_dims,
    "weight_data": _weight_data,
    "weight_values": _weight_values,
    "weight_type": _weight_type,
    "external": _external,
    "cycle": _cycle,
    "duplicate": _duplicate,
    "removed": _removed,
    "renamed": _renamed,
    "arity": _arity,
    "operator": _operator,
    "domain": _domain,
    "attribute_removed": _attribute_removed,
    "attribute_type": _attribute_type,
    "attribute_values": _attribute_values,
    "attribute_long": _attribute_long,
    "attribute_kind": _attribute_kind,
    "reference": _reference,
    "opset": _opset,
    "ir_version": _ir_version,
    "nested": _nested,
    "many_calls": _many_calls,
    "not_utf8": _not_utf8,
    "metadata": _metadata,
    "sparse": _sparse,
}
