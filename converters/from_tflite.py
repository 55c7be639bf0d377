"""Write a TensorFlow Lite model as ONNX.

    uv run converters/from_tflite.py model.tflite model.onnx --layout NHWC --tolerance 0.02

A quantized model keeps its quantization; the interpreter and onnxruntime may then differ by one step of 256 or a few.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
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
from pathlib import Path
from typing import Any

import onnx
from onnx_file import Feeds, deliver, existing, framework, options, refusing, run
from silence import silence
from traced_function import OPSET, check_operators, check_opset, tensorflow


def convert(arguments: argparse.Namespace) -> None:
    """Read, convert, write, and compare with TensorFlow Lite's interpreter.

    Raises:
        ConversionError: Any of these fails.
    """
    check_opset(arguments.opset)
    path = existing(arguments.source)
    interpreter = read(path)
    with refusing(f"tf2onnx cannot convert {path}"), silence():  # its own interpreter speaks of itself
        model, _ = framework("tf2onnx").convert.from_tflite(str(path), opset=arguments.opset)
    check_operators(model, str(path))
    ranks = [len(detail["shape"]) for detail in interpreter.get_input_details()]
    layout = "NHWC" if ranks == [len("NHWC")] else None  # the only order that its convolutions know
    deliver(model, arguments, lambda feeds: outputs(interpreter, model, feeds), layout=layout)


def read(path: Path) -> Any:
    """Open a model in the interpreter.

    Raises:
        ConversionError: It is none.
    """
    tf = tensorflow()
    with refusing(f"TensorFlow Lite cannot read {path}"):
        plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return tf.lite.Interpreter(str(path), experimental_op_resolver_type=plain)


def outputs(interpreter: Any, model: onnx.ModelProto, feeds: Feeds) -> list[Any]:
    """Run the interpreter on inputs by name, and return what the ONNX file gives, in its order."""
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for name, values in feeds.items():
        interpreter.resize_tensor_input(indices[name], values.shape)
    interpreter.allocate_tensors()
    for name, values in feeds.items():
        interpreter.set_tensor(indices[name], values)
    interpreter.invoke()
    found = {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}
    return [found[value.name] for value in model.graph.output]


if __name__ == "__main__":
    run(convert, options(__doc__, source="a .tflite file", opset=OPSET))
