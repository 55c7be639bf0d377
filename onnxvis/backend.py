"""The ONNX project's backend interface over `to_torch`: its own test runner can be pointed at onnxvis.

    import onnxvis.backend
    onnxvis.backend.run_model(model, [array])

Float inputs are arguments of the torch graph. Integers and flags are known beforehand, as shapes and indices have to
be; where a shape depends on the values of floats too, everything is. Half-precision is computed as the file declares.
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
from onnxvis.errors import DataDependentShapeError, InputError
from onnxvis.graph import real_inputs
from onnxvis.lower import unsupported
from onnxvis.model import Model, load
from onnxvis.network import full_precision
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
                for a sequence, None for an empty optional.
            **kwargs: The interface allows them; none has a meaning here.

        Returns:
            One array for each output, of the type that the graph declares, by position and by name.

        Raises:
            OnnxvisError: An operator has no implementation, or cannot be computed on these inputs.
        """
        if kwargs:
            message = f"No setting {', '.join(sorted(kwargs))} of run is known."
            raise InputError(message)
        given = self._by_name(inputs)
        free = {name: value for name, value in given.items() if self._is_float(name, value)}
        try:
            results = self._computed(given, free)
        except DataDependentShapeError:
            results = self._computed(given, {})
        names = [str(value.name) for value in self.model.ir.graph.outputs]
        arrays = [self._array(name, value) for name, value in zip(names, results, strict=True)]
        return namedtupledict("Outputs", names)(*arrays)

    def _by_name(self, inputs: Any) -> dict[str, Any]:
        names = [str(value.name) for value in real_inputs(self.model.ir.graph)]
        if isinstance(inputs, Mapping):
            return dict(inputs)
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if len(values) > len(names):
            # Files of old list their weights as inputs, which may be given too.
            names = [str(value.name) for value in self.model.ir.graph.inputs]
        if len(values) > len(names):
            message = f"{self.model.name} takes {len(names)} inputs, and {len(values)} were given."
            raise InputError(message)
        return dict(zip(names, values, strict=False))

    def _is_float(self, name: str, value: Any) -> bool:
        spec = next((spec for spec in self.model.inputs if spec.name == name), None)
        return isinstance(value, np.ndarray) and value.size > 0 and spec is not None and spec.is_float

    def _computed(self, given: Mapping[str, Any], free: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[Any]:
        known = {name: value for name, value in given.items() if name not in free}
        shapes = {name: array.shape for name, array in free.items()}
        network = to_torch(self.model, input_shapes=shapes, constants=known, precision="declared").to(self.device)
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
            OnnxvisError: It is not a valid model.
        """
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
        """Compute one node on arrays; its meaning is that of the newest operator set, or of `opset_version`."""
        names = [name for name in node.input if name]
        arrays = [np.asarray(array) for array in inputs]
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=True)
        ]
        version = int(kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        graph = helper.make_graph(
            [node], "node", infos, [onnx.ValueInfoProto(name=name) for name in node.output if name]
        )
        opsets = [helper.make_opsetid("", version)] + ([helper.make_opsetid(node.domain, 1)] if node.domain else [])
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_NEWEST_IR)
        # The checker wants to know what the outputs are.
        return cls.prepare(onnx.shape_inference.infer_shapes(model), device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether torch computes on "CPU", "CUDA" or "CUDA:1"."""
        name, _, index = device.upper().partition(":")
        count = torch.cuda.device_count() if name == "CUDA" else 1
        return name in ("CPU", "CUDA") and (not index or index.isdecimal()) and int(index or 0) < count


is_compatible = OnnxvisBackend.is_compatible
prepare = OnnxvisBackend.prepare
run_model = OnnxvisBackend.run_model
run_node = OnnxvisBackend.run_node
supports_device = OnnxvisBackend.supports_device
