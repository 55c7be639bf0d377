"""Convert a PaddlePaddle inference model to ONNX by paddle2onnx: .json of Paddle 3, or .pdmodel, with its .pdiparams.

    uv run converters/from_paddle.py inference/inference.json net.onnx --shape 1,3,224,224 --preprocess torch

`paddle.jit.save` writes such a model; a lone .pdparams holds weights without a network and cannot be converted.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "numpy>=2",
#     "onnx>=1.17",
#     "onnxruntime>=1.22",
#     "paddle2onnx>=2.1",
#     "paddlepaddle>=3.1",
#     "setuptools",
# ]
# ///

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
from onnx_file import Array, ConversionError, Feeds, deliver, existing, framework, options, refusing, run
from silence import silence

_OPSET = 17
_PROGRAMS = (".json", ".pdmodel")
_OPERATIONS = re.compile(r'= "pd_op\.(\w+)"')
_COLORS = re.compile(r"\x1b\[[\d;]*m")
# Into memory: to write a file, paddle2onnx would fold constants too, for which it installs packages while it runs.
_EXPORT = """
import pathlib, sys, paddle2onnx
program, weights, path, opset = sys.argv[1:]
pathlib.Path(path).write_bytes(paddle2onnx.export(program, weights, None, opset_version=int(opset), verbose=True))
"""


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the options say.

    Raises:
        ConversionError: Something a user can mend.
    """
    program, weights = files_of(existing(arguments.source))
    paddle = _paddle()
    model = exported(program, weights, arguments.opset)
    with refusing(f"Paddle cannot read {program}"), silence():
        predictor = _predictor(paddle, program, weights)
    found = next(entry.version for entry in model.opset_import if not entry.domain)
    if found != arguments.opset:
        print(f"note: opset {found}, not {arguments.opset}: paddle2onnx needs it for this model")
    ranks = [len(value.type.tensor_type.shape.dim) for value in model.graph.input]
    deliver(
        model,
        arguments,
        functools.partial(outputs_of, predictor),
        layout={4: "NCHW", 5: "NCDHW"}.get(ranks[0]) if len(ranks) == 1 else None,
    )


def files_of(path: Path) -> tuple[Path, Path]:
    """Return the files of the program and of its weights.

    Args:
        path: The program, or the folder that holds one only.

    Raises:
        ConversionError: One of them is missing, or it is another kind of file.
    """
    if path.is_dir():
        programs = [found for found in sorted(path.iterdir()) if found.suffix in _PROGRAMS]
        if len(programs) != 1:
            message = f"{path} holds {len(programs)} files that end in .json or .pdmodel: give the one to convert"
            raise ConversionError(message)
        path = programs[0]
    if path.suffix not in _PROGRAMS:
        message = f"{path} does not end in .json or .pdmodel: save the model by paddle.jit.save"
        raise ConversionError(message)
    return path, existing(str(path.with_suffix(".pdiparams")))


def exported(program: Path, weights: Path, opset: int) -> onnx.ModelProto:
    """Run paddle2onnx in a process of its own: for what it cannot convert, it aborts the process.

    Raises:
        ConversionError: It has no translation for an operation, or for the opset.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        command = [sys.executable, "-W", "ignore", "-c", _EXPORT, *map(str, (program, weights, path, opset))]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")  # noqa: S603
        if ended.returncode == 0:
            return onnx.load(path)
    message = f"paddle2onnx fails: {_reason(ended.stdout + ended.stderr)}"
    raise ConversionError(message)


def _reason(printed: str) -> str:
    """Find the lines that say why among all that it prints; the last one for a traceback."""
    lines = [_COLORS.sub("", line).strip() for line in printed.splitlines()]
    told = [line for line in lines if "[ERROR]" in line or "not supported" in line]
    if any("unsupported operators" in line for line in told):  # and never which
        told.append(f"The model holds: {', '.join(sorted(set(_OPERATIONS.findall(printed))))}")
    return " ".join(dict.fromkeys(told)) or next((line for line in reversed(lines) if line), "no reason given")


def outputs_of(predictor: Any, feeds: Feeds) -> list[Array]:
    """Run Paddle's inference engine on inputs by name."""
    for name in predictor.get_input_names():
        predictor.get_input_handle(name).copy_from_cpu(feeds[name])
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


def _paddle() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for a C++ compiler's cache
        return framework("paddle")


def _predictor(paddle: Any, program: Path, weights: Path) -> Any:
    config = paddle.inference.Config(str(program), str(weights))
    config.disable_gpu()
    config.disable_glog_info()
    config.switch_ir_optim(False)  # the network as it was saved # noqa: FBT003 - it takes no name
    return paddle.inference.create_predictor(config)


if __name__ == "__main__":
    run(convert, options(__doc__, source="a .json or .pdmodel file, or its folder", opset=_OPSET))
