"""Files whose weights, biases, scales or type of numbers are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.twins.fault import Fault, fault
from tests.twins.node_edits import removed
from tests.twins.places import by_tensorflow, by_torch, in_mobilenet, unnamed
from tests.twins.sources import (
    BLOBS,
    CANDY,
    CIFAR,
    ESPCN,
    GREY,
    GTCRN,
    KERAS,
    MOBILENET,
    SHUFFLENET,
    SHUFFLENET_INT8,
    SIGNALS,
    SILERO,
    SQUEEZENET,
    TEXTURES,
    TEXTURES_INT8,
    VITTRACK,
    VOLUMES,
    YUNET,
)
from tests.twins.weight_edits import (
    averaged,
    bias_of,
    changed,
    directions_exchanged,
    doubled,
    drop_bias,
    drop_bias_wholly,
    exchange_filters,
    gates,
    group,
    in_float16,
    negate_filter,
    poison,
    rounded,
    turned,
    zero_filter,
)

_LSTM = tuple(f"model.decoder.rnn.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

WEIGHT_FAULTS: Sequence[Fault] = (
    # Kernels
    fault(TEXTURES, "kernel transposed", "conv1", changed(lambda w: w.swapaxes(2, 3))),
    fault(KERAS, "kernel transposed", by_tensorflow("conv2/BiasAdd"), changed(lambda w: w.swapaxes(2, 3))),
    fault(SQUEEZENET, "kernel transposed", unnamed("fire4/expand3x3_1"), changed(lambda w: w.swapaxes(2, 3))),
    fault(MOBILENET, "kernel transposed", in_mobilenet(3, "DF"), changed(lambda w: w.swapaxes(2, 3))),
    fault(VOLUMES, "kernel transposed", "conv1", changed(lambda w: w.swapaxes(2, 4))),
    fault(ESPCN, "kernel transposed", unnamed("9"), changed(lambda w: w.swapaxes(2, 3))),
    fault(TEXTURES, "kernel flipped", "conv3", changed(turned)),
    fault(SIGNALS, "kernel flipped", "conv1", changed(turned)),
    fault(CIFAR, "kernel flipped", ("Conv_5", "53"), changed(turned)),
    fault(CANDY, "kernel flipped", ("convolution13", "SpatialFullConvolution_63_output"), changed(turned)),
    fault(TEXTURES, "channels swapped", "conv5", changed(lambda w: w.swapaxes(0, 1))),
    fault(SIGNALS, "channels swapped", "conv5", changed(lambda w: w.swapaxes(0, 1))),
    fault(BLOBS, "channels swapped", "conv4", changed(lambda w: w.swapaxes(0, 1))),
    fault(CIFAR, "channels swapped", ("Conv_2", "50"), changed(lambda w: w.swapaxes(0, 1))),
    fault(ESPCN, "channels swapped", unnamed("11"), changed(lambda w: w.swapaxes(0, 1))),
    fault(VITTRACK, "matrix transposed", ("MatMul_67", "259"), changed(np.transpose)),
    fault(TEXTURES, "BGR for RGB", "conv1", changed(lambda w: w[:, ::-1])),
    fault(KERAS, "BGR for RGB", by_tensorflow("conv1/BiasAdd"), changed(lambda w: w[:, ::-1])),
    fault(SQUEEZENET, "BGR for RGB", unnamed("conv1_1"), changed(lambda w: w[:, ::-1])),
    fault(MOBILENET, "BGR for RGB", in_mobilenet(0, "CF"), changed(lambda w: w[:, ::-1])),
    # Filters
    fault(SQUEEZENET, "filter zeroed", unnamed("fire5/expand1x1_1"), zero_filter),
    fault(TEXTURES, "filter zeroed", "conv2", zero_filter),
    fault(VOLUMES, "filter zeroed", "conv4", zero_filter),
    fault(TEXTURES, "sign of a filter", "conv3", changed(negate_filter)),
    fault(GREY, "sign of a filter", "conv1", changed(negate_filter)),
    fault(YUNET, "sign of a filter", ("Conv_15", "229"), changed(negate_filter)),
    fault(TEXTURES, "two filters exchanged", "conv4", exchange_filters),
    fault(GREY, "two filters exchanged", "conv3", exchange_filters),
    fault(
        SHUFFLENET,
        "filters rotated",
        ("Conv_27_quant", "368_quantized_f"),
        changed(lambda w: np.roll(w, 1, 0)),
    ),
    fault(TEXTURES, "weights of 3 bits", "conv3", changed(rounded(3))),
    fault(SQUEEZENET, "weights of 4 bits", unnamed("fire8/expand3x3_1"), changed(rounded(4))),
    fault(SHUFFLENET, "weights of 4 bits", ("fused Conv_6_quant", "347_quantized_f"), changed(rounded(4))),
    fault(CIFAR, "NaN in the weights", ("Conv_7", "56"), changed(poison(np.nan))),
    fault(VOLUMES, "infinity in the weights", "conv3", changed(poison(np.inf))),
    fault(CIFAR, "two groups", ("Conv_2", "50"), group(2)),
    fault(GREY, "four groups", "conv4", group(4)),
    # Biases
    fault(TEXTURES, "bias dropped", "conv2", drop_bias),
    fault(VOLUMES, "bias dropped", "conv2", drop_bias_wholly),
    fault(SQUEEZENET, "bias dropped", unnamed("fire6/squeeze1x1_1"), drop_bias_wholly),
    fault(SILERO, "bias dropped", by_torch("/model/encoder/2/reparam_conv/Conv"), drop_bias_wholly),
    fault(KERAS, "bias dropped", ("predictions/Softmax", "probabilities"), removed, at="predictions/BiasAdd:0"),
    fault(TEXTURES, "bias of another layer", "conv4", bias_of("conv5")),
    fault(CIFAR, "bias of another layer", ("Conv_0", "47"), bias_of("50")),
    # Attention and recurrent layers
    fault(VITTRACK, "scale of the attention lost", ("Mul_60", "244"), changed(np.ones_like)),
    fault(GTCRN, "gates in another order", ("GRU_153", "onnx::Squeeze_531"), gates((1, 0, 2))),
    fault(GTCRN, "directions exchanged", ("GRU_700", "onnx::Transpose_1417"), directions_exchanged),
    fault(
        SILERO,
        "gates in another order",
        ("/model/decoder/If_1", "/model/decoder/If_1_output_0"),
        gates((0, 2, 1, 3), *_LSTM),
    ),
    # Quantization
    fault(
        TEXTURES_INT8,
        "scale off by 2",
        ("conv3", "relu3"),
        changed(doubled),
        at="conv3.weight_DequantizeLinear_Output",
    ),
    fault(
        TEXTURES_INT8,
        "scale off by 2",
        ("relu4_DequantizeLinear", "relu4_DequantizeLinear_Output"),
        changed(doubled),
    ),
    fault(
        TEXTURES_INT8,
        "zero point off by 20",
        ("relu2_DequantizeLinear", "relu2_DequantizeLinear_Output"),
        changed(lambda zero: zero + 20, 2),
    ),
    fault(
        TEXTURES_INT8,
        "scales rotated",
        ("conv2", "relu2"),
        changed(lambda scale: np.roll(scale, 1)),
        at="conv2.weight_DequantizeLinear_Output",
    ),
    fault(
        TEXTURES_INT8,
        "one scale for all",
        ("conv4", "relu4"),
        changed(averaged),
        at="conv4.weight_DequantizeLinear_Output",
    ),
    fault(
        SHUFFLENET_INT8,
        "scale off by 2",
        ("fused Conv_0_quant", "341_quantized"),
        changed(doubled, 4),
    ),
    fault(
        SHUFFLENET_INT8,
        "scales rotated",
        ("fused Conv_24_quant", "366_quantized"),
        changed(lambda scale: np.roll(scale, 1), 4),
    ),
    fault(
        SHUFFLENET_INT8,
        "zero point off by 20",
        ("fused Conv_14_quant", "355_quantized"),
        changed(lambda zero: zero - 20, 2),
    ),
    fault(SHUFFLENET_INT8, "one scale for all", ("fused Conv_6_quant", "347_quantized"), changed(averaged, 4)),
    # float16
    fault(
        SQUEEZENET,
        "float16 overflow",
        unnamed("fire8/expand1x1_1"),
        in_float16({"fire8/expand1x1_1": (10, 10), "fire8/expand3x3_1": (10, 10), "fire9/squeeze1x1_1": (-10, 0)}),
    ),
    fault(TEXTURES, "float16 overflow of a bias", "conv5", in_float16({"conv5": (15, 15), "logits": (-15, 0)})),
    fault(BLOBS, "float16 overflow of weights", "conv3", in_float16({"conv3": (18, 18), "conv4": (-18, 0)})),
    fault(
        TEXTURES,
        "float16 underflow",
        "conv3",
        in_float16({"conv3": (-22, -22), "conv4": (11, -11), "conv5": (11, 0)}),
    ),
    fault(
        SIGNALS,
        "float16 underflow",
        "conv2",
        in_float16({"conv2": (-22, -22), "conv3": (11, -11), "conv4": (11, 0)}),
    ),
)
