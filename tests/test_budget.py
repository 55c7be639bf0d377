from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from onnxvis.budget import MOST_ELEMENTS, refuse_gigantic_inputs, refuse_gigantic_results
from onnxvis.errors import InputError, LoweringError
from onnxvis.ops.dtypes import onnx_dtype

IMAGE = torch.zeros(1, 1, 4, 4)


def check(call: str, *inputs: Tensor | None, dynamic: int = 1) -> None:
    """Ask for one node; the first inputs depend on the model's input."""
    names = ["" if tensor is None else "abcd"[index] for index, tensor in enumerate(inputs)]
    proto = onnx.parser.parse_node(f"y = {call} ({', '.join(names)})")
    types = [None if tensor is None else onnx_dtype(tensor.dtype) for tensor in inputs]
    known = [index >= dynamic for index in range(len(inputs))]
    refuse_gigantic_results(ir.from_proto(proto), 17, inputs, types, known)


def sizes(*values: int) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("Expand", (IMAGE, sizes(65536, 65536, 4, 4))),
        ("Tile", (IMAGE, sizes(1, 1, 30000, 30000))),
        ("Pad", (IMAGE, sizes(0, 0, 0, 0, 0, 0, 50000, 50000))),
        ("Resize", (IMAGE, None, None, sizes(1, 1, 40000, 40000))),
        ("Conv <pads = [30000, 30000, 30000, 30000]>", (IMAGE, torch.zeros(1, 1, 1, 1))),
        ("ConvTranspose <strides = [30000, 30000]>", (IMAGE, torch.zeros(1, 1, 1, 1))),
        ("MaxPool <kernel_shape = [1, 1], pads = [30000, 30000, 30000, 30000]>", (IMAGE,)),
        ("OneHot", (torch.zeros(1, dtype=torch.int64), torch.tensor(2**31), torch.zeros(2))),
        ("Add", (torch.zeros(40000, 1), torch.zeros(1, 40000))),
        ("MatMul", (torch.zeros(40000, 1), torch.zeros(1, 40000))),
    ],
)
def test_a_result_larger_than_memory_is_refused_before_it_is_computed(call: str, inputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(LoweringError, match=r"would make 'y' of shape"):
        check(call, *inputs)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("ConstantOfShape", (sizes(65536, 65536),)),
        ("Range", (torch.tensor(0), torch.tensor(2**32), torch.tensor(1))),
    ],
)
def test_so_is_a_constant(call: str, inputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(LoweringError, match="elements"):
        check(call, *inputs, dynamic=0)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("Expand", (IMAGE, sizes(8, 1, 4, 4))),
        ("Pad", (IMAGE, sizes(0, 0))),
        ("Conv", (IMAGE, torch.zeros(1, 7, 1, 1))),
        ("MatMul", (torch.zeros(40000, 1), torch.zeros(1, 10))),
        ("Add", (torch.zeros(40000), torch.zeros(40000))),
        ("Expand", (IMAGE, torch.tensor([65536.0, 65536.0, 4.0, 4.0]))),
        ("com.other.Expand", (IMAGE, sizes(65536, 65536, 4, 4))),
    ],
)
def test_what_fits_or_contradicts_itself_is_left_to_the_operator(call: str, inputs: tuple[Tensor, ...]) -> None:
    check(call, *inputs)


def test_an_input_larger_than_memory_is_refused() -> None:
    refuse_gigantic_inputs({"x": (1, 3, 1000, 1000), "y": (MOST_ELEMENTS,)})
    with pytest.raises(InputError, match=r"'z' of shape \(1, 268435457\)"):
        refuse_gigantic_inputs({"x": (1,), "z": (1, MOST_ELEMENTS + 1)})
