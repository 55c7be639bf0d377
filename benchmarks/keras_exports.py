"""Do Keras's own architectures survive the way through ONNX: every float tensor, and the gradient.

TensorFlow and torch stay in environments of their own, so this has two halves, with a folder between them:

    TENSORFLOW/bin/python benchmarks/keras_exports.py export FOLDER [NAME ...]
    ONNXVIS/bin/python benchmarks/keras_exports.py verify FOLDER

The first writes many of `keras.applications` with random weights, each twice: by `converters/from_keras.py` and by
Keras's own `model.export(format="onnx")`. The second compares torch with onnxruntime at every float tensor, and looks
at the gradient of an output with respect to the image; it prints a table and exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).parents[1]
SIZES = {
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Large": 64,
    "MobileNetV3Small": 64,
    "NASNetMobile": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 32,
    "Xception": 71,
}
"""Width and height of the input image: small, but none below the smallest that Keras accepts."""
REFUSED = {"ConvNeXtTiny-keras"}
"""Files of Keras's own exporter that hold operators which ONNX does not have; onnxvis says so."""
CLASSES = 10
OPSET = 18
TOLERANCE = 1e-4
SEED = 0


def export(folder: Path, names: list[str]) -> None:
    """Write each architecture by each exporter."""
    sys.path.insert(0, str(ROOT / "converters"))
    from_keras = importlib.import_module("from_keras")
    importlib.import_module("traced_function").tensorflow()
    keras = importlib.import_module("keras")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        start = time.perf_counter()
        keras.utils.set_random_seed(SEED)
        size = SIZES[name]
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=CLASSES)
        randomize(model)
        model(np.zeros((1, size, size, 3), np.float32))
        model.export(folder / f"{name}-keras.onnx", format="onnx", opset_version=OPSET, verbose=False)
        onnx.save(from_keras.to_onnx_model(model, OPSET, name), folder / f"{name}-from_keras.onnx")
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        keras.backend.clear_session()


def randomize(model: Any) -> None:
    """Replace the weights that begin as 0 or 1, or as a millionth, by numbers that make a difference."""
    generator = np.random.default_rng(SEED)
    for weight in model.weights:
        kind = weight.path.rpartition("/")[2]
        if kind in {"gamma", "moving_variance"}:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif kind in {"beta", "bias", "moving_mean"}:
            weight.assign(generator.normal(0, 0.1, weight.shape))


def verify(folder: Path) -> bool:
    """Compare each file with onnxruntime, print a table, and tell whether all are right."""
    print("| file | float tensors | largest relative difference | largest gradient | seconds |\n|---|---|---|---|---|")
    right = [verified(path) for path in sorted(folder.glob("*.onnx"))]
    return all(right)


def verified(path: Path) -> bool:
    """Compare one file, and print its row."""
    onnxvis = importlib.import_module("onnxvis")
    start = time.perf_counter()
    try:
        model = onnxvis.load(path)
        report = onnxvis.verify(model, tolerance=TOLERANCE)
        gradient = largest_gradient(onnxvis.to_torch(model))
    except onnxvis.OnnxvisError as error:
        print(f"| {path.stem} | {type(error).__name__}: {error} | | | |", flush=True)
        return path.stem in REFUSED
    took = time.perf_counter() - start
    compared = f"{len(report.comparisons)}{f', {len(report.skipped)} skipped' if report.skipped else ''}"
    worst = f"{report.max_rel_error:.1e}{'' if report.ok else f', first at {report.first_divergence}'}"
    print(f"| {path.stem} | {compared} | {worst} | {gradient:.1e} | {took:.0f} |", flush=True)
    return bool(report.ok and not report.skipped and np.isfinite(gradient) and gradient > 0)


def largest_gradient(network: Any) -> float:
    """Return the largest derivative, by magnitude, of the first output by a pixel of noise."""
    torch = importlib.import_module("torch")
    torch.manual_seed(SEED)
    placeholders = [node for node in network.graph.nodes if node.op == "placeholder"]
    images = [torch.rand(node.meta["shape"], requires_grad=True) for node in placeholders]
    network(*images).flatten()[0].backward()
    return max(float(image.grad.abs().max()) for image in images)


def main() -> None:
    """Run one half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("half", choices=["export", "verify"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SIZES)}; default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SIZES):
        parser.error(f"no architecture here is called {', '.join(sorted(unknown))}")
    if arguments.half == "export":
        export(arguments.folder, arguments.names or list(SIZES))
    elif not verify(arguments.folder):
        sys.exit(1)


if __name__ == "__main__":
    main()
