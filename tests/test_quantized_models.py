from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from onnxvis.exact_sums import with_exact_sums
from onnxvis.lower import lower
from onnxvis.model import load
from tests.models import parsed, random_weights

Array = npt.NDArray[Any]
SHAPE = (1, 3, 12, 12)
NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1,3,12,12] x) => (float[1,4] y)
{
    c1 = Conv <kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]> (x, w1, b1)
    r1 = Relu (c1)
    c2 = Conv <kernel_shape=[3,3], pads=[1,1,1,1], group=8> (r1, w2)
    l2 = LeakyRelu <alpha=0.1> (c2)
    s = Sigmoid (l2)
    m = Mul (l2, s)
    a = Add (m, r1)
    j = Concat <axis=1> (a, m)
    p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (j)
    g = GlobalAveragePool (p)
    f = Flatten (g)
    d = MatMul (f, w3)
    y = Softmax <axis=-1> (d)
}
"""


class Images(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """Random images to find the ranges on."""

    def __init__(self) -> None:
        self.images = iter([image(seed) for seed in range(1, 9)])

    def get_next(self) -> dict[str, Array] | None:
        """The next one, by the name of the model's input."""
        found = next(self.images, None)
        return None if found is None else {"x": found}


def image(seed: int, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = random_weights({"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (16, 4)})
    model = parsed(NET, **weights)
    path = tmp_path_factory.mktemp("quantized") / "float.onnx"
    onnx.save(model, path)
    return path


def differences(path: Path, x: Array) -> Iterator[tuple[str, float]]:
    """How far each tensor is from onnxruntime's, relative to its largest element."""
    model = onnx.load(path)
    names = [name for node in model.graph.node for name in node.output]
    final = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in final)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    exact, _ = with_exact_sums(model)
    session = onnxruntime.InferenceSession(exact.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x}
    wanted = dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))
    found = lower(load(path), outputs=names)(torch.from_numpy(x))
    for name, tensor in zip(names, found, strict=True):
        theirs = np.asarray(wanted[name], np.float64)
        largest = max(float(np.abs(theirs).max()), 1e-12)
        yield name, float(np.abs(tensor.detach().double().numpy() - theirs).max()) / largest


def slope(path: Path, x: Array) -> torch.Tensor:
    """The gradient of a weighting of the output."""
    source = torch.from_numpy(x).requires_grad_()
    y = lower(load(path))(source)
    (found,) = torch.autograd.grad((y * torch.arange(y.numel()).reshape(y.shape)).sum(), source)
    return found.flatten()


def assert_like_the_float_model(path: Path, float_file: Path) -> None:
    """The gradient has about the direction of the float model's: equal maxima in a window make some difference."""
    x = image(0)
    found, wanted = slope(path, x), slope(float_file, x)
    assert bool(torch.isfinite(found).all())
    assert float(torch.nn.functional.cosine_similarity(found, wanted, 0)) > 0.8


@pytest.mark.parametrize("style", [QuantFormat.QDQ, QuantFormat.QOperator], ids=["QDQ", "QOperator"])
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8], ids=["u8", "s8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_statically_quantized_models_agree_and_pass_the_gradient(
    float_file: Path, tmp_path: Path, style: QuantFormat, activations: QuantType, per_channel: bool
) -> None:
    path = tmp_path / "quantized.onnx"
    settings = {"quant_format": style, "activation_type": activations, "weight_type": QuantType.QInt8}
    quantize_static(float_file, path, Images(), per_channel=per_channel, **settings)
    assert max(difference for _, difference in differences(path, image(0))) < 1e-6
    assert_like_the_float_model(path, float_file)


def test_dynamically_quantized_models_agree_and_pass_the_gradient(float_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    quantize_dynamic(float_file, path, weight_type=QuantType.QUInt8)
    assert {"ConvInteger", "MatMulInteger"} <= {node.op_type for node in onnx.load(path).graph.node}
    assert max(difference for _, difference in differences(path, image(0))) < 1e-6
    assert_like_the_float_model(path, float_file)


def test_a_published_int8_model_agrees_at_every_tensor(shared: Path) -> None:
    path = shared / "models" / "in_shufflenet_v2_12_int8.onnx"
    x = image(0, (1, 3, 224, 224))
    assert max(difference for _, difference in differences(path, x)) < 1e-6
    found = slope(path, x)
    assert bool(torch.isfinite(found).all())
    assert float((found != 0).float().mean()) > 0.9
