"""Layers as some sources name them: a node and the tensor that it makes."""

from __future__ import annotations

_MOBILENET = "StatefulPartitionedCall/mobilenet_v2_128_0.5/"
_KINDS = {"F": "FusedBatchNormV3", "C": "Conv2D", "R": "Relu6", "D": "depthwise", "A": "add", "P": "pad/Pad"}


def in_mobilenet(number: int, made: str) -> tuple[str, str]:
    """A layer of MOBILENET by its number and initial; CF and DF: a convolution with the next layer's normalization."""
    layer, last = f"{_MOBILENET}LAYER_{number}", _KINDS[made[-1]]
    if made == "P":
        return f"{layer}_{last}", f"{layer}_{last}:0"
    return f"{layer}/{_KINDS[made[0]]}", f"{_MOBILENET}LAYER_{number + len(made) - 1}/{last}:0"


def by_torch(name: str) -> tuple[str, str]:
    """A layer of a file that torch's exporter wrote."""
    return name, f"{name}_output_0"


def by_tensorflow(name: str) -> tuple[str, str]:
    """A layer of a file that was converted from TensorFlow."""
    return name, f"{name}:0"


def unnamed(tensor: str) -> tuple[None, str]:
    """A layer of a file that names no nodes."""
    return None, tensor
