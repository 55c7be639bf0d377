import numpy as np
import onnx
import pytest
import torch

from onnxvis import to_torch
from onnxvis.simplify import simplify
from tests.models import parsed, random_weights

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
net (float[1, 3, 9, 9] image) => (float[1, 6, 9, 9] y)
{
    conv1 = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    norm1 = BatchNormalization <epsilon = 0.01> (conv1, scale, offset, mean, var)
    relu1 = Relu (norm1)
    conv2 = Conv <pads = [1, 1, 1, 1], group = 2> (relu1, w2)
    norm2 = BatchNormalization (conv2, scale, offset, mean, var)
    y = Relu (norm2)
}
"""
SHAPES = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 3, 3, 3), "scale": (6,), "offset": (6,), "mean": (6,)}


def normalized_net() -> onnx.ModelProto:
    var = np.random.default_rng(1).random(6).astype(np.float32) + 0.1
    return parsed(TEXT, **random_weights(SHAPES), var=var)


@pytest.mark.parametrize("channels_last", [False, True])
def test_folding_batch_normalization_changes_nothing_but_rounding(channels_last: bool) -> None:
    network, image = to_torch(normalized_net()), torch.rand(1, 3, 9, 9)
    simplified = simplify(network, channels_last=channels_last)
    operators = [node.meta["onnx_op"] for node in simplified.graph.nodes if node.op == "call_function"]
    assert operators == ["Conv", "Relu", "Conv", "Relu"]
    torch.testing.assert_close(simplified(image), network(image), rtol=1e-5, atol=1e-6)
    assert simplified.input_names == network.input_names
    read = {node.target for node in simplified.graph.nodes if node.op == "get_attr"}
    assert set(dict(simplified.named_buffers())) == read


def test_a_convolution_that_something_else_reads_is_kept() -> None:
    proto = normalized_net()
    proto.graph.output.append(onnx.helper.make_tensor_value_info("conv1", 1, [1, 6, 9, 9]))
    network, image = to_torch(proto), torch.rand(1, 3, 9, 9)
    simplified = simplify(network, channels_last=True)
    operators = [node.meta["onnx_op"] for node in simplified.graph.nodes if node.op == "call_function"]
    assert operators == ["Conv", "BatchNormalization", "Relu", "Conv", "Relu"]
    for mine, theirs in zip(simplified(image), network(image), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_network_itself_is_not_changed() -> None:
    network, image = to_torch(normalized_net()), torch.rand(1, 3, 9, 9)
    before, code = network(image), network.code
    weights = {name: buffer.clone() for name, buffer in network.named_buffers()}
    simplify(network, channels_last=True)
    assert torch.equal(network(image), before)
    assert network.code == code
    assert set(dict(network.named_buffers())) == set(weights)
    assert all(buffer.is_contiguous() for buffer in network.buffers())
