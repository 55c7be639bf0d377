"""The signatures of domain com.microsoft beside the schemas that onnxruntime registers."""

from __future__ import annotations

import inspect
import math
from typing import Any

import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as registered

from onnxvis.ops.table import Operator, entries

DOMAIN = "com.microsoft"
SCHEMAS = {schema.name: schema for schema in registered.get_all_operator_schema() if schema.domain == DOMAIN}
CASES = [pytest.param(entry, id=entry.op_type) for entry in entries() if entry.domain == DOMAIN]


def default(attribute: Any) -> Any:
    """What a schema says an omitted attribute is; None where it says nothing."""
    serialized = attribute._default_value
    return onnx.helper.get_attribute_value(onnx.AttributeProto.FromString(serialized)) if serialized else None


def test_there_are_operators_to_compare() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("entry", CASES)
def test_positional_parameters_are_the_inputs_in_order(entry: Operator) -> None:
    names = [parameter.name for parameter in entry.parameters if parameter.positional]
    assert names == [value.name for value in SCHEMAS[entry.op_type].inputs]


@pytest.mark.parametrize("entry", CASES)
def test_every_attribute_is_a_parameter(entry: Operator) -> None:
    names = {parameter.name for parameter in entry.parameters if not parameter.positional}
    assert set(SCHEMAS[entry.op_type].attributes) <= names


@pytest.mark.parametrize("entry", CASES)
def test_defaults_are_those_of_onnxruntime(entry: Operator) -> None:
    parameters = inspect.signature(entry.function).parameters
    for name, attribute in SCHEMAS[entry.op_type].attributes.items():
        wanted = default(attribute)
        if attribute.required:
            assert parameters[name].default is inspect.Parameter.empty, name
        elif isinstance(wanted, float):
            assert math.isclose(parameters[name].default, wanted, rel_tol=1e-6), name
        elif wanted is not None:
            assert parameters[name].default == (wanted.decode() if isinstance(wanted, bytes) else wanted), name
