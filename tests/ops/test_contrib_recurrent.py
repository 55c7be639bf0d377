from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from onnxvis import load, verify
from onnxvis.exact_sums import with_exact_sums
from onnxvis.ops.contrib_recurrent import dynamic_quantize_lstm
from onnxvis.ops.recurrent import lstm
from tests.ops.oracle import computed, node_model
from tests.ops.quantities import MICROSOFT

Array = npt.NDArray[Any]
T, N, WIDTH, H = 6, 3, 5, 4
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


def drawn(directions: int, dtype: Any = np.int8, *, per_column: bool = False, seed: int = 0) -> list[Array | None]:
    """All inputs of the operator; columns share a zero point, which is 0 for signed ones, as onnxruntime wants it."""
    generator = np.random.default_rng(seed)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    sizes = [(directions, WIDTH, 4 * H), (directions, H, 4 * H)]
    arrays: list[Array | None] = [generator.normal(size=(T, N, WIDTH)).astype(np.float32)]
    arrays += [generator.integers(low, high + 1, size).astype(dtype) for size in sizes]
    arrays.append((generator.normal(size=(directions, 8 * H)) / 2).astype(np.float32))
    arrays.append(np.array([3, 5, 1], np.int32))
    arrays += [generator.normal(size=(directions, N, H)).astype(np.float32) for _ in range(2)]
    arrays.append(generator.normal(size=(directions, 3 * H)).astype(np.float32))
    shape = (directions, 4 * H) if per_column else (directions,)
    for zero in (121, 133):
        arrays.append(generator.uniform(0.002, 0.008, shape).astype(np.float32))
        arrays.append(np.full(shape, zero if low == 0 else 0, dtype))
    return arrays


def of_onnxruntime(inputs: list[Array | None], **attributes: Any) -> list[Array]:
    model = node_model("DynamicQuantizeLSTM", inputs, 21, domain=MICROSOFT, outputs=3, **attributes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more quantize parts of the batch
    exact, _ = with_exact_sums(model)
    session = onnxruntime.InferenceSession(exact.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {f"x{i}": x for i, x in enumerate(inputs) if x is not None}))


def agrees(inputs: list[Array | None], *, carried: bool = False, **attributes: Any) -> None:
    """Compare all outputs; an integer that is off by one would move them by much more than the tolerance."""
    attributes = {"hidden_size": H, **attributes}
    wanted = of_onnxruntime(inputs, **attributes)
    settings = {"domain": MICROSOFT, "constant": False, "carried": carried, **attributes}
    found = computed("DynamicQuantizeLSTM", inputs, 21, outputs=3, **settings)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_every_direction_and_type_agrees(direction: str, dtype: Any, per_column: bool, short: bool) -> None:
    inputs = drawn(DIRECTIONS[direction], dtype, per_column=per_column)
    if short:
        inputs[3:8] = [None] * 5
    agrees(inputs, direction=direction)
    agrees(inputs, direction=direction, carried=True)


@pytest.mark.parametrize("omitted", range(3, 8))
@pytest.mark.parametrize("seed", range(3))
def test_optional_inputs_can_be_omitted(omitted: int, seed: int) -> None:
    inputs = drawn(2, np.uint8, seed=seed)
    inputs[omitted] = None
    agrees(inputs, direction="bidirectional")


@pytest.mark.parametrize("lens", [[0, 4, 2], [6, 6, 6], [1, 1, 1]])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_has_ended_is_not_in_the_range(lens: list[int], direction: str) -> None:
    inputs = drawn(DIRECTIONS[direction])
    assert inputs[0] is not None
    inputs[0][max(lens) :] *= 100
    inputs[4] = np.array(lens, np.int32)
    agrees(inputs, direction=direction)


@pytest.mark.parametrize(
    "attributes",
    [
        {"clip": 0.3},
        {"input_forget": 1},
        {"activations": ["HardSigmoid", "Softsign", "LeakyRelu"], "activation_alpha": [0.3, 0.1]},
    ],
    ids=["clip", "input_forget", "activations"],
)
def test_attributes_agree(attributes: dict[str, Any]) -> None:
    agrees(drawn(1), **attributes)


def output(function: Callable[..., Any], X: torch.Tensor, others: list[Array | None], **settings: Any) -> torch.Tensor:
    """Y of a layer."""
    Y = function(X, *(None if x is None else torch.from_numpy(x) for x in others), **settings)
    assert isinstance(Y, torch.Tensor)
    return Y


def of_floats(inputs: list[Array | None]) -> list[Array | None]:
    """The inputs of an LSTM with the same weights, of which each direction has one scale; all but X."""
    weights: list[Array | None] = []
    for values, scale, zero in ((1, 8, 9), (2, 10, 11)):
        q, s, z = (np.asarray(inputs[i], np.float64) for i in (values, scale, zero))
        floats = (q - z[:, None, None]) * s[:, None, None]
        weights.append(np.ascontiguousarray(floats.swapaxes(1, 2), np.float32))
    return [*weights, *inputs[3:8]]


@pytest.mark.parametrize(("steps", "tolerance"), [(1, 1e-5), (T, 0.05)])
def test_the_gradient_is_that_of_the_layer_without_rounding(steps: int, tolerance: float) -> None:
    inputs = drawn(1, np.uint8)
    inputs[4:6] = [None, None]
    codes = np.random.default_rng(1).integers(0, 256, (steps, N, WIDTH))
    codes.flat[:2] = 0, 255  # the whole range, so that nothing of X is rounded
    X = torch.from_numpy(((codes - 100) / 64).astype(np.float32)).requires_grad_()
    mine = output(dynamic_quantize_lstm, X, inputs[1:], input_types=(FLOAT, UINT8, UINT8))
    plain = output(lstm, X, of_floats(inputs))
    weights = torch.cos(torch.arange(mine.numel())).reshape(mine.shape)
    found, wanted = (torch.autograd.grad((Y * weights).sum(), X)[0] for Y in (mine, plain))
    size = float(wanted.abs().max())
    assert size > 1e-2
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * size)


def test_each_of_several_is_quantized_by_itself_under_vmap() -> None:
    first, *others = drawn(2)
    assert first is not None
    others[3] = None

    def of_one(X: torch.Tensor) -> torch.Tensor:
        return output(dynamic_quantize_lstm, X, others, direction="bidirectional", input_types=(FLOAT, INT8, INT8))

    X = torch.from_numpy(first)
    several = torch.stack([X, 2 * X])
    torch.testing.assert_close(torch.func.vmap(of_one)(several), torch.stack([of_one(X), of_one(2 * X)]))


@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_the_quantizer_writes_agrees(weight_type: QuantType, per_channel: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    shapes = {"w": (2, 4 * H, WIDTH), "r": (2, 4 * H, H), "b": (2, 8 * H)}
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 14]>
        layer (float[{T}, 1, {WIDTH}] x) => (float[{T}, 2, 1, {H}] y) {{
            y, h, c = LSTM <direction = "bidirectional", hidden_size = {H}> (x, w, r, b) }}"""
    )
    for name, shape in shapes.items():
        model.graph.initializer.append(numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "floats.onnx")
    quantize_dynamic(
        tmp_path / "floats.onnx", tmp_path / "integers.onnx", weight_type=weight_type, per_channel=per_channel
    )
    report = verify(load(tmp_path / "integers.onnx"))
    assert report.ok
    assert "DynamicQuantizeLSTM" in [item.op_type for item in report.comparisons]
