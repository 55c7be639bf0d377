"""Twins of files: faulty ones, with one silent fault each, and honest ones, which mean the same as their source.

Written with onnx, onnxruntime's and onnxscript's optimizers and torch's exporters alone, so that they judge
`onnxvis check` and `onnxvis diff` from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.twins.fault import Fault
from tests.twins.honest import HONEST, Honest
from tests.twins.node_faults import NODE_FAULTS
from tests.twins.sources import GENERATED, load_source
from tests.twins.weight_faults import WEIGHT_FAULTS

FAULTS: Sequence[Fault] = (*WEIGHT_FAULTS, *NODE_FAULTS)

__all__ = ["FAULTS", "GENERATED", "HONEST", "Fault", "Honest", "load_source"]
