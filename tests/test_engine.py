from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxvis import Recipe, load
from onnxvis.engine import Engine, engine_for
from onnxvis.prepare import prepare
from tests.models import conv_net, parsed, random_weights

FIXED_RESHAPE = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image) => (float[1, 5] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    r = Relu (c)
    shape = Constant <value = int64[2] {1, 256}> ()
    flat = Reshape (r, shape)
    y = Gemm <transB = 1> (flat, w3, b3)
}
"""
OVER_THE_BATCH = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 8, 8] image) => (float[N, 4, 8, 8] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    mean = ReduceMean <axes = [0]> (c)
    mixed = Sub (c, mean)
    y = Add (c, mixed)
}
"""
MOVED = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image) => (float[4, 1, 8, 8] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    y = Transpose <perm = [1, 0, 2, 3]> (c)
}
"""
FOUR = """
<ir_version: 8, opset_import: ["": 17]> net (float[4, 3, 8, 8] image) => (float[4, 4, 8, 8] y)
{ y = Conv <pads = [1, 1, 1, 1]> (image, w1, b1) }
"""
TWO_INPUTS = """
<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 8, 8] image, float[1, 4, 8, 8] other) => (float[1, 4, 8, 8] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    y = Mul (c, other)
}
"""
WEIGHTS = random_weights({"w1": (4, 3, 3, 3), "b1": (4,), "w3": (5, 256), "b3": (5,)})


def model(text: str) -> onnx.ModelProto:
    return parsed(text, **{name: array for name, array in WEIGHTS.items() if f"{name}" in text})


def engines(proto: onnx.ModelProto, count: int, **settings: object) -> tuple[Engine, Engine]:
    prepared = prepare(load(proto), Recipe(**settings), pictures=[()] * count)  # type: ignore[arg-type] # any setting
    return prepared.engine, prepared.problem(prepared.units.targets).engine


def looked(engine: Engine, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activation and its gradient, one row for each image."""
    image = images.clone().requires_grad_()
    activation = engine({"image": image})[1][""]
    (gradient,) = torch.autograd.grad(activation.square().sum(), image)
    return activation.detach().reshape(len(images), -1), gradient


@pytest.mark.parametrize(
    ("make", "mode"),
    [
        (conv_net, "whole"),
        (lambda: model(FIXED_RESHAPE), "vmap"),
        (lambda: model(OVER_THE_BATCH), "vmap"),
        (lambda: model(MOVED), "vmap"),
        (lambda: model(FOUR), "vmap"),
    ],
)
def test_each_image_of_a_batch_is_what_it_is_alone(make: Callable[[], onnx.ModelProto], mode: str) -> None:
    single, many = engines(make(), 5)
    assert many.mode == mode
    size = single.inputs["image"].image_shape
    images = torch.rand(5, *size, generator=torch.Generator().manual_seed(1))
    activations, gradients = looked(many, images)
    loop = Engine(single.network, single.inputs, single.outputs, 5, "loop", single.unbatched)
    in_turn, gradients_in_turn = looked(loop, images)
    torch.testing.assert_close(activations, in_turn)
    torch.testing.assert_close(gradients, gradients_in_turn)
    for index in range(5):
        alone, gradient = looked(single, images[index : index + 1])
        torch.testing.assert_close(activations[index], alone.flatten())
        torch.testing.assert_close(gradients[index : index + 1], gradient)


def test_a_batch_that_mixes_its_images_is_noticed() -> None:
    # What is subtracted from the mean of the batch lowers at any batch, and gives something else.
    _, many = engines(model(OVER_THE_BATCH), 3)
    images = torch.rand(3, 3, 8, 8)
    before = looked(many, images)[0][0]
    images[2] = 0
    torch.testing.assert_close(looked(many, images)[0][0], before)


def test_tensors_without_a_batch_get_an_axis_for_the_images() -> None:
    _, many = engines(model(MOVED), 3)
    assert many.stacked == {""}
    assert many({"image": torch.rand(3, 3, 8, 8)})[1][""].shape == (3, 4, 1, 8, 8)


def test_a_tensor_with_a_batch_keeps_its_axes() -> None:
    for text in (FIXED_RESHAPE, OVER_THE_BATCH):
        _, many = engines(model(text), 3)
        fed, activations = many({"image": torch.rand(3, 3, 8, 8)})
        assert activations[""].ndim == (2 if text == FIXED_RESHAPE else 4)
        assert len(activations[""]) == 3
        assert not many.stacked
        assert len(fed["image"]) == 3


def test_other_inputs_are_held_for_each_image() -> None:
    held = np.random.default_rng(0).random((1, 4, 8, 8), np.float32)
    prepared = prepare(load(model(TWO_INPUTS)), Recipe(), pictures=[()] * 3, inputs={"other": held})
    many = prepared.problem(prepared.units.targets).engine
    assert many.mode == "whole"
    images = torch.rand(3, 3, 8, 8)
    together = many({"image": images})[1][""]
    for index in range(3):
        alone = prepared.engine({"image": images[index : index + 1]})[1][""]
        torch.testing.assert_close(together[index : index + 1], alone)


def test_an_operator_that_cannot_be_mapped_goes_in_a_loop() -> None:
    single, _ = engines(model(FIXED_RESHAPE), 1)

    def stubborn(x: Tensor) -> Tensor:
        return x * float(x.sum() > -1)  # a Python number cannot be had of a mapped tensor

    node = next(node for node in single.network.graph.nodes if node.meta.get("onnx_op") == "Relu")
    node.target = stubborn
    single.network.recompile()
    many = engine_for(single, 3, None)
    assert many.mode == "loop"
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(looked(many, images)[0][2], looked(single, images[2:])[0][0])


@pytest.mark.parametrize(
    ("file", "settings", "mode"),
    [
        ("cls_mnist_cntk_opset8.onnx", {}, "vmap"),
        ("cls_cifar10_cnn_torch.onnx", {}, "whole"),
        ("audio_silero_vad_16k_op15.onnx", {"size": (512,), "inputs": {"sr": 16000}}, "whole"),
        ("audio_gtcrn_simple.onnx", {}, "vmap"),
    ],
)
def test_real_models_in_batches(shared_models: Path, file: str, settings: dict[str, object], mode: str) -> None:
    prepared = prepare(load(shared_models / file), Recipe(**settings), pictures=[()] * 2)  # type: ignore[arg-type] # any setting
    many = prepared.problem(prepared.units.targets).engine
    assert many.mode == mode
    name = prepared.image_input.name
    images = torch.rand(2, *prepared.image_input.image_shape)
    together = many({name: images})[1][""]
    for index in range(2):
        alone = prepared.engine({name: images[index : index + 1]})[1][""]
        torch.testing.assert_close(together[index].flatten(), alone.flatten(), rtol=1e-3, atol=1e-5)


SILENT = """
<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 8, 8] image) => (float[N, 4, 8, 8] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    r = Relu (c)
    mean = ReduceMean <axes = [0]> (r)
    d = Sub (r, mean)
    y = Relu (d)
}
"""


def test_silence_at_the_probe_does_not_pass_for_agreement() -> None:
    proto = parsed(SILENT, w1=WEIGHTS["w1"], b1=np.full(4, -50, np.float32))
    _, many = engines(proto, 3)
    assert many.mode == "vmap"
