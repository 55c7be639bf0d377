"""The table's signatures beside the schemas of the ONNX specification, opset by opset."""

from __future__ import annotations

import inspect
import math
import pickle
from typing import Any

import onnx
import pytest
from onnx.defs import OpSchema, SchemaError

from onnxvis.ops.bind import _LEGACY_HINTS
from onnxvis.ops.table import Operator, entries, find

OLDEST, MODERN, NEWEST = 1, 7, 28
UNDEFINED = onnx.AttributeProto.UNDEFINED
# GridSample-20 calls linear what GridSample-16 called bilinear; GRU-1 has a letter too few.
SYNONYMS = {"bilinear": "linear", "foward": "forward"}
# What a schema calls optional without saying what its absence means.
MEANT = {("LpPool", "kernel_shape"), ("Reshape", "shape")}


def served(entry: Operator) -> list[OpSchema]:
    """The schemas, without the deprecated ones, of all opsets for which this entry is found."""
    schemas = {}
    for opset in range(max(OLDEST, entry.since), NEWEST + 1):
        if find(entry.op_type, opset, entry.domain) is not entry:
            break
        try:
            schema = onnx.defs.get_schema(entry.op_type, opset, entry.domain)
        except SchemaError:
            continue
        if not schema.deprecated:
            schemas[schema.since_version] = schema
    return [schemas[version] for version in sorted(schemas)]


CASES = [
    pytest.param(entry, schema, id=f"{schema.name}-{schema.since_version}")
    for entry in entries()
    for schema in served(entry)
]


def test_schemas_are_served() -> None:
    assert len(CASES) > 300


@pytest.mark.parametrize(("entry", "schema"), CASES)
def test_positional_parameters_are_the_inputs_in_order(entry: Operator, schema: OpSchema) -> None:
    positional = [parameter for parameter in entry.parameters if parameter.positional]
    names = [parameter.name for parameter in positional]
    if schema.since_version == served(entry)[-1].since_version:
        assert names[: len(schema.inputs)] == [value.name for value in schema.inputs]
    assert len(names) >= len(schema.inputs)
    for value, parameter in zip(schema.inputs, positional, strict=False):
        assert parameter.variadic == (value.option == OpSchema.FormalParameterOption.Variadic)


@pytest.mark.parametrize(("entry", "schema"), CASES)
def test_optional_inputs_may_be_omitted(entry: Operator, schema: OpSchema) -> None:
    parameters = list(inspect.signature(entry.function).parameters.values())
    for value, parameter in zip(schema.inputs, parameters, strict=False):
        if value.option == OpSchema.FormalParameterOption.Optional:
            assert parameter.default is not inspect.Parameter.empty, value.name
    for parameter in parameters[len(schema.inputs) :]:
        required = parameter.name in schema.attributes and schema.attributes[parameter.name].required
        left_out = parameter.kind is inspect.Parameter.VAR_POSITIONAL or parameter.name in {"outputs", "input_types"}
        required = required or (schema.since_version < MODERN and (schema.name, parameter.name) in MEANT)
        assert required or left_out or parameter.default is not inspect.Parameter.empty, parameter.name


@pytest.mark.parametrize(("entry", "schema"), CASES)
def test_every_attribute_is_a_parameter(entry: Operator, schema: OpSchema) -> None:
    assert schema.attributes.keys() - _LEGACY_HINTS <= {parameter.name for parameter in entry.parameters}


@pytest.mark.parametrize(("entry", "schema"), CASES)
def test_defaults_are_those_of_the_specification(entry: Operator, schema: OpSchema) -> None:
    parameters = inspect.signature(entry.function).parameters
    for name, attribute in schema.attributes.items():
        if name in _LEGACY_HINTS or attribute.default_value.type == UNDEFINED:
            continue
        parameter = parameters[name]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert same(parameter.default, onnx.helper.get_attribute_value(attribute.default_value)), name


@pytest.mark.parametrize("entry", [pytest.param(entry, id=f"{entry.op_type}-{entry.since}") for entry in entries()])
def test_functions_can_be_pickled(entry: Operator) -> None:
    assert pickle.loads(pickle.dumps(entry.function)) is entry.function  # noqa: S301 - what was just written


def same(found: Any, wanted: Any) -> bool:
    """Whether a Python default is a schema's, whose numbers are float32 and whose strings are bytes."""
    if isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-6)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, bytes):
        return found in {wanted.decode(), SYNONYMS.get(wanted.decode())}
    return bool(found == wanted)
