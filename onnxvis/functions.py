"""Model-local functions, written where they are called."""

from __future__ import annotations

from collections import Counter

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxvis.errors import InvalidModelError
from onnxvis.graph import is_default_domain

_MOST_NODES = 200_000
_MOST_RENAMES = 50_000_000
"""Inlining gives the n-th node of one name its name after n attempts."""


def inline_functions(model: ir.Model, name: str) -> None:
    """Replace each call of a function by the function's nodes.

    Args:
        model: The model, which is changed.
        name: Its name, for messages.

    Raises:
        InvalidModelError: Functions that call functions come to more nodes than any model has, or an operator of a
            function means something else in the version of the operator set that the model imports.
    """
    if not model.functions:
        return
    calls = _calls(model)
    for key in [key for key in model.functions if key not in calls]:
        del model.functions[key]
    sizes = {key: len(function.graph) for key, function in model.functions.items()}
    nodes = sum(count * sizes[key] for key, count in calls.items())
    if nodes > _MOST_NODES or _renames(model, calls) > _MOST_RENAMES:
        message = (
            f"The functions of {name} come to {nodes:.3g} nodes where they are called, which is too many to write out. "
            "Export the model without functions."
        )
        raise InvalidModelError(message, nodes=nodes)
    _align_imports(model, name)
    InlinePass()(model)


def _align_imports(model: ir.Model, name: str) -> None:
    """Let functions import what the model does, where their operators are the same in both versions.

    The checker and onnxruntime accept a function of another version on the same condition.
    """
    versions = {_spelled(domain): version for domain, version in model.opset_imports.items()}
    for key, function in model.functions.items():
        own = {_spelled(domain): version for domain, version in function.opset_imports.items()}
        for domain, version in own.items():
            wanted = versions.setdefault(domain, version)
            changed = [] if version == wanted else _changed(function, domain, version, wanted)
            if changed:
                message = (
                    f"Function {key[0]}.{key[1]} of {name} imports version {version} of {domain or 'ai.onnx'} and the "
                    f"model version {wanted}, between which {', '.join(changed)} changed. Export the model without "
                    "functions, or both at one version."
                )
                raise InvalidModelError(message, operators=changed)
        function.opset_imports.clear()
        function.opset_imports.update({domain: versions[domain] for domain in own})
    model.opset_imports.clear()
    model.opset_imports.update(versions)


def _changed(function: ir.Function, domain: str, first: int, second: int) -> list[str]:
    """Return the operators that a function takes from a domain and that differ between two of its versions."""
    nodes = ir.traversal.RecursiveGraphIterator(function.graph)
    used = {node.op_type for node in nodes if _spelled(node.domain) == domain}
    return sorted(name for name in used if _since(name, domain, first) != _since(name, domain, second))


def _since(op_type: str, domain: str, version: int) -> int | None:
    """Return the version in which an operator last changed; None for those that ONNX does not define."""
    if not onnx.defs.has(op_type, version, domain):
        return None
    return onnx.defs.get_schema(op_type, version, domain).since_version


def _spelled(domain: str) -> str:
    return "" if is_default_domain(domain) else domain


def _calls(model: ir.Model) -> Counter[ir.OperatorIdentifier]:
    """Count how often each function is called in the end, directly and by others."""
    inner = {key: _called(model, function.graph) for key, function in model.functions.items()}
    total: Counter[ir.OperatorIdentifier] = Counter()
    waiting = _called(model, model.graph)
    # A chain of calls without a cycle is no longer than there are functions; the inliner refuses a cycle.
    for _ in range(len(model.functions)):
        total.update(waiting)
        following: Counter[ir.OperatorIdentifier] = Counter()
        for key, count in waiting.items():
            for called, times in inner[key].items():
                following[called] += count * times
        waiting = following
        if not waiting or total.total() > _MOST_NODES:
            break
    return total


def _called(model: ir.Model, graph: ir.Graph) -> Counter[ir.OperatorIdentifier]:
    identifiers = (node.op_identifier() for node in ir.traversal.RecursiveGraphIterator(graph))
    return Counter(identifier for identifier in identifiers if identifier in model.functions)


def _renames(model: ir.Model, calls: Counter[ir.OperatorIdentifier]) -> int:
    """Estimate the attempts at a free name: those of one name take the sum of 1 to their number."""
    copies: Counter[str] = Counter()
    for key, count in calls.items():
        for node in ir.traversal.RecursiveGraphIterator(model.functions[key].graph):
            copies.update({f"node {node.name}": count})
            for value in node.outputs:
                copies.update({f"value {value.name}": count})
    return sum(count * count // 2 for count in copies.values())
