"""The ONNX project's backend interface over `to_torch`: its own test runner can be pointed at onnxvis.

    import onnxvis.backend
    onnxvis.backend.run_model(model, [array])

Float arrays are arguments of the torch graph. Integers, flags and single numbers are known beforehand, as shapes,
indices and ratios have to be; where a shape depends on the values of floats too, everything is. Half-precision is
computed as the file declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import helper
from onnx.backend.base import Backend, BackendRep, namedtupledict
from torch import Tensor

from onnxvis.api import to_torch
from onnxvis.errors import DataDependentShapeError, InputError, SettingError
from onnxvis.graph import is_default_domain, real_inputs
from onnxvis.lower import unsupported
from onnxvis.model import Model, load
from onnxvis.network import full_precision
from onnxvis.shapes import TensorSpec
from onnxvis.sizes import check_arrays
from onnxvis.tensors import computed_type, from_array, held_dtype

_NEWEST_IR = onnx.IR_VERSION


class OnnxvisRep(BackendRep):
    """A model that is ready to run; it is lowered anew for inputs of other shapes and integers of other values.

    Args:
        model: The model.
        device: "CPU" or "CUDA", with a number where there are several: "CUDA:1".
    """

    def __init__(self, model: Model, device: str = "CPU") -> None:
        self.model = model
        self.device = torch.device(device.lower())

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Compute the graph's outputs.

        Args:
            inputs: Arrays in the order of the graph's inputs, one array, or a mapping by name. A list of arrays stands
                for a sequence, None for an empty optional. Weights that the file lists as inputs may be given too.
            **kwargs: The interface allows them; none has a meaning here.

        Returns:
            One array for each output, of the type that the graph declares, by position and by name.

        Raises:
            InputError: An input is missing, for none of the graph's, or of another type or shape than declared.
            OnnxvisError: An operator has no implementation, or cannot be computed on these inputs.
        """
        if kwargs:
            message = f"No setting {', '.join(sorted(kwargs))} of run is known."
            raise InputError(message)
        given = self._by_name(inputs)
        self._check(given)
        weights = {name: given.pop(name) for name in list(given) if name in self.model.ir.graph.initializers}
        model = _with_weights(self.model, weights) if weights else self.model
        free = {name: value for name, value in given.items() if self._is_float(name, value)}
        try:
            results = self._computed(model, given, free)
        except DataDependentShapeError:
            results = self._computed(model, given, {})
        names = [str(value.name) for value in self.model.ir.graph.outputs]
        arrays = [self._array(name, value) for name, value in zip(names, results, strict=True)]
        return namedtupledict("Outputs", names)(*arrays)

    def _by_name(self, inputs: Any) -> dict[str, Any]:
        names = [str(value.name) for value in real_inputs(self.model.ir.graph)]
        if isinstance(inputs, Mapping):
            return {name: _as_array(value) for name, value in inputs.items()}
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if len(values) > len(names):
            # Files of old list their weights as inputs, which may be given too.
            names = [str(value.name) for value in self.model.ir.graph.inputs]
        if len(values) > len(names):
            message = f"{self.model.name} takes {len(names)} inputs, and {len(values)} were given."
            raise InputError(message)
        return dict(zip(names, map(_as_array, values), strict=False))

    def _check(self, given: Mapping[str, Any]) -> None:
        missing = [spec.name for spec in self.model.inputs if spec.name not in given]
        if missing:
            message = f"{self.model.name} needs input {missing[0]!r}, which was not given."
            raise InputError(message, names=missing)
        specs = [self.model.spec(value) for value in self.model.ir.graph.inputs]
        check_arrays(self.model, given, specs)
        for spec in specs:
            if spec.name in given:
                _check_type(spec, given[spec.name])

    def _is_float(self, name: str, value: Any) -> bool:
        """Whether a value is an argument of the torch graph; single numbers are settings: a ratio, a bound."""
        spec = next((spec for spec in self.model.inputs if spec.name == name), None)
        is_array = isinstance(value, np.ndarray) and value.size > 0 and value.ndim > 0
        return is_array and spec is not None and spec.is_float

    def _computed(
        self, model: Model, given: Mapping[str, Any], free: Mapping[str, np.ndarray[Any, Any]]
    ) -> Sequence[Any]:
        known = {name: value for name, value in given.items() if name not in free}
        shapes = {name: array.shape for name, array in free.items()}
        network = to_torch(model, input_shapes=shapes, constants=known, precision="declared").to(self.device)
        arguments = [self._argument(name, free[name]) for name in network.input_names]
        with torch.no_grad(), full_precision():
            results = network(*arguments)
        return results if len(network.output_names) > 1 else (results,)

    def _argument(self, name: str, array: np.ndarray[Any, Any]) -> Tensor:
        spec = next(spec for spec in self.model.inputs if spec.name == name)
        return from_array(array, held_dtype(computed_type(ir.DataType[spec.dtype], "declared"))).to(self.device)

    def _array(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple):
            return [self._array(name, item) for item in value]
        dtype = self.model.spec(self.model.values[name]).dtype
        held = value.detach().cpu()
        array = (held.float() if held.dtype == torch.bfloat16 else held).numpy()
        if dtype not in ir.DataType.__members__ or dtype == "UNDEFINED":
            return array
        held_dtype(ir.DataType[dtype])  # which refuses strings: labels have become numbers
        return array.astype(ir.DataType[dtype].numpy())


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.generic) else value


