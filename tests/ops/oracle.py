"""One ONNX node at a time: the table's function beside onnxruntime, or onnx.reference where that has no kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxvis.exact_sums import with_exact_sums
from onnxvis.ops.bind import Known, Slot, bind
from onnxvis.ops.table import find

NEWEST_ORT_OPSET = 26


def node_model(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    opset: int,
    /,
    *,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node with the given arrays as graph inputs (None: omitted)."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, inputs, strict=True)
        if x is not None
    ]
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=r) for r in results])
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def expected(
    model: onnx.ModelProto, inputs: Sequence[np.ndarray | None], *, reference: bool = False
) -> list[np.ndarray]:
    """What onnxruntime computes with exact sums, or onnx.reference."""
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    if reference or model.opset_import[0].version > NEWEST_ORT_OPSET:
        return list(ReferenceEvaluator(model).run(None, feeds))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    exact, _ = with_exact_sums(model)
    session = onnxruntime.InferenceSession(exact.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def computed(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    opset: int,
    /,
    *,
    outputs: int = 1,
    domain: str = "",
    constant: bool = True,
    carried: bool = False,
    **attributes: Any,
) -> list[np.ndarray]:
    """What the table's function computes.

    `constant=False` passes the inputs as not known beforehand, `carried=True` quantized integers carried by floats.
    """
    entry = find(op_type, opset, domain)
    if entry is None:
        message = f"{op_type} is not in the table at opset {opset}"
        raise LookupError(message)
    types = tuple(None if x is None else helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs)
    tensors = [None if x is None else held(x, carried=carried) for x in inputs]
    known = [t if constant or t is None else Known.DYNAMIC for t in tensors]
    values = {k: _attribute(v) for k, v in attributes.items()}
    args, kwargs = bind(entry, known, values, outputs, types)
    result = entry.function(*[tensors[a.index] if isinstance(a, Slot) else a for a in args], **kwargs)
    results = result if isinstance(result, tuple) else (result,)
    said = () if entry.types is None else entry.types(types, values)
    return [_as_type(r, said[i] if i < len(said) else None) for i, r in enumerate(results)]


def held(x: np.ndarray, *, carried: bool = False) -> torch.Tensor:
    """The torch tensor that holds an array; `carried`: integers of up to 32 bits as floats."""
    if x.dtype.isbuiltin != 1:  # of ml_dtypes
        x = x.astype(np.int8 if "int" in x.dtype.name and not carried else np.float32)
    elif carried and x.dtype.kind in "iu" and x.dtype.itemsize <= np.dtype(np.int32).itemsize:
        x = x.astype(np.float64 if x.dtype.itemsize == np.dtype(np.int32).itemsize else np.float32)
    return torch.from_numpy(np.array(x))


def _as_type(result: torch.Tensor, onnx_type: int | None) -> np.ndarray:
    """The array that a result stands for, which an operator says by its ONNX type."""
    array = result.detach().numpy()
    return array if onnx_type is None else array.astype(helper.tensor_dtype_to_np_dtype(onnx_type))


def assert_agrees(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    opset: int,
    /,
    *,
    outputs: int = 1,
    domain: str = "",
    constant: bool = True,
    reference: bool = False,
    tolerance: float = 1e-5,
    **attributes: Any,
) -> None:
    """Compare shapes, dtypes and values; the scale of the tolerance is the tensor's largest magnitude."""
    model = node_model(op_type, inputs, opset, outputs=outputs, domain=domain, **attributes)
    wanted = expected(model, inputs, reference=reference)
    found = computed(op_type, inputs, opset, outputs=outputs, domain=domain, constant=constant, **attributes)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        theirs_array = np.asarray(theirs)
        assert mine.shape == theirs_array.shape
        assert mine.dtype == theirs_array.dtype
        scale = max(float(np.max(np.abs(theirs_array), initial=0.0, where=np.isfinite(theirs_array))), 1e-12)
        np.testing.assert_allclose(mine, theirs_array, rtol=0, atol=tolerance * scale if mine.dtype.kind == "f" else 0)


def _attribute(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(np.array(numpy_helper.to_array(value)))
    return tuple(value) if isinstance(value, list) else value
