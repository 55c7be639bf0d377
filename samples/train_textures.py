"""Train the sample network on drawn textures and write it as `textures.onnx` beside this script.

Run `python samples/train_textures.py`; it takes a few minutes on two cores and reads no data.

The network is trained on adversarial examples in an L2 ball. That costs little accuracy here and makes the gradient
with respect to the image look like the class (Santurkar et al. 2019, "Image Synthesis with a Single (Robust)
Classifier", https://arxiv.org/abs/1906.09453), which is what a sample for feature visualization is for. A third of
the images are spoiled drawings, laid over each other or melted, which should be given to no class: without them the
network is the surer the more of a texture is piled up, and parts pass for the whole (Augustin et al. 2020,
"Adversarial Robustness on In- and Out-Distribution Improves Explainability", https://arxiv.org/abs/2003.09461). The
image is blurred a little before the first convolution, and downsampled by averages, because a stride or a maximum
would leave its own checkerboard in the gradient.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from textures import SIZE, TEXTURES, draw_batch, draw_spoiled
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

OUTPUT = Path(__file__).with_name("textures.onnx")
CHANNELS = (16, 32, 64, 96, 96)
POOLED = (0, 1, 2)  # the convolutions after which the image is halved
BLURS = 2  # averages over 3 x 3 pixels before the first convolution
MEAN, STD = 0.5, 0.5  # pixels in [0, 1] become [-1, 1]
VALIDATION_SEED = 1_000_003
OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True)
class Schedule:
    """How the network is trained; `radius` is that of the L2 ball, pixels in [0, 1]."""

    steps: int = 700
    batch: int = 48
    spoiled: int = 24
    learning_rate: float = 4e-3
    weight_decay: float = 2e-2
    label_smoothing: float = 0.05
    radius: float = 3.0
    attack_steps: int = 1
    seed: int = 0


class TextureNet(nn.Module):
    """Five convolutions, each with batch normalization and ReLU, a global average and one dense layer."""

    def __init__(self, classes: int) -> None:
        """Make the layers, with random weights."""
        super().__init__()
        widths = (3, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 5 if i == 0 else 3, padding="same") for i in range(len(CHANNELS))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in CHANNELS)
        self.dense = nn.Linear(CHANNELS[-1], classes)

    def blocks(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Pair each convolution with the normalization after it."""
        pairs = zip(self.convolutions, self.norms, strict=True)
        return cast("list[tuple[nn.Conv2d, nn.BatchNorm2d]]", list(pairs))

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the logits (N, classes) of RGB images (N, 3, H, W) with values in [0, 1]."""
        x = (pixels - MEAN) / STD
        for _ in range(BLURS):
            x = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        for index, (convolution, norm) in enumerate(self.blocks()):
            x = functional.relu(norm(convolution(x)))
            if index in POOLED:
                x = functional.avg_pool2d(x, 2)
        logits: Tensor = self.dense(x.mean((2, 3)))
        return logits


def drawings(seed: int, index: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw images and their labels, the same ones for the same seed and index."""
    images, labels = draw_batch(np.random.default_rng([seed, index]), count)
    return channels_last(images), torch.from_numpy(labels)


def training_batch(schedule: Schedule, index: int) -> tuple[Tensor, Tensor]:
    """Draw textures and spoiled drawings, and the class probabilities (N, classes) that they should get."""
    images, labels = drawings(schedule.seed, index, schedule.batch)
    spoiled = draw_spoiled(np.random.default_rng([schedule.seed, index, 1]), schedule.spoiled)
    classes = len(TEXTURES)
    one_hot = functional.one_hot(labels, classes).float()
    undecided = torch.full((schedule.spoiled, classes), 1 / classes)
    return torch.cat([images, channels_last(spoiled)]), torch.cat([one_hot, undecided])


def channels_last(images: NDArray[np.float32]) -> Tensor:
    """Lay images out as the processor's convolutions like them, which saves a quarter of the time."""
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


def attack(network: nn.Module, images: Tensor, targets: Tensor, radius: float, steps: int) -> Tensor:
    """Find images within an L2 `radius`, values in [0, 1], on which the loss is larger.

    Projected gradient descent (Madry et al. 2018, https://arxiv.org/abs/1706.06083), started at the images.
    """
    change = torch.zeros_like(images)
    for _ in range(steps):
        change.requires_grad_()
        loss = functional.cross_entropy(network(images + change), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, change)
        change = change.detach() + 1.5 * radius / steps * gradient / norms(gradient).clamp(min=1e-12)
        change = change * (radius / norms(change).clamp(min=radius))
        change = (images + change).clamp(0, 1) - images
    return images + change


