"""Convert a JAX function to ONNX by jax2onnx: a closed one, or a function and its parameters; also Flax and Equinox.

    uv run converters/from_jax.py nets.py:make net.onnx --shape 1,64,64,3 --preprocess unit
    uv run converters/from_jax.py package.module:make net.onnx --shape image=1,64,64,3 --dynamic-batch

`make`, called without arguments, returns `function`, which is given the inputs, or `(function, parameters)`, which is
given the parameters and then the inputs.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "jax>=0.7",
#     "jax2onnx>=0.17",
#     "numpy>=2",
#     "onnx>=1.19",
#     "onnxruntime>=1.24",
# ]
# ///

from __future__ import annotations

import argparse
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from factories import Call, add_input_options, asked_call, is_factory, made_by
from onnx_file import Array, ConversionError, Feeds, deliver, framework, options, refusing, run
from silence import silence

_LAYOUTS = {2: "NC", 4: "NHWC", 5: "NDHWC"}  # of JAX's own libraries; a rank of 3 can be signals or tokens
_OPSET = 21


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the options say.

    Raises:
        ConversionError: Something a user can mend.
    """
    if not is_factory(arguments.source):
        message = (
            f"{arguments.source} is not module:callable or file.py:callable; JAX has no file of its own for models"
        )
        raise ConversionError(message)
    if arguments.opset > onnx.defs.onnx_opset_version():  # jax2onnx would write any number
        message = f"--opset {arguments.opset}: the newest is {onnx.defs.onnx_opset_version()}"
        raise ConversionError(message)
    jax = framework("jax")
    function = closed(made_by(arguments.source), arguments.source)
    call = asked_call(inspect.signature(function), arguments)
    if call.named:
        message = f"{min(call.named)} comes after an input without a shape: give --shape for each before it"
        raise ConversionError(message)
    with refusing("the function cannot run on inputs of these shapes"):
        jax.eval_shape(function, *(_specification(jax, given.sizes, integer=given.integer) for given in call.inputs))
    floating = [given for given in call.inputs if not given.integer]
    deliver(
        exported(jax, function, call, arguments),
        argparse.Namespace(**vars(arguments) | {"shape": []}),
        functools.partial(outputs_of, jax, function),
        layout=_LAYOUTS.get(len(floating[0].sizes)) if len(floating) == 1 else None,
        shapes={} if arguments.dynamic_batch else {given.name: given.sizes for given in call.inputs},
    )


def closed(made: Any, source: str) -> Callable[..., Any]:
    """Return the function of the inputs alone.

    Args:
        made: What the factory returned: a function, or a function and its parameters.
        source: The factory, as it was given.

    Raises:
        ConversionError: It is neither.
    """
    if callable(made):
        function: Callable[..., Any] = made
        return function
    if isinstance(made, (tuple, list)) and len(made) == 2 and callable(made[0]):  # noqa: PLR2004 - and parameters
        return functools.partial(made[0], made[1])
    message = f"{source} gives a {type(made).__name__}, not a function or (function, parameters)"
    raise ConversionError(message)


def exported(jax: Any, function: Callable[..., Any], call: Call, arguments: argparse.Namespace) -> onnx.ModelProto:
    """Run jax2onnx, in float32.

    Raises:
        ConversionError: An operation that it has not, or a newer opset than it has.
    """
    batch = jax.export.symbolic_shape("batch") if arguments.dynamic_batch else ()
    inputs = [_specification(jax, (*batch, *given.sizes[len(batch) :]), integer=given.integer) for given in call.inputs]
    jax2onnx = framework("jax2onnx")
    with refusing("jax2onnx fails"), silence():
        model: onnx.ModelProto = jax2onnx.to_onnx(
            function, inputs, opset=arguments.opset, input_names=[given.name for given in call.inputs]
        )
    return model


def outputs_of(jax: Any, function: Callable[..., Any], feeds: Feeds) -> list[Array]:
    """Run JAX on the inputs, and flatten the outputs into the order of the ONNX file."""
    found = function(*(jax.numpy.asarray(feed) for feed in feeds.values()))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]


def _specification(jax: Any, sizes: tuple[Any, ...], *, integer: bool) -> Any:
    return jax.ShapeDtypeStruct(sizes, np.int32 if integer else np.float32)


if __name__ == "__main__":
    parser = options(__doc__, source="module:callable or file.py:callable", opset=_OPSET)
    add_input_options(parser)
    run(convert, parser)