def _check_type(spec: TensorSpec, value: Any) -> None:
    """Refuse what is no array of the declared type; sequences are checked where they are computed with."""
    if spec.dtype not in ir.DataType.__members__ or spec.dtype == "UNDEFINED":
        return
    found = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
    is_text = isinstance(value, np.ndarray) and value.dtype.kind in "OSTU"
    wanted = "str" if spec.dtype == "STRING" else ir.DataType[spec.dtype].numpy().name
    if not (is_text if spec.dtype == "STRING" else found == wanted and isinstance(value, np.ndarray)):
        message = f"Input {spec.name!r} takes an array of {wanted}, and {found} was given."
        raise InputError(message, name=spec.name)


def _with_weights(model: Model, weights: Mapping[str, np.ndarray[Any, Any]]) -> Model:
    """Return the model with other values of some weights."""
    changed = model.ir.clone()
    for name, array in weights.items():
        value = changed.graph.initializers[name]
        value.const_value = ir.tensor(array, dtype=value.dtype, name=name)
    return Model(model.name, model.path, model.file_sha256, changed)


class OnnxvisBackend(Backend):
    """onnxvis as an `onnx.backend.base.Backend`."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:  # noqa: ARG003 - the interface's
        """Whether every operator of a model has an implementation."""
        return not unsupported(load(model))

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> OnnxvisRep:  # noqa: ARG003 - the interface's
        """Check a model and make it ready to run.

        Raises:
            SettingError: There is no such device.
            OnnxvisError: It is not a valid model.
        """
        if not cls.supports_device(device):
            message = f"torch finds no device {device!r} here. Use CPU, or install a torch build for your GPU."
            raise SettingError(message, device=device)
        return OnnxvisRep(load(model), device)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,  # noqa: ARG003 - the interface's
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Compute one node on arrays; its meaning is that of the newest operator set, or of `opset_version`.

        Raises:
            InputError: There are not as many arrays as the node has inputs.
            OnnxvisError: The node is not valid, or cannot be computed on these arrays.
        """
        names = [name for name in node.input if name]
        if len(inputs) != len(names):
            message = f"{node.op_type} has {len(names)} inputs here, and {len(inputs)} were given."
            raise InputError(message)
        arrays = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True)}
        version = int(kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        # The checker wants to know what the outputs are.
        model = onnx.shape_inference.infer_shapes(_model_of(node, arrays, version))
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether torch computes on "CPU", "CUDA" or "CUDA:1"."""
        name, _, index = device.upper().partition(":")
        count = torch.cuda.device_count() if name == "CUDA" else 1
        return name in ("CPU", "CUDA") and (not index or index.isdecimal()) and int(index or 0) < count


def _model_of(node: onnx.NodeProto, arrays: Mapping[str, np.ndarray[Any, Any]], version: int) -> onnx.ModelProto:
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    written = onnx.NodeProto()
    written.CopyFrom(node)
    opsets = [helper.make_opsetid("", version)]
    if is_default_domain(node.domain):
        written.domain = ""
    else:
        opsets.append(helper.make_opsetid(node.domain, _newest_version(node.domain)))
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([written], "node", infos, outputs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=_NEWEST_IR)


def _newest_version(domain: str) -> int:
    """Return the newest version of an operator set; 1 for those that ONNX does not define."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return max((schema.since_version for schema in schemas if schema.domain == domain), default=1)


is_compatible = OnnxvisBackend.is_compatible
prepare = OnnxvisBackend.prepare
run_model = OnnxvisBackend.run_model
run_node = OnnxvisBackend.run_node
supports_device = OnnxvisBackend.supports_device
