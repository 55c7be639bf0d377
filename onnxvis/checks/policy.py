"""What a team allows in its files: operator sets and operators."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from onnxvis.checks.concluding import concluded, skipped
from onnxvis.checks.readers import first_layer
from onnxvis.config import CheckSettings
from onnxvis.errors import SettingError
from onnxvis.graph import is_default_domain
from onnxvis.inspection import Inspection
from onnxvis.model import Model
from onnxvis.outcomes import Detail, Outcome

_CONDITION = re.compile(r"\s*(>=|<=|==|!=|>|<|)\s*(\d{1,9})\s*")
_MEANINGS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "": operator.eq,
}


def check_policy(inspection: Inspection, settings: CheckSettings) -> Outcome:
    """Compare the operator sets and the operators with what the settings allow; functions and subgraphs count too.

    Args:
        inspection: The model.
        settings: `opset`, `operators`, `forbidden_operators`, `domains`.

    Raises:
        SettingError: The conditions on the opset cannot be read.
    """
    if settings.opset is None and settings.operators is settings.domains is None and not settings.forbidden_operators:
        return skipped("policy", "no policy is given")
    model = inspection.model
    details = [*_of_opset(model, settings.opset), *_of_nodes(model, settings)]
    return concluded("policy", details, f"opset {model.opset} and all operators are allowed")


def is_allowed(opset: int, conditions: str) -> bool:
    """Tell whether a version of the operator set meets all conditions.

    Args:
        opset: The version.
        conditions: Such as ">=13,<=20", or "17" alone.

    Raises:
        SettingError: They cannot be read.
    """
    found = [_CONDITION.fullmatch(part) for part in conditions.split(",")]
    if None in found:
        message = f"The opset policy {conditions!r} cannot be read. Write conditions such as '>=13,<=20', or '17'."
        raise SettingError(message, opset=conditions)
    return all(_MEANINGS[match[1]](opset, int(match[2])) for match in found if match is not None)


def _of_opset(model: Model, conditions: str | None) -> Iterator[Detail]:
    if conditions is None or is_allowed(model.opset, conditions):
        return
    text = f"opset {model.opset}, but the policy is {conditions}: export the model at an allowed opset"
    yield Detail("fail", text, figures={"opset": model.opset, "policy": conditions})


def _of_nodes(model: Model, settings: CheckSettings) -> Iterator[Detail]:
    counts: dict[str, list[ir.Node]] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.ir.graph):
        counts.setdefault(label(node), []).append(node)
    for name, nodes in counts.items():
        reason = _refusal(name, nodes[0].domain, settings)
        if reason is not None:
            times = f"{len(nodes)} times" if len(nodes) > 1 else "once"
            layer = first_layer(model, nodes[0].outputs[0])
            where = "" if layer is None else f", first at {layer!r}"
            text = f"operator {name} ({times}{where}) {reason}"
            yield Detail("fail", text, layer, str(nodes[0].outputs[0].name), {"operator": name, "nodes": len(nodes)})


def label(node: ir.Node) -> str:
    """Return an operator as a policy writes it: OpType, or domain.OpType.

    Args:
        node: The node.
    """
    return node.op_type if is_default_domain(node.domain) else f"{node.domain}.{node.op_type}"


def _refusal(name: str, domain: str, settings: CheckSettings) -> str | None:
    if name in map(_short, settings.forbidden_operators):
        return "is forbidden: export the model without it"
    if settings.domains is not None and not is_default_domain(domain) and domain not in settings.domains:
        return f"is of domain {domain!r}, which is not allowed: export the model without it, or allow the domain"
    if settings.operators is not None and name not in map(_short, settings.operators):
        return "is not among the allowed operators: export the model without it, or allow it"
    return None


def _short(name: str) -> str:
    """Leave out the name of the default domain, but not that of ai.onnx.ml."""
    rest = name.removeprefix("ai.onnx.")
    return name if "." in rest else rest
