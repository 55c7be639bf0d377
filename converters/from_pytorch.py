"""Convert a PyTorch model to ONNX: made by a function, or saved as torch.export program, TorchScript or pickle.

    uv run converters/from_pytorch.py torchvision.models:resnet18 resnet18.onnx --shape 1,3,224,224 --preprocess torch
    uv run converters/from_pytorch.py nets.py:make net.onnx --weights net.pth --shape 1,3,64,64 --exporter torchscript
    uv run converters/from_pytorch.py net.pt2 net.onnx

`--exporter dynamo` (torch.export) keeps module names in `pkg.torch.onnx.name_scopes`; `torchscript` (tracing) keeps
them in the node names, fixes branches at what the traced input takes, and is the only one for TorchScript files.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "numpy>=2",
#     "onnx>=1.19",
#     "onnxruntime>=1.24",
#     "onnxscript>=0.5.4",
#     "torch>=2.9",
# ]
# ///

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from factories import add_input_options
from onnx_file import ConversionError, deliver, framework, options, refusing, run
from silence import silence
from torch_program import Kind, Program, kind_of, module_program, outputs_of, saved_program

_LAYOUTS = {2: "NC", 4: "NCHW", 5: "NCDHW"}  # torch's own; a rank of 3 can be signals or tokens
_OPSET = 20  # the newest of the TorchScript exporter


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the options say.

    Raises:
        ConversionError: Something a user can mend.
    """
    kind = kind_of(arguments.source)
    exporter = chosen_exporter(kind, arguments.exporter)
    torch = framework("torch")
    program = saved_program(torch, arguments) if kind == "program" else module_program(torch, kind, arguments)
    with refusing(_refusal(kind, exporter)), _quietly(torch):
        model = _dynamo(torch, program, arguments) if exporter == "dynamo" else _torchscript(torch, program, arguments)
    _note_opset(model, arguments.opset)
    tensors = program.tensors()
    ranks = [tensor.dim() for tensor in tensors.values() if tensor.is_floating_point()]
    deliver(
        model,
        argparse.Namespace(**vars(arguments) | {"shape": arguments.shape if kind == "program" else []}),
        functools.partial(outputs_of, torch, program),
        layout=_LAYOUTS.get(ranks[0]) if len(ranks) == 1 else None,
        shapes={} if arguments.dynamic_batch else {name: tuple(tensor.shape) for name, tensor in tensors.items()},
    )


def chosen_exporter(kind: Kind, asked: str | None) -> str:
    """Return the exporter to use: the one asked for, or the one that can.

    Raises:
        ConversionError: The one asked for does not take this kind of model.
    """
    only = {"program": "dynamo", "script": "torchscript"}.get(kind)
    if asked is None or only in {None, asked}:
        return asked or only or "dynamo"
    named = {"program": "torch.export program", "script": "TorchScript file"}[kind]
    message = f"a {named} can be exported by --exporter {only} only"
    raise ConversionError(message)


def _dynamo(torch: Any, program: Program, arguments: argparse.Namespace) -> onnx.ModelProto:
    framework("onnxscript")
    try:
        written = torch.onnx.export(
            program.exported,
            program.args,
            kwargs=dict(program.kwargs),
            input_names=list(program.names),
            dynamic_shapes=program.open_axes,
            opset_version=arguments.opset,
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise (error.__cause__ or error) from None  # its own text is advice to developers
    model: onnx.ModelProto = written.model_proto
    return model


def _torchscript(torch: Any, program: Program, arguments: argparse.Namespace) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"  # into memory, weights above 2 GB could not be exported
        torch.onnx.export(
            program.exported,
            program.args,
            path,
            kwargs=dict(program.kwargs),
            input_names=list(program.names),
            dynamic_axes={name: {0: "batch"} for name in program.names} if arguments.dynamic_batch else None,
            opset_version=arguments.opset,
            dynamo=False,
        )
        return onnx.load(path)


def _refusal(kind: Kind, exporter: str) -> str:
    other = "torchscript" if exporter == "dynamo" else "dynamo"
    return f"the {exporter} exporter fails" + (f" (try --exporter {other})" if kind in {"factory", "pickle"} else "")


@contextlib.contextmanager
def _quietly(torch: Any) -> Iterator[None]:
    """Keep progress, logs and warnings of the exporters off the screen, except what tracing has fixed."""
    with warnings.catch_warnings(record=True) as caught, silence():
        warnings.simplefilter("always")
        yield
    fixed = [warning for warning in caught if issubclass(warning.category, torch.jit.TracerWarning)]
    for note in dict.fromkeys(f"note: {warning.filename}:{warning.lineno}: {warning.message}" for warning in fixed):
        print(" ".join(note.split()))


def _note_opset(model: onnx.ModelProto, asked: int) -> None:
    found = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    if found != asked:
        print(f"note: opset {found}, not {asked}: the exporter could not convert the model to that")


if __name__ == "__main__":
    parser = options(__doc__, source="module:callable, file.py:callable, .pt2, TorchScript or pickle", opset=_OPSET)
    parser.add_argument(
        "--exporter", choices=("dynamo", "torchscript"), help="default: dynamo, for TorchScript the other"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a state dict for the module that is made")
    parser.add_argument("--unsafe-pickle", action="store_true", help="read a pickled module: this can run any code")
    add_input_options(parser)
    run(convert, parser)