def norms(images: Tensor) -> Tensor:
    """Compute the L2 norm of each image, (N, 1, 1, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return lengths


def train(schedule: Schedule) -> TextureNet:
    """Train a network from scratch, on adversarial examples only."""
    torch.manual_seed(schedule.seed)
    network = TextureNet(len(TEXTURES))
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=schedule.steps)
    for step in range(1, schedule.steps + 1):
        images, targets = training_batch(schedule, step)
        radius = schedule.radius * min(1.0, 2 * step / schedule.steps)
        logits = network(attack(network, images, targets, radius, schedule.attack_steps))
        loss = functional.cross_entropy(logits, targets, label_smoothing=schedule.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        rates.step()
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}", flush=True)
    network.eval()
    return network


def accuracies(network: nn.Module, radius: float, steps: int) -> tuple[float, float]:
    """Measure the accuracy on new drawings, as they are and under attack."""
    right = attacked_right = total = 0
    for index in range(16):
        images, labels = drawings(VALIDATION_SEED, index, 64)
        attacked = attack(network, images, labels, radius, steps)
        with torch.no_grad():
            right += int((network(images).argmax(1) == labels).sum())
            attacked_right += int((network(attacked).argmax(1) == labels).sum())
        total += len(labels)
    return right / total, attacked_right / total


def graph_nodes() -> list[onnx.NodeProto]:
    """List the operators from `image` to `probabilities`; each is named after the tensor that it computes."""
    nodes, x = [], "image"

    def add(op_type: str, name: str, *weights: str, **attributes: Any) -> None:
        nonlocal x
        nodes.append(helper.make_node(op_type, [x, *weights], [name], name=name, **attributes))
        x = name

    for index in range(BLURS):
        add("AveragePool", f"blur{index + 1}", kernel_shape=[3, 3], pads=[1] * 4)
    for index in range(len(CHANNELS)):
        number, kernel = index + 1, 5 if index == 0 else 3
        weights = (f"conv{number}.weight", f"conv{number}.bias")
        add("Conv", f"conv{number}", *weights, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
        add("Relu", f"relu{number}")
        if index in POOLED:
            add("AveragePool", f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])
    add("GlobalAveragePool", "average")
    add("Flatten", "features")
    add("Gemm", "logits", "logits.weight", "logits.bias", transB=1)
    add("Softmax", "probabilities", axis=1)
    return nodes


def initializers(network: TextureNet) -> list[onnx.TensorProto]:
    """Collect the weights, with each batch normalization folded into the convolution before it."""
    layers: list[tuple[str, nn.Conv2d | nn.Linear]] = [
        (f"conv{number}", fuse_conv_bn_eval(convolution, norm))
        for number, (convolution, norm) in enumerate(network.blocks(), start=1)
    ]
    layers.append(("logits", network.dense))
    return [
        numpy_helper.from_array(tensor.detach().numpy(), f"{name}.{kind}")
        for name, layer in layers
        for kind, tensor in layer.named_parameters()
    ]


def metadata() -> dict[str, str]:
    """State what the input means, in ONNX's own words and in onnxvis's; the two agree."""
    return {
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "Normalized_1_1",
        "onnxvis.range": json.dumps([0, 1]),
        "onnxvis.mean": json.dumps([MEAN] * 3),
        "onnxvis.std": json.dumps([STD] * 3),
        "onnxvis.layout": "NCHW",
        "onnxvis.labels": json.dumps(list(TEXTURES)),
        "model_author": "the onnxvis project",
        "model_license": "MIT",
    }


def to_onnx(network: TextureNet) -> onnx.ModelProto:
    """Write the network as a checked ONNX model, from normalized images to class probabilities."""
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    output = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", len(TEXTURES)])
    graph = helper.make_graph(graph_nodes(), "textures", [image], [output], initializers(network))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="onnxvis/samples/train_textures.py",
        doc_string=f"Tells {len(TEXTURES)} drawn textures apart.",
    )
    helper.set_model_props(model, metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


def parity(path: Path, network: TextureNet) -> float:
    """Compare onnxruntime on the written file with torch: the largest error of a probability."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, _ = drawings(VALIDATION_SEED, 0, 64)
    (found,) = session.run(None, {"image": ((images - MEAN) / STD).numpy()})
    with torch.no_grad():
        expected = network(images).softmax(1).numpy()
    return float(np.abs(found - expected).max())


def main() -> None:
    """Train, measure, write, and compare what was written."""
    schedule = Schedule()
    network = train(schedule)
    clean, robust = accuracies(network, schedule.radius, schedule.attack_steps)
    print(f"validation accuracy {clean:.1%}, within an L2 distance of {schedule.radius:g}: {robust:.1%}")
    onnx.save(to_onnx(network), OUTPUT)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1000:.0f} KB")
    print(f"onnxruntime against torch: max abs error {parity(OUTPUT, network):.1e}")


if __name__ == "__main__":
    main()
