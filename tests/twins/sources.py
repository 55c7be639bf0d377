"""The files of which twins are made: their names, and where they lie or how they are generated."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from tests.twins.cells import cells
from tests.twins.torch_exports import exported

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "samples", ROOT.parent / "shared" / "models")

RESIDUAL, CELLS = "residual by torch", "cells by hand"
GENERATED: dict[str, Callable[[], ModelProto]] = {
    RESIDUAL: functools.partial(exported, dynamo=False, version=13, folded=False),
    CELLS: cells,
}

BLOBS, GREY, KERAS, SIGNALS = "blobs.onnx", "grey.onnx", "keras_nhwc.onnx", "signals.onnx"
TEXTURES, TEXTURES_INT8, VOLUMES = "textures.onnx", "textures_int8.onnx", "volumes.onnx"
SQUEEZENET, MOBILENET, TRUNK = (
    "squeezenet1_1_fp32_upcast.onnx",
    "cls_mobilenetv2_050_128_st.onnx",
    "mobilenet_v1_1.0_224_trunk.onnx",
)
SHUFFLENET, SHUFFLENET_INT8 = "shufflenet_v2_12_dequantized.onnx", "in_shufflenet_v2_12_int8.onnx"
CIFAR, MNIST, ESPCN = "cls_cifar10_cnn_torch.onnx", "cls_mnist_cntk_opset8.onnx", "sr_subpixel_espcn_x3.onnx"
YUNET, DEEPLAB, CANDY = "face_yunet_n_dynamic.onnx", "seg_deeplabv3_mnv2_dm05.onnx", "style_candy.onnx"
VITTRACK = "track_vittrack.onnx"
GTCRN, SILERO, PITCH = "audio_gtcrn_simple.onnx", "audio_silero_vad_16k_op15.onnx", "audio_basic_pitch_nmp.onnx"


def load_source(name: str) -> ModelProto:
    """Load a source by its file name, or generate it.

    Raises:
        FileNotFoundError: Neither samples/ nor ../shared/models has it.
    """
    if name in GENERATED:
        return GENERATED[name]()
    for folder in FOLDERS:
        if (folder / name).is_file():
            return onnx.load(folder / name)
    msg = f"Neither of {', '.join(map(str, FOLDERS))} has {name}."
    raise FileNotFoundError(msg)


def label(source: str) -> str:
    """A source's name in the names of its twins."""
    return source.removesuffix(".onnx")


def slug(name: str) -> str:
    """Write a name as one word."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
