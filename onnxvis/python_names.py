"""ONNX names as Python identifiers, which torch.fx writes into the code of a network."""

from __future__ import annotations

import keyword
import re

import torch
from torch import fx

_TAKEN = frozenset({"meta", "input_names", "output_names", "replaced"})
"""Attributes that a finished network has, besides those of its class."""


def identifier(name: str) -> str:
    """Write an ONNX name as a Python identifier that shadows nothing in the code that torch.fx writes."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    is_free = text and not text[0].isdigit() and not keyword.iskeyword(text) and text != "self"
    return text if is_free else f"_{text}"


class FreeNames:
    """Identifiers that are no attribute of a module or of a network, and not given out before.

    Args:
        root: The module.
    """

    def __init__(self, root: torch.nn.Module) -> None:
        self.root = root
        self.given: set[str] = set()
        self.numbers: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Write an ONNX name as such an identifier."""
        wanted = free = identifier(name)
        # Each name is counted on from where it was left: loops ask for the same one in every step.
        number = self.numbers.get(wanted, 0)
        while free in _TAKEN or free in self.given or hasattr(self.root, free) or hasattr(fx.GraphModule, free):
            number += 1
            free = f"{wanted}_{number}"
        self.numbers[wanted] = number
        self.given.add(free)
        return free
