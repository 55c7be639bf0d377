"""Tiny networks of the library transformers with random weights, built from configurations: nothing is downloaded.

Sizes are the smallest at which every kind of layer of the family is still there. Attention is computed by the fused
operator unless `eager` is asked for, which is what exporters knew before opset 14.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

IMAGE = (1, 3, 64, 64)
_CLASSES = 7
_CALIBRATION = 8
_STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1], "num_labels": _CLASSES}
_LAYERS = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
_VIT = {**_LAYERS, "image_size": 64, "patch_size": 16, "num_labels": _CLASSES}
_SWIN = {"image_size": 64, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "num_labels": _CLASSES}
_RESNET = {"embedding_size": 8, "hidden_sizes": [12, 16, 20, 24], "depths": [1, 1, 1, 1]}
_DPT = {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 12}
_EFFICIENT: dict[str, Any] = {
    "image_size": 64,
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "in_channels": [32, 8, 16],
    "out_channels": [8, 16, 24],
    "kernel_sizes": [3, 3, 5],
    "strides": [1, 2, 2],
    "num_block_repeats": [1, 2, 1],
    "expand_ratios": [1, 6, 6],
    "hidden_dim": 1280,
}
_MOBILE_VIT = {"hidden_sizes": [12, 16, 20], "neck_hidden_sizes": [8, 8, 12, 16, 16, 20, 24], "num_attention_heads": 2}
_SEGFORMER = {
    "hidden_sizes": [8, 12, 16, 24],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 3],
    "decoder_hidden_size": 16,
}
_DETR = {
    "num_queries": 5,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
_WHISPER = {
    "num_mel_bins": 8,
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "max_source_positions": 32,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "decoder_start_token_id": 1,
    "decoder_layers": 1,
    "decoder_attention_heads": 3,
}
_WAV2VEC2 = {
    **_LAYERS,
    "conv_dim": [8, 8, 8],
    "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 3],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


class Outputs(nn.Module):
    """A network that takes one tensor and returns some fields of what the wrapped one returns.

    Args:
        network: The network.
        names: The fields: one becomes a tensor, several a tuple.
    """

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, x: Tensor) -> Any:
        """Run the network."""
        result = self.network(x)
        values = tuple(getattr(result, name) for name in self.names)
        return values[0] if len(values) == 1 else values


@functools.cache
def _transformers() -> Any:
    """Import the library without torchvision, which it needs for pictures only, and which may not fit torch."""
    hidden = "torchvision" not in sys.modules
    if hidden:
        sys.modules["torchvision"] = None  # type: ignore[assignment] # the import system's word for "not there"
    try:
        library = importlib.import_module("transformers")
        importlib.import_module("transformers.modeling_utils")
    finally:
        if hidden:
            del sys.modules["torchvision"]
    return library


def _network(
    network: str, config: str, settings: Mapping[str, Any], *names: str, eager: bool, part: str = ""
) -> nn.Module:
    transformers = _transformers()
    wanted = dict(settings)
    if wanted.pop("resnet_backbone", False):
        wanted["backbone_config"] = transformers.ResNetConfig(
            **_RESNET, out_features=["stage1", "stage2", "stage3", "stage4"]
        )
    configured = getattr(transformers, config)(**wanted)
    if eager:
        configured._attn_implementation = "eager"  # noqa: SLF001 - what `from_pretrained` sets by its argument
    built = getattr(transformers, network)(configured)
    return Outputs(getattr(built, part)() if part else built, names or ("logits",))


def _classifier(
    name: str, settings: Mapping[str, Any], kind: str = "ForImageClassification"
) -> Callable[..., nn.Module]:
    return functools.partial(_network, name + kind, name + "Config", settings)


NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "resnet": (_classifier("ResNet", {**_RESNET, "num_labels": _CLASSES}), IMAGE),
    "convnext": (_classifier("ConvNext", _STAGES), IMAGE),
    "convnextv2": (_classifier("ConvNextV2", _STAGES), IMAGE),
    "vit": (_classifier("ViT", _VIT), IMAGE),
    "deit": (_classifier("DeiT", _VIT), IMAGE),
    "dinov2": (_classifier("Dinov2", {**_VIT, "image_size": 56, "patch_size": 14}), (1, 3, 70, 70)),
    "swin": (_classifier("Swin", {**_SWIN, "window_size": 4}), IMAGE),
    "swinv2": (_classifier("Swinv2", {**_SWIN, "window_size": 4}), IMAGE),
    "beit": (_classifier("Beit", {**_VIT, "use_relative_position_bias": True}), IMAGE),
    "mobilenetv1": (_classifier("MobileNetV1", {"depth_multiplier": 0.25, "num_labels": _CLASSES}), IMAGE),
    "mobilenetv2": (_classifier("MobileNetV2", {"depth_multiplier": 0.25, "num_labels": _CLASSES}), IMAGE),
    "mobilevit": (
        _classifier("MobileViT", {**_MOBILE_VIT, "image_size": 128, "num_labels": _CLASSES}),
        (1, 3, 128, 128),
    ),
    "efficientnet": (_classifier("EfficientNet", {**_EFFICIENT, "num_labels": _CLASSES}), IMAGE),
    "regnet": (_classifier("RegNet", {**_RESNET, "groups_width": 4, "num_labels": _CLASSES}), IMAGE),
    "segformer": (_classifier("Segformer", _SEGFORMER, "ForSemanticSegmentation"), IMAGE),
    "dpt": (
        functools.partial(
            _network, "DPTForDepthEstimation", "DPTConfig", {**_VIT, **_DPT, "num_hidden_layers": 4}, "predicted_depth"
        ),
        IMAGE,
    ),
    "detr": (
        functools.partial(
            _network,
            "DetrForObjectDetection",
            "DetrConfig",
            {**_DETR, "resnet_backbone": True},
            "logits",
            "pred_boxes",
        ),
        IMAGE,
    ),
    "clip_vision": (
        functools.partial(
            _network,
            "CLIPVisionModelWithProjection",
            "CLIPVisionConfig",
            {**_VIT, "projection_dim": 16},
            "image_embeds",
        ),
        IMAGE,
    ),
    "siglip_vision": (
        functools.partial(_network, "SiglipVisionModel", "SiglipVisionConfig", _VIT, "pooler_output"),
        IMAGE,
    ),
    "whisper_encoder": (
        functools.partial(_network, "WhisperModel", "WhisperConfig", _WHISPER, "last_hidden_state", part="get_encoder"),
        (1, 8, 64),
    ),
    "wav2vec2": (
        functools.partial(_network, "Wav2Vec2Model", "Wav2Vec2Config", _WAV2VEC2, "last_hidden_state"),
        (1, 1200),
    ),
}
"""How to build each network, and the shape of its input."""


def build(name: str, *, eager: bool = False, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Build a network in eval mode and draw an input for it.

    Args:
        name: A key of `NETWORKS`.
        eager: Write attention as products and a softmax instead of the fused operator.
        seed: Of the weights and the input.
    """
    torch.manual_seed(seed)
    make, shape = NETWORKS[name]
    network = make(eager=eager).eval().requires_grad_(requires_grad=False)
    randomize(network)
    calibrate(network, torch.rand(_CALIBRATION, *shape[1:]))
    return network, torch.rand(shape)


def randomize(network: nn.Module) -> None:
    """Draw all weights so that every layer matters.

    Initial weights can be zero, or so small that a branch adds nothing in float32: ConvNeXt scales its layers by 1e-6.
    """
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.copy_(torch.randn(parameter.shape) * (2 / parameter[0].numel()) ** 0.5)
        else:
            parameter.add_(0.2 * torch.randn(parameter.shape))


def calibrate(network: nn.Module, images: Tensor) -> None:
    """Measure what the batch normalizations normalize by, without which a deep network's signal dies out."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(images)
    for norm in norms:
        norm.eval()
