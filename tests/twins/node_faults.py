"""Files whose attributes, operators or connections are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import version_converter

from tests.twins.fault import Fault, fault
from tests.twins.node_edits import (
    as_operator,
    both_removed,
    dropout_before,
    gelu_by_sigmoid,
    inputs_exchanged,
    outputs_exchanged,
    parameters_of,
    reading,
    removed,
    second_alone,
    transposed_before,
    with_attributes,
)
from tests.twins.places import by_tensorflow, by_torch, in_mobilenet, unnamed
from tests.twins.sources import (
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
    SIGNALS,
    SQUEEZENET,
    TEXTURES,
    TRUNK,
    VITTRACK,
    VOLUMES,
    YUNET,
)
from tests.twins.weight_edits import changed

_BATCHED = "model_1/batch_normalization/FusedBatchNormV3;model_1/batch_normalization/FusedBatchNormV3"
_STACKED = "model_1/harmonic-stacking-diff/strided_slice_6;model_1/harmonic-stacking-diff/strided_slice_6"
_SUBTRACTED = "model_1/normalized_log_1/sub;model_1/normalized_log_1/sub"
_LARGEST = "model_1/normalized_log_1/Max;model_1/normalized_log_1/Max"

NODE_FAULTS: Sequence[Fault] = (
    # Sizes
    fault(TEXTURES, "pads shifted", "conv2", with_attributes(pads=[0, 0, 2, 2])),
    fault(GREY, "pads shifted", "conv5", with_attributes(pads=[2, 1, 0, 1])),
    fault(SIGNALS, "pads shifted", "conv2", with_attributes(pads=[4, 0])),
    fault(SQUEEZENET, "pads shifted", unnamed("fire2/expand3x3_1"), with_attributes(pads=[2, 2, 0, 0])),
    fault(
        MNIST,
        "pads shifted",
        ("Convolution110", "Convolution110_Output_0"),
        with_attributes(auto_pad="NOTSET", pads=[1, 1, 3, 3]),
    ),
    fault(
        MOBILENET,
        "pads shifted",
        in_mobilenet(28, "P"),
        changed(lambda _: np.array([0, 0, 0, 0, 0, 0, 2, 2])),
    ),
    fault(CANDY, "crop shifted", ("crop", "SpatialZeroPadding_21"), with_attributes(border=[4, 2, 0, 2])),
    fault(TEXTURES, "stride of two", "conv4", with_attributes(strides=[2, 2])),
    fault(SIGNALS, "dilation of two", "conv3", with_attributes(dilations=[2], pads=[4, 4])),
    fault(
        DEEPLAB,
        "dilation lost",
        ("MobilenetV2/expanded_conv_7/depthwise/Relu6", "MobilenetV2/expanded_conv_7/depthwise/Relu6"),
        with_attributes(dilations=[1, 1], pads=[1, 1, 1, 1]),
    ),
    # Pools
    fault(TEXTURES, "count_include_pad", "blur1", with_attributes(count_include_pad=1)),
    fault(VOLUMES, "count_include_pad", "blur1", with_attributes(count_include_pad=1)),
    fault(YUNET, "ceil_mode", ("MaxPool_25", "242"), with_attributes(ceil_mode=1)),
    fault(RESIDUAL, "ceil_mode", by_torch("/features/features.1/MaxPool"), with_attributes(ceil_mode=1)),
    fault(CELLS, "ceil_mode lost", "pool2", with_attributes(ceil_mode=0)),
    fault(MNIST, "pool of four", ("Pooling160", "Pooling160_Output_0"), with_attributes(kernel_shape=[4, 4])),
    fault(TEXTURES, "maximum for average", "pool2", as_operator("MaxPool")),
    fault(SIGNALS, "maximum for average", "pool1", as_operator("MaxPool")),
    fault(BLOBS, "maximum for average", "average", as_operator("GlobalMaxPool")),
    fault(SQUEEZENET, "maximum for average", unnamed("pool10_1"), as_operator("GlobalMaxPool")),
    fault(SQUEEZENET, "average for maximum", unnamed("pool1_1"), as_operator("AveragePool")),
    fault(CIFAR, "average for maximum", ("MaxPool_4", "37"), as_operator("AveragePool")),
    # Normalization
    fault(
        KERAS,
        "normalization lost",
        by_tensorflow("blur1/AvgPool__6"),
        both_removed,
        at="rescaling/add:0",
    ),
    fault(CANDY, "normalization lost", ("scalerPreprocessor", "inputImage2"), with_attributes(bias=[0.0, 0.0, 0.0])),
    fault(PITCH, "normalization lost", (_STACKED, _STACKED), both_removed, at=f"{_BATCHED}3"),
    fault(PITCH, "minimum not subtracted", (_LARGEST, _LARGEST), removed, at=_SUBTRACTED),
    fault(RESIDUAL, "epsilon of 1e-3", by_torch("/stem/stem.1/BatchNormalization"), with_attributes(epsilon=1e-3)),
    fault(GTCRN, "epsilon of 1e-2", ("BatchNormalization_1341", "onnx::PRelu_2777"), with_attributes(epsilon=1e-2)),
    fault(MOBILENET, "epsilon of 1e-2", in_mobilenet(17, "F"), with_attributes(epsilon=1e-2)),
    fault(TRUNK, "epsilon of 1e-2", "conv_pw_12_bn", with_attributes(epsilon=1e-2)),
    fault(TRUNK, "epsilon of 1e-5", "conv_dw_13_bn", with_attributes(epsilon=1e-5)),
    fault(CELLS, "epsilon of 1e-2", "instance2", with_attributes(epsilon=1e-2)),
    fault(
        CANDY,
        "epsilon of 10",
        ("batchnorm14", "InstanceNormalization_69"),
        with_attributes(epsilon=10.0),
    ),
    fault(MOBILENET, "mean for variance", in_mobilenet(17, "F"), inputs_exchanged(3, 4)),
    fault(
        RESIDUAL,
        "gamma for variance",
        by_torch("/depthwise/depthwise.1/BatchNormalization"),
        inputs_exchanged(1, 4),
    ),
    fault(TRUNK, "normalization of another layer", "conv_dw_1_bn", parameters_of("conv1_bn")),
    fault(TRUNK, "normalization of another layer", "conv_pw_9_bn", parameters_of("conv_pw_8_bn")),
    fault(
        RESIDUAL,
        "normalization removed",
        by_torch("/depthwise/depthwise.2/Clip"),
        removed,
        at="/depthwise/depthwise.1/BatchNormalization_output_0",
    ),
    fault(VITTRACK, "gamma lost", ("Add_46", "210"), removed, at="209"),
    fault(CELLS, "gamma lost", "norm", changed(np.ones_like)),
    fault(VITTRACK, "epsilon of 1e-1", ("Add_42", "206"), changed(lambda _: np.array(1e-1))),
    fault(CELLS, "size of five", "lrn1", with_attributes(size=5)),
    fault(CELLS, "alpha not divided", "lrn1", with_attributes(alpha=1.5)),
    # Activations
    fault(TEXTURES, "rectifier lost", "pool3", removed, at="relu3"),
    fault(SQUEEZENET, "rectifier lost", unnamed("pool10_1"), removed, at="conv10_2"),
    fault(MOBILENET, "clip at 60", in_mobilenet(5, "R"), changed(lambda _: np.array(60.0), 2)),
    fault(MOBILENET, "clip removed", in_mobilenet(11, "P"), removed, at=in_mobilenet(10, "R")[1]),
    fault(DEEPLAB, "clip at 60", by_tensorflow("Relu6__5"), with_attributes(max=60.0)),
    fault(BLOBS, "leaky rectifier", "relu2", as_operator("LeakyRelu", alpha=0.1)),
    fault(GTCRN, "slope lost", ("PRelu_76", "input.11"), changed(np.zeros_like)),
    fault(CELLS, "alpha of 0.3", "leaky1", with_attributes(alpha=0.3)),
    fault(CELLS, "alpha of 0.5", "elu2", with_attributes(alpha=0.5)),
    fault(CELLS, "alpha of a sixth", "sigmoid3", with_attributes(alpha=1 / 6)),
    fault(VITTRACK, "rectifier for HardSwish", ("HardSwish_1", "158"), as_operator("Relu")),
    fault(RESIDUAL, "HardSigmoid for Sigmoid", by_torch("/features/features.0/Sigmoid"), as_operator("HardSigmoid")),
    fault(VITTRACK, "GELU by sigmoid", ("Erf_86", "279"), gelu_by_sigmoid),
    fault(TEXTURES, "axis 0", "probabilities", with_attributes(axis=0)),
    fault(SQUEEZENET, "axis 2", unnamed("softmaxout_1"), with_attributes(axis=2)),
    fault(VITTRACK, "axis -2", ("Softmax_63", "247"), with_attributes(axis=-2)),
    fault(TEXTURES, "Dropout in training mode", "logits", dropout_before),
    # Attention and recurrent layers
    fault(VITTRACK, "queries for values", ("Split_52", "236"), outputs_exchanged(0, 2)),
    fault(VITTRACK, "position lost", ("Concat_34", "198"), removed, at="197"),
    fault(GTCRN, "linear_before_reset lost", ("GRU_343", "onnx::Squeeze_818"), with_attributes(linear_before_reset=0)),
    # The order of numbers
    fault(CELLS, "transB lost", "hidden", with_attributes(transB=0)),
    fault(CIFAR, "channels last before Reshape", ("Reshape_10", "45"), transposed_before(0, 2, 3, 1)),
    fault(
        CIFAR,
        "weights of channels last",
        ("Gemm_11", "modelOutput"),
        changed(lambda w: w.reshape(10, 24, 10, 10).transpose(0, 2, 3, 1).reshape(10, 2400)),
    ),
    fault(
        MNIST,
        "weights of channels last",
        ("Times212", "Times212_Output_0"),
        changed(lambda w: w.transpose(1, 2, 0, 3).reshape(16, 4, 4, 10), 0),
        at="Parameter193_reshape1",
    ),
    fault(KERAS, "height for width", by_tensorflow("blur1/AvgPool__6"), with_attributes(perm=[0, 3, 2, 1])),
    fault(
        DEEPLAB,
        "height for width",
        by_tensorflow("MobilenetV2/Conv/Relu6__97"),
        with_attributes(perm=[0, 3, 2, 1]),
    ),
    fault(ESPCN, "rows for columns", unnamed("18"), with_attributes(perm=[0, 1, 4, 3, 5, 2])),
    fault(SHUFFLENET, "shuffle lost", ("Transpose_50", "391"), with_attributes(perm=[0, 1, 2, 3, 4])),
    fault(SHUFFLENET, "halves exchanged", ("Split_38_quant", "379quantized"), outputs_exchanged(0, 1)),
    fault(SQUEEZENET, "inputs exchanged", unnamed("fire9/concat_1"), inputs_exchanged(0, 1)),
    fault(DEEPLAB, "inputs exchanged", ("concat", "concat"), inputs_exchanged(0, 1)),
    # Connections
    fault(MOBILENET, "residual connection lost", in_mobilenet(25, "CF"), second_alone, at=in_mobilenet(24, "A")[1]),
    fault(VITTRACK, "residual connection lost", ("ReduceMean_70", "262"), second_alone, at="261"),
    fault(YUNET, "connection from above lost", ("Conv_62", "284"), removed, at="283"),
    fault(MOBILENET, "Sub for Add", in_mobilenet(41, "A"), as_operator("Sub")),
    fault(RESIDUAL, "Sub for Add", by_torch("/Add"), as_operator("Sub")),
    fault(YUNET, "input of another layer", ("Conv_88", "312"), reading(0, "308")),
    fault(YUNET, "linear for nearest", ("Resize_60", "282"), with_attributes(mode="linear")),
    fault(
        YUNET,
        "half pixels",
        ("Resize_83", "306"),
        with_attributes(coordinate_transformation_mode="half_pixel"),
    ),
    fault(DEEPLAB, "nearest for linear", by_tensorflow("Upsample__306"), with_attributes(mode="nearest")),
    fault(KERAS, "wrong constant", by_tensorflow("rescaling/mul"), changed(lambda x: x / 2)),
    Fault(
        name="seg_deeplabv3_mnv2_dm05: half pixels by onnx's converter to opset 13",
        source=DEEPLAB,
        kind="half pixels by a converter",
        layer=None,
        tensor="_v_224",  # as the converter calls it
        make=lambda model: version_converter.convert_version(model, 13),
    ),
)
