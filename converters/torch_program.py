"""A PyTorch model to export, from wherever it comes, with an example of its inputs."""

from __future__ import annotations

import argparse
import inspect
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from factories import Call, Input, asked_call, is_factory, look_here, made_by
from onnx_file import Array, ConversionError, Feeds, existing, framework, refusing

Kind = Literal["factory", "program", "script", "pickle"]
"""A function's module, a torch.export program, a TorchScript file, or a pickled module."""


@dataclass(frozen=True)
class Program:
    """What is exported, and an example of what it is given.

    Attributes:
        exported: An `nn.Module`, a `ScriptModule` or an `ExportedProgram`.
        called: The same as something to call.
        names: Of the tensors among the inputs, in order.
        args: The example's inputs by position.
        kwargs: Its inputs by name.
        open_axes: By parameter, the axes whose size is left open, or None.
    """

    exported: Any
    called: Callable[..., Any]
    names: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    open_axes: Mapping[str, Any] | None = None

    def tensors(self) -> dict[str, Any]:
        """Return the example's tensors by name."""
        torch, pytree = framework("torch"), framework("torch.utils._pytree")
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        return dict(zip(self.names, (leaf for leaf in leaves if isinstance(leaf, torch.Tensor)), strict=True))


def kind_of(source: str) -> Kind:
    """Say what a source is, by the names in the archive and not by the ending, which is .pt for nearly everything.

    Raises:
        ConversionError: There is no such file.
    """
    if is_factory(source):
        return "factory"
    path = existing(source)
    if not zipfile.is_zipfile(path):
        return "pickle"
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()] + archive.namelist()
    if any(name.startswith("models/") or name == "serialized_exported_program.json" for name in names):
        return "program"
    return "script" if "constants.pkl" in names else "pickle"


def saved_program(torch: Any, arguments: argparse.Namespace) -> Program:
    """Read what `torch.export.save` wrote; the example is the one that it was exported with.

    Raises:
        ConversionError: It cannot be read, or holds no example.
    """
    with refusing(f"torch.export cannot read {arguments.source}"):
        saved = torch.export.load(arguments.source)
    if saved.example_inputs is None:
        message = f"{arguments.source} holds no example inputs: export it again with them"
        raise ConversionError(message)
    if arguments.dynamic_batch or arguments.integers or arguments.weights:
        message = "a torch.export program has the sizes, types and weights with which it was saved"
        raise ConversionError(message)
    args, kwargs = saved.example_inputs
    leaves = framework("torch.utils._pytree").tree_leaves((args, kwargs))
    inputs = zip(saved.graph_signature.user_inputs, leaves, strict=True)
    names = tuple(str(name) for name, leaf in inputs if isinstance(leaf, torch.Tensor))
    return Program(saved, saved.module(), names, tuple(args), kwargs)


def module_program(torch: Any, kind: Kind, arguments: argparse.Namespace) -> Program:
    """Make or read a module, and draw an example of the shapes that were asked for.

    Raises:
        ConversionError: There is no module, or the shapes do not fit it.
    """
    torch.manual_seed(0)  # a model that draws its weights is the same one each time
    module = _READERS[kind](torch, arguments)
    if arguments.weights is not None:
        load_weights(torch, module, arguments.weights)
    module = module.eval()
    signature = _signature(torch, module)
    call = asked_call(signature, arguments)
    args = tuple(_drawn(torch, module, given) for given in call.positional)
    kwargs = {name: _drawn(torch, module, given) for name, given in call.named.items()}
    with refusing("the model cannot run on inputs of these shapes"), torch.no_grad():
        module(*args, **kwargs)
    names = tuple(given.name for given in call.inputs)
    return Program(module, module, names, args, kwargs, _open_axes(signature, call, arguments))


def load_weights(torch: Any, module: Any, path: Path) -> None:
    """Load a state dict, or the entry "state_dict" of a checkpoint, into a module; nothing but tensors is unpickled.

    Raises:
        ConversionError: It cannot be read so, or does not fit the module.
    """
    with refusing(f"cannot read the state dict {path}"):
        weights = torch.load(existing(str(path)), map_location="cpu", weights_only=True)
    weights = weights.get("state_dict", weights) if isinstance(weights, dict) else weights
    try:
        module.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        message = f"{path} does not fit the model: {textwrap.shorten(str(error), 300, placeholder=' ...')}"
        raise ConversionError(message) from error


def outputs_of(torch: Any, program: Program, feeds: Feeds) -> list[Array]:
    """Run torch on inputs by name, and flatten the outputs into the order of the ONNX file."""
    pytree = framework("torch.utils._pytree")
    leaves, spec = pytree.tree_flatten((program.args, dict(program.kwargs)))
    names = iter(program.names)
    filled = [torch.from_numpy(feeds[next(names)]) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    args, kwargs = pytree.tree_unflatten(filled, spec)
    with torch.no_grad():
        found = pytree.tree_leaves(program.called(*args, **kwargs))
    return [leaf.numpy(force=True) for leaf in found if isinstance(leaf, torch.Tensor)]


def _made(torch: Any, arguments: argparse.Namespace) -> Any:
    return _module(torch, made_by(arguments.source), arguments.source)


def _script(torch: Any, arguments: argparse.Namespace) -> Any:
    with refusing(f"torch.jit cannot read {arguments.source}"):
        return torch.jit.load(arguments.source, map_location="cpu")


def _unpickled(torch: Any, arguments: argparse.Namespace) -> Any:
    if not arguments.unsafe_pickle:
        message = (
            f"{arguments.source} is a pickle, which can run any code when it is read: give --unsafe-pickle if you "
            "trust it, or, for a state dict, the function that makes the model and --weights"
        )
        raise ConversionError(message)
    look_here()
    with refusing(f"torch cannot read {arguments.source}"):
        loaded = torch.load(arguments.source, map_location="cpu", weights_only=False)
    return _module(torch, loaded, arguments.source)


def _module(torch: Any, found: Any, source: str) -> Any:
    if isinstance(found, torch.nn.Module):
        return found
    remedy = " (a state dict? Give the function that makes the model, and this as --weights)"
    message = f"{source} gives a {type(found).__name__}, not a torch.nn.Module{remedy * isinstance(found, dict)}"
    raise ConversionError(message)


_READERS: Mapping[Kind, Callable[[Any, argparse.Namespace], Any]] = {
    "factory": _made,
    "script": _script,
    "pickle": _unpickled,
}


def _signature(torch: Any, module: Any) -> inspect.Signature:
    if not isinstance(module, torch.jit.ScriptModule):
        return inspect.signature(module.forward)
    return inspect.Signature(
        [
            inspect.Parameter(
                entry.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=entry.default_value if entry.has_default_value() else inspect.Parameter.empty,
            )
            for entry in module.forward.schema.arguments[1:]
        ]
    )


def _drawn(torch: Any, module: Any, given: Input) -> Any:
    if given.integer:
        return torch.zeros(given.sizes, dtype=torch.int64)
    floats = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return torch.rand(given.sizes).to(next(floats, torch.float32))


def _open_axes(signature: inspect.Signature, call: Call, arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    if not arguments.dynamic_batch:
        return None
    batch = {0: "batch"}
    bound = signature.bind(*(batch for _ in call.positional), **dict.fromkeys(call.named, batch))
    return dict(bound.arguments)
