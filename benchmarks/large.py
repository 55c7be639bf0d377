"""Measure the memory and the time that a picture of an early layer takes, of a model that is mostly other layers.

    python benchmarks/large.py [--gigabytes 3] [--in-file] [--late] [--folder FOLDER]

The model is written first, weights drawn at random: two convolutions, and behind them a perceptron of nearly all of the
size. The same command line is run on it and on its two convolutions alone, each in a process of its own: the difference
of their peak memory is what the layers cost that the target does not need.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

MODELS = ("trunk.onnx", "large.onnx")
WIDTH = 8192
BYTES = 4 * WIDTH * WIDTH
TRUNK = """
<ir_version: 10, opset_import: ["": 17]>
large (float[1, 3, 64, 64] image) => (float[1, 32, 64, 64] conv2)
{
    conv1 = Conv <pads = [1, 1, 1, 1]> (image, w1)
    relu1 = Relu (conv1)
    conv2 = Conv <pads = [1, 1, 1, 1]> (relu1, w2)
}
"""


def trunk() -> onnx.ModelProto:
    """Return the layers that the target needs, weights in the file."""
    proto = onnx.parser.parse_model(TRUNK)
    generator = np.random.default_rng(0)
    for name, shape in (("w1", (32, 3, 3, 3)), ("w2", (32, 32, 3, 3))):
        array = generator.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:])).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def write(path: Path, layers: int, *, in_file: bool) -> None:
    """Write the model with so many large layers, one weight after the other."""
    proto = trunk()
    graph = proto.graph
    last = "conv2"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, -1]), "flat"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.arange(WIDTH), "some"))
    graph.node.append(helper.make_node("Reshape", [last, "flat"], ["features"]))
    graph.node.append(helper.make_node("Gather", ["features", "some"], ["dense0"], axis=1))
    for layer in range(layers):
        graph.node.append(helper.make_node("MatMul", [f"dense{layer}", f"v{layer}"], [f"dense{layer + 1}"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(f"dense{layers}", TensorProto.FLOAT, [1, WIDTH]))
    path.write_bytes(proto.SerializeToString())
    for layer in range(layers):
        # Messages that follow one another are one message: it never is in memory as a whole.
        piece = onnx.ModelProto()
        add_weight(piece.graph.initializer.add(), layer, path, in_file=in_file)
        with path.open("ab") as file:
            file.write(piece.SerializeToString())


def add_weight(tensor: TensorProto, layer: int, path: Path, *, in_file: bool) -> None:
    """Fill a tensor, or append it to the file of weights beside the model."""
    tensor.name, tensor.data_type = f"v{layer}", TensorProto.FLOAT
    tensor.dims.extend([WIDTH, WIDTH])
    generator = np.random.default_rng(layer)
    content = (generator.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(np.sqrt(WIDTH))).tobytes()
    if in_file:
        tensor.raw_data = content
        return
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": f"{path.name}.data", "offset": str(layer * BYTES), "length": str(BYTES)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    with Path(f"{path}.data").open("ab") as file:
        file.write(content)


def measured(path: Path, *words: str) -> tuple[float, float]:
    """Run the command line on a model in a process of its own; return its peak memory in GB and its seconds."""
    command = [sys.executable, "-m", "onnxvis", *words[:1], str(path), *words[1:]]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - it is written here
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        message = f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}"
        raise SystemExit(message)
    return usage.ru_maxrss * 1024 / 1e9, time.perf_counter() - began


def picture(node: str, folder: Path) -> tuple[str, ...]:
    """Return the words of a short visualization."""
    return ("visualize", "--node", node, "--filter", "0", "--steps", "20", "-o", str(folder / "out.png"))


def main() -> None:
    """Write both models, and run the command line on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--in-file", action="store_true", help="weights in the .onnx file, as fits below 2 GB")
    parser.add_argument("--late", action="store_true", help="also the last layer, which needs all weights")
    parser.add_argument("--folder", help="where to write the models; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "trunk.onnx").write_bytes(trunk().SerializeToString())
        # A process starts with the peak of the one that starts it: what writes the model is another.
        layers = round(options.gigabytes * 1e9 / BYTES)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write, (folder / "large.onnx", layers), {"in_file": options.in_file})
        size = sum(file.stat().st_size for file in folder.glob("large.onnx*")) / 1e9
        print(f"a model of {size:.2f} GB, weights {'in the file' if options.in_file else 'beside it'}")
        runs = [(("nodes",), model) for model in MODELS] + [(picture("conv2", folder), model) for model in MODELS]
        runs += [(picture(f"dense{layers}", folder), "large.onnx")] if options.late else []
        for words, model in runs:
            memory, seconds = measured(folder / model, *words)
            print(f"  {' '.join(words[:3]):24} {model:10} {memory:5.2f} GB at most, {seconds:5.1f} s")


if __name__ == "__main__":
    main()
