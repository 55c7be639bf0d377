from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from onnxvis.errors import AmbiguousNodeError, FilterError, NotVisualizableError, UnknownNodeError
from onnxvis.model import Model, load
from onnxvis.target import Target, resolve
from tests.models import conv_net, parsed

CLASSES = ("cat", "dog", "Ring Tail", "7up", "eel")


def labeled() -> Model:
    proto = conv_net()
    proto.metadata_props.add(key="onnxvis.labels", value="\n".join(CLASSES))
    return load(proto)


def tail(nodes: str, outputs: str = "float[N, 5] y") -> Model:
    """The classifier's logits (N, 5), with another end."""
    text = f"""
    <ir_version: 8, opset_import: ["": 17]> g (float[N, 6] x, float[N, 6] other) => ({outputs})
    {{ logits = MatMul (x, w)  {nodes} }}"""
    return load(parsed(text, w=np.ones((6, 5), np.float32)))


def test_without_a_node_it_is_the_first_output_before_its_softmax() -> None:
    target = resolve(load(conv_net()), None, 3)
    assert target == Target(
        query="probabilities",
        name="logits",
        tensor="logits",
        op_type="Gemm",
        shape=("N", 5),
        filters=(3,),
        channel_axis=1,
        asked="probabilities",
        asked_op="Softmax",
    )
    assert target.moved
    assert str(target) == "logits filter 3"


def test_without_filters_it_is_the_whole_tensor() -> None:
    target = resolve(load(conv_net()), "conv2")
    assert (target.filters, target.channel_axis, target.moved, str(target)) == ((), 1, False, "conv2")


@pytest.mark.parametrize(
    ("filters", "indices"),
    [
        (0, (0,)),
        (-1, (3,)),
        ("2", (2,)),
        (" -2 ", (2,)),
        ([1, "3"], (1, 3)),
        (np.int64(2), (2,)),
        (np.array([0, 2]), (0, 2)),
        ((3, -1, 3), (3,)),
        ([], ()),
    ],
)
def test_filters_are_numbers_from_either_end(filters: int | Sequence[int | str], indices: tuple[int, ...]) -> None:
    assert resolve(load(conv_net()), "conv1", filters).filters == indices


@pytest.mark.parametrize("wrong", [4, -5, "4", [0, 99], 10**12])
def test_a_filter_out_of_range_is_told_the_range(wrong: int | Sequence[int | str]) -> None:
    with pytest.raises(FilterError, match=r"'conv1' has 4 filters, 0 to 3"):
        resolve(load(conv_net()), "conv1", wrong)


def test_classes_are_found_by_name() -> None:
    target = resolve(labeled(), None, ["DOG", "ring tail", 0])
    assert target.filters == (1, 2, 0)
    assert target.labels == ("dog", "Ring Tail", "cat")
    assert str(target) == "logits filter dog, Ring Tail, cat"
    assert resolve(labeled(), "logits", "7up").filters == (3,)


def test_an_unknown_class_lists_the_classes() -> None:
    with pytest.raises(FilterError, match="Its classes: cat, dog, Ring Tail, 7up, eel"):
        resolve(labeled(), None, "cow")


def test_only_the_end_of_the_model_has_classes() -> None:
    proto = conv_net(w2=np.ones((5, 4, 3, 3), np.float32), b2=np.ones(5, np.float32), w3=np.ones((5, 5), np.float32))
    proto.metadata_props.add(key="onnxvis.labels", value="\n".join(CLASSES))
    hidden = resolve(load(proto), "conv2", 1)
    assert (hidden.filters, hidden.labels) == ((1,), ())
    with pytest.raises(FilterError, match="'conv2' has no class names"):
        resolve(load(proto), "conv2", "dog")


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize(
    "after",
    [
        "y = Identity (p)",
        "s = Constant <value_ints = [-1, 5]> ()  y = Reshape (p, s)",
        "y = Flatten (p)",
        "lo = Constant <value_float = 0.0> ()  c = Clip (p, lo)  y = Flatten (c)",
    ],
)
def test_the_target_moves_before_what_saturates(op_type: str, after: str) -> None:
    model = tail(f"p = {op_type} (logits)  {after}")
    target = resolve(model, "y", 2)
    assert (target.tensor, target.asked, target.asked_op) == ("logits", "y", op_type)
    kept = resolve(model, "y", 2, logits=False)
    assert (kept.tensor, kept.asked_op, kept.moved) == ("y", "", False)


