"""ONNX names as Python identifiers, which torch.fx writes into the code of a network."""

from __future__ import annotations

import keyword
import re
from collections.abc import Set as AbstractSet

import torch
from torch import fx

_TAKEN = frozenset({"meta", "input_names", "output_names", "replaced"})
"""Attributes that a finished network has, besides those of its class."""


def identifier(name: str) -> str:
    """Write an ONNX name as a Python identifier that shadows nothing in the code that torch.fx writes."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    is_free = text and not text[0].isdigit() and not keyword.iskeyword(text) and text != "self"
    return text if is_free else f"_{text}"


def free_name(name: str, root: torch.nn.Module, taken: AbstractSet[str]) -> str:
    """Write an ONNX name as an identifier that is no attribute of a module or of a network, and not taken otherwise."""
    wanted = identifier(name)
    free, number = wanted, 1
    while free in _TAKEN or free in taken or hasattr(root, free) or hasattr(fx.GraphModule, free):
        free, number = f"{wanted}_{number}", number + 1
    return free
