"""What this processor means for what is computed on it: its instruction sets, and whether int8 sums are clipped."""

from __future__ import annotations

import functools
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

_FLAGS = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp")
"""Instruction sets that decide which kernels run, as Linux names them."""
_LIBRARIES = ("onnxvis", "onnxruntime", "onnxruntime-gpu", "torch", "onnx", "onnx-ir", "onnx2torch", "numpy", "pillow")
_LARGEST = 255 * 127
_QUIET = 4


@functools.cache
def clips_sums() -> bool:
    """Return whether onnxruntime clips sums of uint8 x int8 on this processor: found by summing two products."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 2]),
        helper.make_tensor_value_info("b", TensorProto.INT8, [2, 1]),
    ]
    graph = helper.make_graph([node], "sum", inputs, [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)})
    return int(found[0, 0]) != 2 * _LARGEST


def describe() -> list[tuple[str, str]]:
    """Return what a report of a fault should say of this machine: labels and texts, in order."""
    clips = (
        "onnxruntime clips sums of uint8 x int8 here (no VNNI); onnxvis computes them exactly, as on other processors"
        if clips_sums()
        else "onnxruntime's sums of uint8 x int8 are exact here"
    )
    gpu = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return [
        *((name, version) for name in _LIBRARIES if (version := _version(name))),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processor", _processor()),
        ("kernels", f"torch {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"),
        ("int8", clips),
        ("gpu", gpu or "none that torch can use"),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Name the processor and its instruction sets, as far as the system tells."""
    facts: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip().lower(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    known = [flag for flag in _FLAGS if flag in flags]
    return f"{name} ({', '.join(known)})" if known else name
