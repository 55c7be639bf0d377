"""Write a TensorFlow SavedModel as ONNX.

    uv run converters/from_tensorflow.py FOLDER model.onnx --signature serving_default --layout NHWC

A Keras model gives such a folder by `model.export(FOLDER)`; its layers keep their names better by from_keras.py.
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
from collections.abc import Mapping
from typing import Any

from onnx_file import ConversionError, Feeds, deliver, existing, options, refusing, run
from traced_function import OPSET, check_opset, tensorflow, to_onnx

DEFAULT = "serving_default"


def convert(arguments: argparse.Namespace) -> None:
    """Read, convert, write, and compare with TensorFlow.

    Raises:
        ConversionError: Any of these fails.
    """
    check_opset(arguments.opset)
    path = existing(arguments.source)
    tf = tensorflow()
    with refusing(f"TensorFlow cannot read {path} as a SavedModel"):
        loaded = tf.saved_model.load(str(path))
    function = chosen(loaded.signatures, arguments.signature, arguments.source)
    _, specs = function.structured_input_signature
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()]

    def outputs(*inputs: Any) -> dict[str, Any]:
        found: dict[str, Any] = function(**dict(zip(specs, inputs, strict=True)))
        return found

    model = to_onnx(outputs, signature, arguments.opset, what=arguments.source)
    names = [value.name for value in model.graph.output]

    def reference(feeds: Feeds) -> list[Any]:
        found = outputs(*(tf.constant(feeds[name]) for name in specs))
        return [found[name] for name in names]

    deliver(model, arguments, reference)


def chosen(signatures: Mapping[str, Any], name: str | None, source: str) -> Any:
    """Return the function that the user names: else the usual one, or the only one.

    Raises:
        ConversionError: There is none of this name, or there are several and none was named.
    """
    if name is None:
        name = next(iter(signatures)) if len(signatures) == 1 else DEFAULT
    if name in signatures:
        return signatures[name]
    there = ", ".join(signatures) or "none: save it with tf.saved_model.save(module, folder, signatures=function)"
    message = f"{source} has no signature {name!r} (--signature), there is {there}"
    raise ConversionError(message)


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = options(__doc__, source="a SavedModel's folder", opset=OPSET)
    parser.add_argument("--signature", metavar="NAME", help=f"which function (default {DEFAULT}, or the only one)")
    return parser


if __name__ == "__main__":
    run(convert, parser())
