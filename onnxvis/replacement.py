"""A user's function in place of an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxvis.errors import SettingError, innermost_reason
from onnxvis.python_names import identifier


def tried_replacement(
    op_type: str,
    node: ir.Node,
    given: Callable[..., Any],
    results: Sequence[Any],
    samples: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Callable[..., Any]:
    """Try a user's function on the operator's own inputs, and give it the name that torch.fx needs.

    Raises:
        SettingError: It fails there, or returns something of another shape.
    """
    try:
        found = given(*samples, **kwargs)
    except Exception as error:
        # Whatever a user's function may raise.
        message = f"The function given for {op_type} fails at node {node.name!r}: {innermost_reason(error)}"
        raise SettingError(message, operator=op_type) from error
    values = found if isinstance(found, tuple) else (found,)
    shapes = [tuple(getattr(value, "shape", ())) for value in values]
    wanted = [tuple(value.shape) for value in results]
    if shapes != wanted:
        message = f"The function given for {op_type} returns {shapes} at node {node.name!r}, and not {wanted}."
        raise SettingError(message, operator=op_type)

    def replaced(*args: Any, **settings: Any) -> Any:
        return given(*args, **settings)

    replaced.__name__ = replaced.__qualname__ = identifier(f"replaced_{op_type}_{id(given)}")
    return replaced
