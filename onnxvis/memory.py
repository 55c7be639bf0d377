"""How many images fit into memory at once."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from onnxvis.network import Network

MOST_ON_CPU = 8
"""More images at once make a CPU no faster: their tensors leave its caches."""
MOST_ON_GPU = 128
_SHARE = 0.5
"""The part of the free memory that a batch may take: other programs, and a margin for temporary results."""
_COPIES = 4
"""A tensor of the forward pass, its gradient, and what an operator keeps or needs on the way."""
_FLOAT = 4
_UNKNOWN = 2 << 30


def batch_size(network: Network, device: torch.device, wanted: int) -> int:
    """Choose how many images to optimize at once.

    Args:
        network: The network for one image.
        device: Where it will run.
        wanted: How many there are.
    """
    most = MOST_ON_GPU if device.type == "cuda" else MOST_ON_CPU
    fitting = int(_SHARE * free_bytes(device) / max(1, bytes_of(network)))
    return max(1, min(wanted, most, fitting))


def bytes_of(network: Network) -> int:
    """Estimate the memory that one image needs in a forward and backward pass."""
    elements = 0
    for node in network.graph.nodes:
        if node.op in ("call_function", "call_module", "placeholder"):
            size = 1
            for dim in node.meta.get("shape", ()):
                size *= dim
            elements += size
    return elements * _FLOAT * _COPIES


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device; a container's own limit counts."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [size for size in (_free_of_machine(), _free_of_container()) if size is not None]
    return min(found, default=_UNKNOWN)


def _free_of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError, AttributeError):
        # Not every system tells.
        return None


def _free_of_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None
