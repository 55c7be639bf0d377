"""Files with one silent fault each, as conversions, optimizers and hands make them, and the layer that is wrong.

Written with onnx alone, so that they judge `onnxvis check` and `onnxvis diff` from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, version_converter

from tests.honest_twins import (
    BLOBS,
    CANDY,
    CELLS,
    CIFAR,
    DEEPLAB,
    ESPCN,
    GREY,
    GTCRN,
    KERAS,
    MNIST,
    MOBILENET,
    PITCH,
    RESIDUAL,
    SHUFFLENET,
    SHUFFLENET_INT8,
    SIGNALS,
    SILERO,
    SQUEEZENET,
    TEXTURES,
    TEXTURES_INT8,
    TRUNK,
    VITTRACK,
    VOLUMES,
    YUNET,
    Array,
    add_constant,
    array,
    bypass,
    drop_unused,
    editing,
    insert,
    label,
    making,
    of_type,
    replace,
    set_attributes,
    set_input,
    slug,
    to_float16,
)

Edit = Callable[[ModelProto, NodeProto], None]
Change = Callable[[Array], Array]


@dataclass(frozen=True)
class Fault:
    """A file that computes something else than its source, though nothing says so.

    The wrong layer is the first node of the faulty file whose output is not what the node in its place in the source
    computes. What is inserted, removed or constant has no such place: then it is the first node after it that has.

    Attributes:
        name: Unique and readable.
        source: File name under samples/ or ../shared/models, or a key of `honest_twins.GENERATED`.
        kind: What is wrong.
        layer: Name of the wrong node in the faulty file; None where the file names no nodes.
        tensor: Name of its (first) output.
        make: The twin of a source, which is left as it is.
    """

    name: str
    source: str
    kind: str
    layer: str | None
    tensor: str
    make: Callable[[ModelProto], ModelProto]

    @property
    def id(self) -> str:
        """The name without spaces."""
        return slug(self.name)


def _fault(source: str, kind: str, where: str | tuple[str | None, str], edit: Edit, *, at: str | None = None) -> Fault:
    """A fault of the layer `where`, its node's and its output's name; the edit is given the node that makes `at`."""
    layer, tensor = (where, where) if isinstance(where, str) else where
    edited = tensor if at is None else at
    name = f"{label(source)}: {kind} at {tensor if layer is None else layer}"
    make = editing(lambda model: edit(model, making(model, edited)))
    return Fault(name=name, source=source, kind=kind, layer=layer, tensor=tensor, make=make)


# Weights


def changed(change: Change, index: int = 1) -> Edit:
    """Change the numbers of one input."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        values = array(model, node.input[index])
        set_input(model, node, index, change(values).astype(values.dtype))

    return edit


def turned(weight: Array) -> Array:
    """Turn a kernel around along all its axes: convolution for correlation."""
    flipped: Array = np.flip(weight, tuple(range(2, weight.ndim)))
    return flipped


def rounded(bits: int) -> Change:
    """Round to signed integers of so many bits, in steps of the largest value."""

    def change(weight: Array) -> Array:
        step = float(np.abs(weight).max()) / 2 ** (bits - 1)
        nearest: Array = np.round(weight / step) * step
        return nearest

    return change


def strongest(weight: Array, count: int = 1) -> NDArray[np.intp]:
    """The filters with the largest weights."""
    return np.argsort(-np.abs(weight.reshape(len(weight), -1)).sum(1))[:count]


def zero_filter(model: ModelProto, node: NodeProto) -> None:
    """Set the weights and the bias of a filter to zero."""
    filter = strongest(array(model, node.input[1]))
    for index in range(1, len(node.input)):
        changed(lambda values: _with(values, filter, 0), index)(model, node)


def _with(values: Array, where: Any, new: Any) -> Array:
    copy = values.copy()
    copy[where] = new
    return copy


def negate_filter(weight: Array) -> Array:
    """Turn the sign of a filter."""
    filter = strongest(weight)
    return _with(weight, filter, -weight[filter])


def exchange_filters(model: ModelProto, node: NodeProto) -> None:
    """Exchange two filters with their biases, but not what the next layer reads."""
    pair = strongest(array(model, node.input[1]), 2)
    for index in range(1, len(node.input)):
        changed(lambda values: _with(values, pair, values[pair[::-1]]), index)(model, node)


def poison(number: float) -> Change:
    """Put a number into the middle of the weights."""
    return lambda weight: _with(weight, tuple(size // 2 for size in weight.shape), number)


def drop_bias(_: ModelProto, node: NodeProto) -> None:
    """Remove the input of the bias and leave the initializer behind."""
    del node.input[2]


def drop_bias_wholly(model: ModelProto, node: NodeProto) -> None:
    """Remove the bias and its initializer."""
    drop_bias(model, node)
    drop_unused(model)


def bias_of(other: str) -> Edit:
    """Read the bias of the node that makes another tensor."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        node.input[2] = making(model, other).input[2]

    return edit


def group(count: int) -> Edit:
    """Compute in groups: of each filter the weights of its own group are left."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        weight = array(model, node.input[1])
        outs, ins = weight.shape[0] // count, weight.shape[1] // count
        parts = [weight[i * outs : (i + 1) * outs, i * ins : (i + 1) * ins] for i in range(count)]
        set_input(model, node, 1, np.concatenate(parts))
        set_attributes(node, group=count)

    return edit


# Attributes and the graph


def with_attributes(**values: object) -> Edit:
    """Set attributes."""
    return lambda _, node: set_attributes(node, **values)


def as_operator(op_type: str, **values: object) -> Edit:
    """Compute another operator of the same inputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.op_type = op_type
        set_attributes(node, **values)

    return edit


def removed(model: ModelProto, node: NodeProto) -> None:
    """Let the readers read the node's first input."""
    bypass(model, node)


def second_alone(model: ModelProto, node: NodeProto) -> None:
    """Let the readers read the node's second input."""
    bypass(model, node, 1)


def both_removed(model: ModelProto, node: NodeProto) -> None:
    """Remove the node and the one that it reads."""
    before = node.input[0]
    bypass(model, node)
    bypass(model, making(model, before))


def outputs_exchanged(first: int, second: int) -> Edit:
    """Exchange two outputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.output[first], node.output[second] = node.output[second], node.output[first]

    return edit


def inputs_exchanged(first: int, second: int) -> Edit:
    """Exchange two inputs."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.input[first], node.input[second] = node.input[second], node.input[first]

    return edit


def reading(index: int, tensor: str) -> Edit:
    """Read another tensor."""

    def edit(_: ModelProto, node: NodeProto) -> None:
        node.input[index] = tensor

    return edit


def parameters_of(other: str) -> Edit:
    """Read the weights of another node."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        node.input[1:] = making(model, other).input[1:]

    return edit


def transposed_before(*axes: int) -> Edit:
    """Put a Transpose before the node."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        name = f"{node.output[0]}/transposed"
        insert(model, node, [helper.make_node("Transpose", [node.input[0]], [name], name, perm=axes)])
        making(model, node.output[0]).input[0] = name

    return edit


def dropout_before(model: ModelProto, node: NodeProto) -> None:
    """Put a Dropout in training mode before the node."""
    name = f"{node.output[0]}/dropped"
    ratio, training = (
        add_constant(model, f"{name}/{what}", np.array(value, kind))
        for what, value, kind in (("ratio", 0.5, np.float32), ("training", True, np.bool_))
    )
    insert(model, node, [helper.make_node("Dropout", [node.input[0], ratio, training], [name], name, seed=1)])
    making(model, node.output[0]).input[0] = name


def gelu_by_sigmoid(model: ModelProto, _: NodeProto) -> None:
    """Compute GELU as x sigmoid(1.702 x) (Hendrycks and Gimpel 2016): erf(x / sqrt(2)) becomes tanh(0.851 x)."""
    for node in of_type(model, "Erf"):
        name = f"{node.output[0]}/scaled"
        factor = add_constant(model, f"{name}/factor", np.array(0.851 * 2**0.5, np.float32))
        scaled = helper.make_node("Mul", [node.input[0], factor], [name], name)
        replace(model, node, [scaled, helper.make_node("Tanh", [name], node.output, node.name)])


def gates(order: Sequence[int], *names: str) -> Edit:
    """Put the gates of a recurrent layer in another order: of its inputs 1 to 3, or of the named initializers."""

    def edit(model: ModelProto, node: NodeProto) -> None:
        for name in names:
            stored = next(tensor for tensor in model.graph.initializer if tensor.name == name)
            values = _in_order(array(model, name), order, 0)
            stored.CopyFrom(numpy_helper.from_array(values, name))
        if names:
            return
        weight, recurrent, bias = (array(model, name) for name in node.input[1:4])
        set_input(model, node, 1, _in_order(weight, order, 1))
        set_input(model, node, 2, _in_order(recurrent, order, 1))
        halves = [_in_order(half, order, 1) for half in np.split(bias, 2, 1)]
        set_input(model, node, 3, np.concatenate(halves, 1))

    return edit


def _in_order(values: Array, order: Sequence[int], axis: int) -> Array:
    blocks = np.split(values, len(order), axis)
    return np.concatenate([blocks[i] for i in order], axis)


def directions_exchanged(model: ModelProto, node: NodeProto) -> None:
    """Exchange the weights of the two directions of a recurrent layer."""
    for index in (1, 2, 3):
        changed(lambda values: values[::-1], index)(model, node)


def averaged(scale: Array) -> Array:
    """Write the mean for every channel."""
    return np.full(scale.shape, scale.mean(), scale.dtype)


def in_float16(exponents: Mapping[str, tuple[int, int]]) -> Edit:
    """Multiply weights and biases by powers of two, which float32 does not mind, and convert to float16, which does.

    The exponents of a layer's weights and of its bias, by the tensor that it makes, undo each other in the layers that
    follow, between which there are rectifiers, averages and the like.
    """

    def edit(model: ModelProto, _: NodeProto) -> None:
        for name, pair in exponents.items():
            layer = making(model, name)
            for index, exponent in enumerate(pair, 1):
                set_input(model, layer, index, array(model, layer.input[index]) * np.float32(2.0**exponent))
        to_float16(keep_io=True)(model)

    return edit


_NET = "StatefulPartitionedCall/mobilenet_v2_128_0.5/"
_BATCHED = "model_1/batch_normalization/FusedBatchNormV3;model_1/batch_normalization/FusedBatchNormV3"
_STACKED = "model_1/harmonic-stacking-diff/strided_slice_6;model_1/harmonic-stacking-diff/strided_slice_6"
_SUBTRACTED = "model_1/normalized_log_1/sub;model_1/normalized_log_1/sub"
_LARGEST = "model_1/normalized_log_1/Max;model_1/normalized_log_1/Max"
_PADDED = (f"{_NET}LAYER_11_pad/Pad", f"{_NET}LAYER_11_pad/Pad:0")
_LSTM = tuple(f"model.decoder.rnn.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def _mobile(node: int, made: str) -> tuple[str, str]:
    kind = {"F": "FusedBatchNormV3", "C": "Conv2D", "R": "Relu6", "D": "depthwise", "A": "add"}
    return f"{_NET}LAYER_{node}/{kind[made[0]]}", f"{_NET}LAYER_{node + (made in {'CF', 'DF'})}/{kind[made[-1]]}:0"


def _torch(name: str) -> tuple[str, str]:
    return name, f"{name}_output_0"


def _unnamed(tensor: str) -> tuple[None, str]:
    return None, tensor


FAULTS: Sequence[Fault] = (
    # Kernels
    _fault(TEXTURES, "kernel transposed", "conv1", changed(lambda w: w.swapaxes(2, 3))),
    _fault(KERAS, "kernel transposed", ("conv2/BiasAdd", "conv2/BiasAdd:0"), changed(lambda w: w.swapaxes(2, 3))),
    _fault(SQUEEZENET, "kernel transposed", _unnamed("fire4/expand3x3_1"), changed(lambda w: w.swapaxes(2, 3))),
    _fault(MOBILENET, "kernel transposed", _mobile(3, "DF"), changed(lambda w: w.swapaxes(2, 3))),
    _fault(VOLUMES, "kernel transposed", "conv1", changed(lambda w: w.swapaxes(2, 4))),
    _fault(ESPCN, "kernel transposed", _unnamed("9"), changed(lambda w: w.swapaxes(2, 3))),
    _fault(TEXTURES, "kernel flipped", "conv3", changed(turned)),
    _fault(SIGNALS, "kernel flipped", "conv1", changed(turned)),
    _fault(CIFAR, "kernel flipped", ("Conv_5", "53"), changed(turned)),
    _fault(CANDY, "kernel flipped", ("convolution13", "SpatialFullConvolution_63_output"), changed(turned)),
    _fault(TEXTURES, "channels swapped", "conv5", changed(lambda w: w.swapaxes(0, 1))),
    _fault(SIGNALS, "channels swapped", "conv5", changed(lambda w: w.swapaxes(0, 1))),
    _fault(BLOBS, "channels swapped", "conv4", changed(lambda w: w.swapaxes(0, 1))),
    _fault(CIFAR, "channels swapped", ("Conv_2", "50"), changed(lambda w: w.swapaxes(0, 1))),
    _fault(ESPCN, "channels swapped", _unnamed("11"), changed(lambda w: w.swapaxes(0, 1))),
    _fault(VITTRACK, "matrix transposed", ("MatMul_67", "259"), changed(np.transpose)),
    _fault(CELLS, "transB lost", "hidden", with_attributes(transB=0)),
    _fault(TEXTURES, "BGR for RGB", "conv1", changed(lambda w: w[:, ::-1])),
    _fault(KERAS, "BGR for RGB", ("conv1/BiasAdd", "conv1/BiasAdd:0"), changed(lambda w: w[:, ::-1])),
    _fault(SQUEEZENET, "BGR for RGB", _unnamed("conv1_1"), changed(lambda w: w[:, ::-1])),
    _fault(MOBILENET, "BGR for RGB", _mobile(0, "CF"), changed(lambda w: w[:, ::-1])),
    # Filters
    _fault(SQUEEZENET, "filter zeroed", _unnamed("fire5/expand1x1_1"), zero_filter),
    _fault(TEXTURES, "filter zeroed", "conv2", zero_filter),
    _fault(VOLUMES, "filter zeroed", "conv4", zero_filter),
    _fault(TEXTURES, "sign of a filter", "conv3", changed(negate_filter)),
    _fault(GREY, "sign of a filter", "conv1", changed(negate_filter)),
    _fault(YUNET, "sign of a filter", ("Conv_15", "229"), changed(negate_filter)),
    _fault(TEXTURES, "two filters exchanged", "conv4", exchange_filters),
    _fault(GREY, "two filters exchanged", "conv3", exchange_filters),
    _fault(
        SHUFFLENET,
        "filters rotated",
        ("Conv_27_quant", "368_quantized_f"),
        changed(lambda w: np.roll(w, 1, 0)),
    ),
    _fault(TEXTURES, "weights of 3 bits", "conv3", changed(rounded(3))),
    _fault(SQUEEZENET, "weights of 4 bits", _unnamed("fire8/expand3x3_1"), changed(rounded(4))),
    _fault(SHUFFLENET, "weights of 4 bits", ("fused Conv_6_quant", "347_quantized_f"), changed(rounded(4))),
    _fault(CIFAR, "NaN in the weights", ("Conv_7", "56"), changed(poison(np.nan))),
    _fault(VOLUMES, "infinity in the weights", "conv3", changed(poison(np.inf))),
    _fault(CIFAR, "two groups", ("Conv_2", "50"), group(2)),
    _fault(GREY, "four groups", "conv4", group(4)),
    # Biases
    _fault(TEXTURES, "bias dropped", "conv2", drop_bias),
    _fault(VOLUMES, "bias dropped", "conv2", drop_bias_wholly),
    _fault(SQUEEZENET, "bias dropped", _unnamed("fire6/squeeze1x1_1"), drop_bias_wholly),
    _fault(SILERO, "bias dropped", _torch("/model/encoder/2/reparam_conv/Conv"), drop_bias_wholly),
    _fault(KERAS, "bias dropped", ("predictions/Softmax", "probabilities"), removed, at="predictions/BiasAdd:0"),
    _fault(TEXTURES, "bias of another layer", "conv4", bias_of("conv5")),
    _fault(CIFAR, "bias of another layer", ("Conv_0", "47"), bias_of("50")),
    # Sizes
    _fault(TEXTURES, "pads shifted", "conv2", with_attributes(pads=[0, 0, 2, 2])),
    _fault(GREY, "pads shifted", "conv5", with_attributes(pads=[2, 1, 0, 1])),
    _fault(SIGNALS, "pads shifted", "conv2", with_attributes(pads=[4, 0])),
    _fault(SQUEEZENET, "pads shifted", _unnamed("fire2/expand3x3_1"), with_attributes(pads=[2, 2, 0, 0])),
    _fault(
        MNIST,
        "pads shifted",
        ("Convolution110", "Convolution110_Output_0"),
        with_attributes(auto_pad="NOTSET", pads=[1, 1, 3, 3]),
    ),
    _fault(
        MOBILENET,
        "pads shifted",
        (f"{_NET}LAYER_28_pad/Pad", f"{_NET}LAYER_28_pad/Pad:0"),
        changed(lambda _: np.array([0, 0, 0, 0, 0, 0, 2, 2])),
    ),
    _fault(CANDY, "crop shifted", ("crop", "SpatialZeroPadding_21"), with_attributes(border=[4, 2, 0, 2])),
    _fault(TEXTURES, "stride of two", "conv4", with_attributes(strides=[2, 2])),
    _fault(SIGNALS, "dilation of two", "conv3", with_attributes(dilations=[2], pads=[4, 4])),
    _fault(
        DEEPLAB,
        "dilation lost",
        ("MobilenetV2/expanded_conv_7/depthwise/Relu6", "MobilenetV2/expanded_conv_7/depthwise/Relu6"),
        with_attributes(dilations=[1, 1], pads=[1, 1, 1, 1]),
    ),
    # Pools
    _fault(TEXTURES, "count_include_pad", "blur1", with_attributes(count_include_pad=1)),
    _fault(VOLUMES, "count_include_pad", "blur1", with_attributes(count_include_pad=1)),
    _fault(YUNET, "ceil_mode", ("MaxPool_25", "242"), with_attributes(ceil_mode=1)),
    _fault(RESIDUAL, "ceil_mode", _torch("/features/features.1/MaxPool"), with_attributes(ceil_mode=1)),
    _fault(CELLS, "ceil_mode lost", "pool2", with_attributes(ceil_mode=0)),
    _fault(MNIST, "pool of four", ("Pooling160", "Pooling160_Output_0"), with_attributes(kernel_shape=[4, 4])),
    _fault(TEXTURES, "maximum for average", "pool2", as_operator("MaxPool")),
    _fault(SIGNALS, "maximum for average", "pool1", as_operator("MaxPool")),
    _fault(BLOBS, "maximum for average", "average", as_operator("GlobalMaxPool")),
    _fault(SQUEEZENET, "maximum for average", _unnamed("pool10_1"), as_operator("GlobalMaxPool")),
    _fault(SQUEEZENET, "average for maximum", _unnamed("pool1_1"), as_operator("AveragePool")),
    _fault(CIFAR, "average for maximum", ("MaxPool_4", "37"), as_operator("AveragePool")),
    # Normalization
    _fault(
        KERAS,
        "normalization lost",
        ("blur1/AvgPool__6", "blur1/AvgPool__6:0"),
        both_removed,
        at="rescaling/add:0",
    ),
    _fault(CANDY, "normalization lost", ("scalerPreprocessor", "inputImage2"), with_attributes(bias=[0.0, 0.0, 0.0])),
    _fault(PITCH, "normalization lost", (_STACKED, _STACKED), both_removed, at=f"{_BATCHED}3"),
    _fault(PITCH, "minimum not subtracted", (_LARGEST, _LARGEST), removed, at=_SUBTRACTED),
    _fault(RESIDUAL, "epsilon of 1e-3", _torch("/stem/stem.1/BatchNormalization"), with_attributes(epsilon=1e-3)),
    _fault(GTCRN, "epsilon of 1e-2", ("BatchNormalization_1341", "onnx::PRelu_2777"), with_attributes(epsilon=1e-2)),
    _fault(MOBILENET, "epsilon of 1e-2", _mobile(17, "F"), with_attributes(epsilon=1e-2)),
    _fault(TRUNK, "epsilon of 1e-2", "conv_pw_12_bn", with_attributes(epsilon=1e-2)),
    _fault(TRUNK, "epsilon of 1e-5", "conv_dw_13_bn", with_attributes(epsilon=1e-5)),
    _fault(CELLS, "epsilon of 1e-2", "instance2", with_attributes(epsilon=1e-2)),
    _fault(
        CANDY,
        "epsilon of 10",
        ("batchnorm14", "InstanceNormalization_69"),
        with_attributes(epsilon=10.0),
    ),
    _fault(MOBILENET, "mean for variance", _mobile(17, "F"), inputs_exchanged(3, 4)),
    _fault(
        RESIDUAL,
        "gamma for variance",
        _torch("/depthwise/depthwise.1/BatchNormalization"),
        inputs_exchanged(1, 4),
    ),
    _fault(TRUNK, "normalization of another layer", "conv_dw_1_bn", parameters_of("conv1_bn")),
    _fault(TRUNK, "normalization of another layer", "conv_pw_9_bn", parameters_of("conv_pw_8_bn")),
    _fault(
        RESIDUAL,
        "normalization removed",
        _torch("/depthwise/depthwise.2/Clip"),
        removed,
        at="/depthwise/depthwise.1/BatchNormalization_output_0",
    ),
    _fault(VITTRACK, "gamma lost", ("Add_46", "210"), removed, at="209"),
    _fault(CELLS, "gamma lost", "norm", changed(np.ones_like)),
    _fault(VITTRACK, "epsilon of 1e-1", ("Add_42", "206"), changed(lambda _: np.array(1e-1))),
    _fault(CELLS, "size of five", "lrn1", with_attributes(size=5)),
    _fault(CELLS, "alpha not divided", "lrn1", with_attributes(alpha=1.5)),
    # Activations
    _fault(TEXTURES, "rectifier lost", "pool3", removed, at="relu3"),
    _fault(SQUEEZENET, "rectifier lost", _unnamed("pool10_1"), removed, at="conv10_2"),
    _fault(MOBILENET, "clip at 60", _mobile(5, "R"), changed(lambda _: np.array(60.0), 2)),
    _fault(MOBILENET, "clip removed", _PADDED, removed, at=f"{_NET}LAYER_10/Relu6:0"),
    _fault(DEEPLAB, "clip at 60", ("Relu6__5", "Relu6__5:0"), with_attributes(max=60.0)),
    _fault(BLOBS, "leaky rectifier", "relu2", as_operator("LeakyRelu", alpha=0.1)),
    _fault(GTCRN, "slope lost", ("PRelu_76", "input.11"), changed(np.zeros_like)),
    _fault(CELLS, "alpha of 0.3", "leaky1", with_attributes(alpha=0.3)),
    _fault(CELLS, "alpha of 0.5", "elu2", with_attributes(alpha=0.5)),
    _fault(CELLS, "alpha of a sixth", "sigmoid3", with_attributes(alpha=1 / 6)),
    _fault(VITTRACK, "rectifier for HardSwish", ("HardSwish_1", "158"), as_operator("Relu")),
    _fault(RESIDUAL, "HardSigmoid for Sigmoid", _torch("/features/features.0/Sigmoid"), as_operator("HardSigmoid")),
    _fault(VITTRACK, "GELU by sigmoid", ("Erf_86", "279"), gelu_by_sigmoid),
    _fault(TEXTURES, "axis 0", "probabilities", with_attributes(axis=0)),
    _fault(SQUEEZENET, "axis 2", _unnamed("softmaxout_1"), with_attributes(axis=2)),
    _fault(VITTRACK, "axis -2", ("Softmax_63", "247"), with_attributes(axis=-2)),
    _fault(TEXTURES, "Dropout in training mode", "logits", dropout_before),
    # Attention and recurrent layers
    _fault(VITTRACK, "scale of the attention lost", ("Mul_60", "244"), changed(np.ones_like)),
    _fault(VITTRACK, "queries for values", ("Split_52", "236"), outputs_exchanged(0, 2)),
    _fault(VITTRACK, "position lost", ("Concat_34", "198"), removed, at="197"),
    _fault(GTCRN, "gates in another order", ("GRU_153", "onnx::Squeeze_531"), gates((1, 0, 2))),
    _fault(GTCRN, "linear_before_reset lost", ("GRU_343", "onnx::Squeeze_818"), with_attributes(linear_before_reset=0)),
    _fault(GTCRN, "directions exchanged", ("GRU_700", "onnx::Transpose_1417"), directions_exchanged),
    _fault(
        SILERO,
        "gates in another order",
        ("/model/decoder/If_1", "/model/decoder/If_1_output_0"),
        gates((0, 2, 1, 3), *_LSTM),
    ),
    # The order of numbers
    _fault(CIFAR, "channels last before Reshape", ("Reshape_10", "45"), transposed_before(0, 2, 3, 1)),
    _fault(
        CIFAR,
        "weights of channels last",
        ("Gemm_11", "modelOutput"),
        changed(lambda w: w.reshape(10, 24, 10, 10).transpose(0, 2, 3, 1).reshape(10, 2400)),
    ),
    _fault(
        MNIST,
        "weights of channels last",
        ("Times212", "Times212_Output_0"),
        changed(lambda w: w.transpose(1, 2, 0, 3).reshape(16, 4, 4, 10), 0),
        at="Parameter193_reshape1",
    ),
    _fault(KERAS, "height for width", ("blur1/AvgPool__6", "blur1/AvgPool__6:0"), with_attributes(perm=[0, 3, 2, 1])),
    _fault(
        DEEPLAB,
        "height for width",
        ("MobilenetV2/Conv/Relu6__97", "MobilenetV2/Conv/Relu6__97:0"),
        with_attributes(perm=[0, 3, 2, 1]),
    ),
    _fault(ESPCN, "rows for columns", _unnamed("18"), with_attributes(perm=[0, 1, 4, 3, 5, 2])),
    _fault(SHUFFLENET, "shuffle lost", ("Transpose_50", "391"), with_attributes(perm=[0, 1, 2, 3, 4])),
    _fault(SHUFFLENET, "halves exchanged", ("Split_38_quant", "379quantized"), outputs_exchanged(0, 1)),
    _fault(SQUEEZENET, "inputs exchanged", _unnamed("fire9/concat_1"), inputs_exchanged(0, 1)),
    _fault(DEEPLAB, "inputs exchanged", ("concat", "concat"), inputs_exchanged(0, 1)),
    # Connections
    _fault(MOBILENET, "residual connection lost", _mobile(25, "CF"), second_alone, at=f"{_NET}LAYER_24/add:0"),
    _fault(VITTRACK, "residual connection lost", ("ReduceMean_70", "262"), second_alone, at="261"),
    _fault(YUNET, "connection from above lost", ("Conv_62", "284"), removed, at="283"),
    _fault(MOBILENET, "Sub for Add", _mobile(41, "A"), as_operator("Sub")),
    _fault(RESIDUAL, "Sub for Add", _torch("/Add"), as_operator("Sub")),
    _fault(YUNET, "input of another layer", ("Conv_88", "312"), reading(0, "308")),
    _fault(YUNET, "linear for nearest", ("Resize_60", "282"), with_attributes(mode="linear")),
    _fault(
        YUNET,
        "half pixels",
        ("Resize_83", "306"),
        with_attributes(coordinate_transformation_mode="half_pixel"),
    ),
    _fault(DEEPLAB, "nearest for linear", ("Upsample__306", "Upsample__306:0"), with_attributes(mode="nearest")),
    _fault(KERAS, "wrong constant", ("rescaling/mul", "rescaling/mul:0"), changed(lambda x: x / 2)),
    # Quantization
    _fault(
        TEXTURES_INT8,
        "scale off by 2",
        ("conv3", "relu3"),
        changed(lambda scale: scale * 2),
        at="conv3.weight_DequantizeLinear_Output",
    ),
    _fault(
        TEXTURES_INT8,
        "scale off by 2",
        ("relu4_DequantizeLinear", "relu4_DequantizeLinear_Output"),
        changed(lambda scale: scale * 2),
    ),
    _fault(
        TEXTURES_INT8,
        "zero point off by 20",
        ("relu2_DequantizeLinear", "relu2_DequantizeLinear_Output"),
        changed(lambda zero: zero + 20, 2),
    ),
    _fault(
        TEXTURES_INT8,
        "scales rotated",
        ("conv2", "relu2"),
        changed(lambda scale: np.roll(scale, 1)),
        at="conv2.weight_DequantizeLinear_Output",
    ),
    _fault(
        TEXTURES_INT8,
        "one scale for all",
        ("conv4", "relu4"),
        changed(averaged),
        at="conv4.weight_DequantizeLinear_Output",
    ),
    _fault(
        SHUFFLENET_INT8,
        "scale off by 2",
        ("fused Conv_0_quant", "341_quantized"),
        changed(lambda scale: scale * 2, 4),
    ),
    _fault(
        SHUFFLENET_INT8,
        "scales rotated",
        ("fused Conv_24_quant", "366_quantized"),
        changed(lambda scale: np.roll(scale, 1), 4),
    ),
    _fault(
        SHUFFLENET_INT8,
        "zero point off by 20",
        ("fused Conv_14_quant", "355_quantized"),
        changed(lambda zero: zero - 20, 2),
    ),
    _fault(SHUFFLENET_INT8, "one scale for all", ("fused Conv_6_quant", "347_quantized"), changed(averaged, 4)),
    # float16
    _fault(
        SQUEEZENET,
        "float16 overflow",
        _unnamed("fire8/expand1x1_1"),
        in_float16({"fire8/expand1x1_1": (10, 10), "fire8/expand3x3_1": (10, 10), "fire9/squeeze1x1_1": (-10, 0)}),
    ),
    _fault(TEXTURES, "float16 overflow of a bias", "conv5", in_float16({"conv5": (15, 15), "logits": (-15, 0)})),
    _fault(BLOBS, "float16 overflow of weights", "conv3", in_float16({"conv3": (18, 18), "conv4": (-18, 0)})),
    _fault(
        TEXTURES,
        "float16 underflow",
        "conv3",
        in_float16({"conv3": (-22, -22), "conv4": (11, -11), "conv5": (11, 0)}),
    ),
    _fault(
        SIGNALS,
        "float16 underflow",
        "conv2",
        in_float16({"conv2": (-22, -22), "conv3": (11, -11), "conv4": (11, 0)}),
    ),
    Fault(
        name="seg_deeplabv3_mnv2_dm05: half pixels by onnx's converter to opset 13",
        source=DEEPLAB,
        kind="half pixels by a converter",
        layer=None,
        tensor="_v_224",  # as the converter calls it
        make=lambda model: version_converter.convert_version(model, 13),
    ),
)