@pytest.mark.parametrize(
    "nodes",
    [
        "p = Softmax (logits)  y = Neg (p)",
        "p = Relu (logits)  y = Identity (p)",
        "p = Sigmoid (logits)  y = Mul (p, logits)",
        "y = Identity (logits)",
    ],
)
def test_the_target_stays_where_nothing_saturates_it(nodes: str) -> None:
    target = resolve(tail(nodes), "y", 2)
    assert (target.tensor, target.moved, target.asked_op) == ("y", False, "")


def test_the_target_stays_where_the_logits_have_other_channels() -> None:
    model = tail("p = Softmax (logits)  s = Constant <value_ints = [1, -1]> ()  y = Reshape (p, s)", "float[1, K] y")
    assert resolve(model, "y").tensor == "y"
    assert resolve(tail("y = Softmax (logits)"), "y").tensor == "logits"


def test_a_given_axis_is_of_the_tensor_that_was_asked_for() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, 4, 4] x) => (float[1, 4, 4, 5] y)
    { logits = Conv (x, w)  p = Sigmoid (logits)  y = Transpose <perm = [0, 2, 3, 1]> (p) }"""
    model = load(parsed(text, w=np.ones((5, 3, 1, 1), np.float32)))
    moved = resolve(model, "y", 4)
    assert (moved.tensor, moved.channel_axis) == ("logits", 1)
    given = resolve(model, "y", 4, channel_axis=-1)
    assert (given.tensor, given.channel_axis) == ("y", 3)


def test_a_given_axis_wins_also_for_the_whole_tensor() -> None:
    model = load(conv_net())
    assert resolve(model, "conv1", 15, channel_axis=2).channel_axis == 2
    assert resolve(model, "conv1", channel_axis=-1).channel_axis == 3


@pytest.mark.parametrize("given", [4, -5])
def test_an_axis_out_of_range_is_refused(given: int) -> None:
    with pytest.raises(
        FilterError, match=rf"--channel-axis {given} is out of range: 'conv1' has shape \(N, 4, 16, 16\)"
    ):
        resolve(load(conv_net()), "conv1", 0, channel_axis=given)


def test_an_unknown_axis_is_asked_for() -> None:
    model = tail("s = Constant <value_ints = [5, -1]> ()  y = Reshape (logits, s)", "float[5, N] y")
    with pytest.raises(FilterError, match=r"Which axis of 'y' \(5, N\).*--channel-axis"):
        resolve(model, "y", 0)
    assert resolve(model, "y").filters == ()
    assert resolve(model, "y", 4, channel_axis=0).filters == (4,)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("whole", "computed by Cast.*holds INT64, not floats"),
        ("x", "an input of the model.*does not depend"),
        ("w", "a constant.*does not depend"),
        ("c", "computed by Constant.*does not depend"),
        ("double", "computed by Add.*does not depend"),
    ],
)
def test_what_cannot_be_visualized_says_why(node: str, reason: str) -> None:
    model = tail(
        "whole = Cast <to = 7> (logits)  c = Constant <value_floats = [1.0]> ()  double = Add (c, c)  y = Neg (logits)",
        "float[N, 5] y, int64[N, 5] whole, float[1] double",
    )
    with pytest.raises(NotVisualizableError, match=reason):
        resolve(model, node)


def test_a_model_without_outputs_wants_a_node() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1, 3] x) => () { y = Relu (x) }'
    with pytest.raises(NotVisualizableError, match="--node"):
        resolve(load(parsed(text)))
    assert resolve(load(parsed(text)), "y").tensor == "y"


@pytest.mark.parametrize(
    ("node", "error"), [("conv3", UnknownNodeError), ("", UnknownNodeError), ("conv", AmbiguousNodeError)]
)
def test_names_are_resolved_or_refused(node: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        resolve(load(conv_net()), node)


def test_behind_a_quantized_softmax_the_target_moves_to_the_logits_before_all_quantizers(root: Path) -> None:
    target = resolve(load(root / "samples" / "textures_int8.onnx"), None, "rings")
    assert target.name == "logits"
    assert target.op_type == "Gemm"
    assert target.asked_op == "Softmax"


def test_a_quantized_tensor_is_a_target_and_an_index_is_not(root: Path) -> None:
    model = load(root / "samples" / "textures_int8.onnx")
    assert resolve(model, "pool2_QuantizeLinear", 3).filters == (3,)
    indices = load(
        parsed(
            """
            <ir_version: 8, opset_import: ["": 17]> net (float[1, 4] x) => (int64[1] y)
            { y = ArgMax <axis = 1, keepdims = 0> (x) }
            """
        )
    )
    with pytest.raises(NotVisualizableError, match="holds INT64"):
        resolve(indices, "y")
