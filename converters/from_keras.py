"""Write a Keras model (.keras, or .h5 of Keras 2 and 3) as ONNX.

    uv run converters/from_keras.py model.keras model.onnx --preprocess caffe --labels classes.txt

Nodes are named after the layers: what the layer `conv5` computes is called `model/conv5/...` in the file.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "h5py>=3.11",
#     "keras>=3.10",
#     "numpy>=2.0",
#     "onnx>=1.18",
#     "onnxruntime>=1.22",
#     "tensorflow-cpu>=2.19; sys_platform != 'darwin'",
#     "tensorflow>=2.19; sys_platform == 'darwin'",
#     "tf2onnx>=1.17",
# ]
# ///

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx_file import ConversionError, Feeds, deliver, existing, framework, options, refusing, run
from traced_function import OPSET, check_opset, tensorflow, to_onnx

CHANNELS_LAST = {2: "NC", 3: "NWC", 4: "NHWC", 5: "NDHWC"}
CHANNELS_FIRST = {2: "NC", 3: "NCW", 4: "NCHW", 5: "NCDHW"}
"""The axes of an input, by their number."""

KERAS_2_DEFAULTS = [("groups", 1), ("time_major", False)]
"""Settings that Keras 2 wrote for layers of which Keras 3 does not know them, such as DepthwiseConv2D and LSTM."""
KERAS_2_SEPARABLE = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
"""What it wrote for separable convolutions, which have two kernels and a setting for each."""


def convert(arguments: argparse.Namespace) -> None:
    """Read, convert, write, and compare with Keras.

    Raises:
        ConversionError: Any of these fails.
    """
    check_opset(arguments.opset)
    model = read(arguments)
    converted = to_onnx_model(model, arguments.opset, arguments.source)
    names = [value.name for value in converted.graph.output]

    def reference(feeds: Feeds) -> list[Any]:
        found = outputs_by_name(model, [feeds[name] for name in input_names(model)])
        return [found[name] for name in names]

    deliver(converted, arguments, reference, layout=layout_of(model))


def read(arguments: argparse.Namespace) -> Any:
    """Load a model, without what is only needed to train it.

    Raises:
        ConversionError: Keras cannot, or the model does not know its inputs.
    """
    path = existing(arguments.source)
    tensorflow()
    keras = framework("keras")
    if arguments.custom is not None:
        with refusing(f"{arguments.custom} fails"):
            runpy.run_path(str(existing(arguments.custom)))
    with (
        refusing(f"Keras cannot read {path} (classes of its own need --custom, Lambda layers --run-lambdas)"),
        of_today(path) as readable,
    ):
        model = keras.models.load_model(readable, compile=False, safe_mode=not arguments.run_lambdas)
    if not getattr(model, "inputs", None):
        message = (
            f"{path} holds a subclassed model, which does not say what its inputs are:"
            " write it with model.export(FOLDER) and convert that with from_tensorflow.py"
        )
        raise ConversionError(message)
    return model


@contextlib.contextmanager
def of_today(path: Path) -> Iterator[Path]:
    """Hand out a file that Keras 3 reads: for an .h5 file a copy, without the settings of Keras 2 that do nothing."""
    if path.suffix not in {".h5", ".hdf5"}:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        with framework("h5py").File(copy, "r+") as file:
            if "model_config" in file.attrs:
                file.attrs["model_config"] = json.dumps(_without_defaults(json.loads(file.attrs["model_config"])))
        yield copy


def _without_defaults(config: Any) -> Any:
    if isinstance(config, list):
        return [_without_defaults(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    idle = KERAS_2_SEPARABLE if "pointwise_initializer" in config else ()
    return {
        key: _without_defaults(value)
        for key, value in config.items()
        if (key, value) not in KERAS_2_DEFAULTS and key not in idle
    }


def to_onnx_model(model: Any, opset: int, what: str) -> onnx.ModelProto:
    """Convert a model, with inputs and outputs named after their layers.

    Args:
        model: A `keras.Model` that knows its inputs.
        opset: Of ONNX's operators.
        what: Is converted, for messages.

    Raises:
        ConversionError: tf2onnx cannot.
    """
    tf = tensorflow()
    signature = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for tensor, name in zip(model.inputs, input_names(model), strict=True)
    ]
    with scopes_of_layers(model):
        return to_onnx(lambda *inputs: outputs_by_name(model, inputs), signature, opset, what=what)


def outputs_by_name(model: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    """Run a model as it is after training, on inputs in its own order."""
    tree = framework("keras").tree
    structure = getattr(model, "input", model.inputs[0])  # which a Sequential has not
    outputs = model(tree.pack_sequence_as(structure, list(inputs)), training=False)
    return dict(zip(_layer_names(model.outputs), tree.flatten(outputs), strict=True))


def input_names(model: Any) -> list[str]:
    """Return the names of a model's inputs in its own order."""
    return _layer_names(model.inputs)


def _layer_names(tensors: Sequence[Any]) -> list[str]:
    """Name tensors after the layers that give them, a layer's second one with a number."""
    names: list[str] = []
    for tensor in tensors:
        name = tensor._keras_history.operation.name  # noqa: SLF001 - of the public ones only Functional has output_names
        taken = sum(name == other.partition(":")[0] for other in names)
        names.append(f"{name}:{taken}" if taken else name)
    return names


def layout_of(model: Any) -> str | None:
    """Return the axes of the only input, if it holds floats: channels last, unless a layer says first."""
    if len(model.inputs) != 1 or "float" not in model.inputs[0].dtype:
        return None
    orders = [layer.data_format for layer in every_layer(model) if getattr(layer, "data_format", None)]
    axes = CHANNELS_FIRST if "channels_first" in orders[:1] else CHANNELS_LAST
    return axes.get(len(model.inputs[0].shape))


def every_layer(model: Any) -> Iterator[Any]:
    """List the layers of a model, and of the models in it."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from every_layer(layer)


@contextlib.contextmanager
def scopes_of_layers(model: Any) -> Iterator[None]:
    """Let each operation bear the name of its layer: Keras 3 itself would call `conv1` `conv1_1`, or `conv1_2`."""
    layers = {id(layer): layer for layer in [model, *every_layer(model)]}.values()
    for layer in layers:
        layer.call = _in_scope(layer.name, layer.call)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _in_scope(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    tf = tensorflow()

    @functools.wraps(call)
    def named(*args: Any, **kwargs: Any) -> Any:
        parent = tf.get_current_name_scope().rpartition("/")[0]
        # The slash at the end means exactly this scope, whether or not it was there before.
        with tf.name_scope(f"{parent}/{name}/".lstrip("/")):
            return call(*args, **kwargs)

    return named


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = options(__doc__, source="a .keras or .h5 file", opset=OPSET)
    add = parser.add_argument_group("what the file leaves to Python").add_argument
    add("--custom", metavar="PYTHONFILE", help="run first: it registers the classes of the model's own layers")
    add("--run-lambdas", action="store_true", help="run the code that Lambda layers bring along in the file")
    return parser


if __name__ == "__main__":
    run(convert, parser())
