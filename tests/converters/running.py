"""Run a converter as a user does, and look at what it wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import torch

import onnxvis
from tests.converters.environments import CONVERTERS

HERE = Path(sys.executable)


def convert(script: str, *arguments: str, folder: Path, python: Path = HERE) -> subprocess.CompletedProcess[str]:
    """Run a script of converters/ in a folder, where relative paths and modules are then found."""
    command = [str(python), str(CONVERTERS / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)


def make(code: str, *, folder: Path, python: Path = HERE) -> None:
    """Run Python code in a folder, to make models that are then converted."""
    script = folder / "make_models.py"  # a file, because Paddle reads the source of what it saves
    script.write_text(code)
    ended = subprocess.run(
        [python, "-W", "ignore", script], cwd=folder, check=False, capture_output=True, text=True, timeout=500
    )
    assert ended.returncode == 0, ended.stderr


def require_converted(ended: subprocess.CompletedProcess[str], path: Path) -> dict[str, str]:
    """Require success, a file that onnxvis reproduces at every float tensor, and a gradient; return the metadata."""
    assert ended.returncode == 0, ended.stderr
    assert "largest difference from onnxruntime" in ended.stdout
    assert not ended.stderr
    verified = onnxvis.verify(path)
    assert verified.ok, verified
    assert verified.comparisons
    assert not verified.skipped
    require_gradient(path)
    assert [found.name for found in path.parent.iterdir() if found.name.startswith(f".{path.name}")] == []
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def require_gradient(path: Path) -> None:
    """Require that the first output depends on each float input, by gradients that are finite and not zero."""
    network = onnxvis.to_torch(path)
    torch.manual_seed(0)
    values = [_drawn(value) for value in onnx.load(path).graph.input]
    found = network(*values)
    first = (
        found if isinstance(found, torch.Tensor) else next(value for value in found if value.dtype.is_floating_point)
    )
    (first * torch.rand_like(first)).sum().backward()
    for value in values:
        assert not value.requires_grad or (value.grad is not None and value.grad.isfinite().all() and value.grad.any())


def _drawn(value: onnx.ValueInfoProto) -> torch.Tensor:
    sizes = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return torch.ones(sizes, dtype=torch.int64)
    return torch.rand(sizes).requires_grad_()


def require_one_line(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """Require exit code 1 and one line on stderr that holds some words."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr
