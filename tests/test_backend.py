"""The ONNX project's backend cases, by its own runner, and the interface that it uses."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from onnxvis import to_torch
from onnxvis.backend import OnnxvisBackend, prepare, run_model, run_node, supports_device
from onnxvis.errors import InputError, OnnxvisError, SettingError, UnsupportedOpError


class Strict(OnnxvisBackend):
    """The backend, without a way to leave out what it has no implementation of."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:  # noqa: ARG003 - the interface's
        """Say yes."""
        return True


with warnings.catch_warnings():
    # What the project's generators do with infinities and empty sets.
    warnings.simplefilter("ignore")
    import onnx.backend.test
    from onnx.backend.test import BackendTest, loader

    RUNNER = BackendTest(Strict, __name__)

TOTAL = 2033
WANTED = 1950

STRINGS = "strings: torch has none, and no gradient passes them"
RANDOM = "random numbers, which no seed makes the same in two libraries"
DRAWING = "refused, since training mode draws random numbers"
TRAINING = "operators of training, which no exported network has"
TREES = "trees have no gradient"
IMAGES = "decodes an image file, in front of any input that could be optimized"
ROUNDING = "one unit in the last place of float16, in the order of a sum; onnxruntime is off by the same"
NOISE = "rounding noise of 2e-7 where the case has another transform's noise; onnxruntime fails it too"
EXCLUDED = {
    r"test_(strnorm|string_split|string_concat|regex_full_match|equal_string)": STRINGS,
    r"test_ai_onnx_ml_label_encoder_(string_int|tensor)": STRINGS,
    r"test_training_dropout(?!_zero_ratio)": DRAWING,
    r"test_bernoulli": RANDOM,
    r"test_(adagrad|adam|momentum|nesterov_momentum|gradient_of)": TRAINING,
    r"test_ai_onnx_ml_tree_ensemble": TREES,
    r"test_image_decoder": IMAGES,
    r"test_attention_4d_causal_fp16": ROUNDING,
    r"test_dft_inverse": NOISE,
    r"test_loop16_seq_none": "the project's runner cannot compare a scalar in a sequence; tested below",
    r"test_maxunpool_export_with_output_shape": "indices count in the output without pads, as in onnxruntime",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners": "lengths are whole numbers, as onnxruntime has it",
}
"""What the project's runner leaves out, and why."""

UNFILTERED = RUNNER.test_cases
for pattern in EXCLUDED:
    RUNNER.exclude(pattern)

SUITES = RUNNER.test_cases
for suite in SUITES.values():
    for name in [name for name in vars(suite) if name.endswith("_cuda") and not supports_device("CUDA")]:
        delattr(suite, name)

globals().update(SUITES)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the runner from writing into the user's home, and its casts of infinities from being errors."""
    monkeypatch.setenv("ONNX_HOME", os.fspath(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cases() -> list[str]:
    """The names of all cases."""
    kinds = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case.name for kind in kinds for case in loader.load_model_tests(kind=kind)]


def left_out() -> dict[str, str]:
    """The cases that are left out, with the reason."""
    return {name: reason for name in cases() for pattern, reason in EXCLUDED.items() if re.match(pattern, name)}


def test_of_the_cases_few_are_left_out_and_each_for_a_reason() -> None:
    names = cases()
    assert len(names) == TOTAL
    assert len(names) - len(left_out()) >= WANTED


def test_each_reason_is_needed() -> None:
    names = cases()
    assert all(any(re.match(pattern, name) for name in names) for pattern in EXCLUDED)


def test_nothing_is_left_out_that_passes() -> None:
    cases = {f"{name}_cpu" for name in left_out()}
    passing, count = [], 0
    for suite in UNFILTERED.values():
        for name in cases & vars(suite).keys():
            count += 1
            try:
                getattr(suite(name), name)()
            except (OnnxvisError, AssertionError, TypeError):
                continue
            passing.append(name)
    assert passing == []
    assert count == len(cases)


def test_a_scalar_goes_through_a_sequence_of_a_loop() -> None:
    (case,) = (case for case in loader.load_model_tests(kind="node") if case.name == "test_loop16_seq_none")
    for inputs, outputs in case.data_sets or ():
        (found,) = prepare(case.model or onnx.ModelProto()).run(inputs)
        assert len(found) == len(outputs[0])
        for mine, theirs in zip(found, outputs[0], strict=True):
            np.testing.assert_array_equal(mine, theirs)


RELU = """
<ir_version: 8, opset_import: ["": 17]> net (float16[2, 3] x, int64[2] shape) => (float16[N, M] y, float16[2, 3] z)
{ z = Relu (x) y = Reshape (z, shape) }
"""


def test_outputs_have_names_and_the_declared_types() -> None:
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float16)
    result = run_model(onnx.parser.parse_model(RELU), [x, np.array([3, 2])])
    assert result.y.dtype == np.float16  # type: ignore[attr-defined]
    np.testing.assert_array_equal(result.y, np.maximum(x, 0).reshape(3, 2))  # type: ignore[attr-defined]


def test_inputs_can_be_given_by_name_and_anew() -> None:
    prepared = prepare(onnx.parser.parse_model(RELU))
    for shape in ((3, 2), (6, 1)):
        found = prepared.run({"shape": np.array(shape), "x": np.ones((2, 3), np.float16)})
        assert found[0].shape == shape


def test_what_floats_decide_is_computed_too() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (int64[1, N] y) { y = NonZero (x) }'
    (found,) = run_model(onnx.parser.parse_model(text), [np.array([0, 1, 0, 2], np.float32)])
    np.testing.assert_array_equal(found, [[1, 3]])


def test_branches_of_different_shapes_are_taken_by_what_floats_say() -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float[N] y)
    {
        sum = ReduceSum <keepdims = 0> (x)  zero = Constant <value = float {0}> ()  yes = Greater (sum, zero)
        y = If (yes) <
            then_branch = a () => (float[8] double) { double = Concat <axis = 0> (x, x) },
            else_branch = b () => (float[4] other) { other = Neg (x) }
        >
    }
    """
    prepared = prepare(onnx.parser.parse_model(text))
    x = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_array_equal(prepared.run([x])[0], [*x, *x])
    np.testing.assert_array_equal(prepared.run([-x])[0], x)


WEIGHTED = """
<ir_version: 3, opset_import: ["": 17]> net (float[2] a, float[2] w, int64[1] axes, float[2] b) => (float[M, N] y)
<float[2] w = {1, 1}, int64[1] axes = {0}>
{ s = Mul (a, w)  t = Add (s, b)  y = Unsqueeze (t, axes) }
"""


def test_weights_that_are_inputs_can_be_given_too() -> None:
    prepared = prepare(onnx.parser.parse_model(WEIGHTED))
    a, w, b = np.array([1, 2], np.float32), np.array([3, 5], np.float32), np.array([7, 9], np.float32)
    axes = np.array([1])
    np.testing.assert_array_equal(prepared.run([a, b])[0], [a + b])
    np.testing.assert_array_equal(prepared.run([a, w, axes, b])[0], (a * w + b)[:, None])
    np.testing.assert_array_equal(prepared.run({"b": b, "w": w, "a": a})[0], [a * w + b])
    # The model keeps its own.
    np.testing.assert_array_equal(prepared.run([a, b])[0], [a + b])


TWO = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([TWO], "needs input 'b', which was not given"),
        ({"a": TWO}, "needs input 'b', which was not given"),
        ({"a": TWO, "b": TWO, "typo": TWO}, "has no input 'typo'. Its inputs: 'a', 'w', 'axes', 'b'"),
        ([TWO, np.ones((2, 2), np.float32)], r"'b' cannot have shape \(2, 2\)"),
        ([TWO, np.ones(2)], "'b' takes an array of float32, and float64 was given"),
        ([TWO, np.ones(2, np.int64)], "'b' takes an array of float32, and int64 was given"),
        ([TWO, [TWO]], "'b' takes an array of float32, and list was given"),
        ([TWO, None], "'b' takes an array of float32, and NoneType was given"),
        ({"a": TWO, "b": TWO, "w": np.ones((1, 2), np.float32)}, r"'w' cannot have shape \(1, 2\)"),
        ({"a": TWO, "b": TWO, "w": np.ones(2, np.int64)}, "'w' takes an array of float32, and int64 was given"),
    ],
)
def test_inputs_that_are_missing_or_wrong_are_named(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        prepare(onnx.parser.parse_model(WEIGHTED)).run(inputs)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_arrays_without_axes() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[3] x, float y) => (float[3] z) { z = Mul (x, y) }'
    (found,) = run_model(onnx.parser.parse_model(text), [np.ones(3, np.float32), np.float32(2)])
    np.testing.assert_array_equal(found, [2, 2, 2])


def test_the_shape_of_each_input_is_checked_that_is_no_float() -> None:
    with pytest.raises(InputError, match=r"'shape' cannot have shape \(1, 2\)"):
        prepare(onnx.parser.parse_model(RELU)).run([np.ones((2, 3), np.float16), np.array([[3, 2]])])


def test_a_node_can_be_run_by_itself() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    x = np.ones((4, 2), np.float32)
    np.testing.assert_allclose(run_node(node, [x])[0], x / 4)
    # Before opset 13 all axes from the given one on were one.
    np.testing.assert_allclose(run_node(node, [x], opset_version=11)[0], x / 8)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_the_standard_domain_has_two_names(domain: str) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], domain=domain, axis=0)
    np.testing.assert_allclose(run_node(node, [np.ones((4, 2), np.float32)])[0], np.full((4, 2), 0.25))
    assert node.domain == domain


def test_a_node_of_another_domain_has_its_newest_meaning() -> None:
    # Version 1 has no default_tensor, and knows strings only.
    attributes: dict[str, Any] = {
        "keys_tensor": helper.make_tensor("k", onnx.TensorProto.INT64, [2], [1, 2]),
        "values_tensor": helper.make_tensor("v", onnx.TensorProto.FLOAT, [2], [10, 20]),
        "default_tensor": helper.make_tensor("d", onnx.TensorProto.FLOAT, [1], [-1]),
    }
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    np.testing.assert_array_equal(run_node(node, [np.array([2, 1, 7])])[0], [20, 10, -1])


def test_a_node_can_read_an_array_twice_and_wants_all_of_them() -> None:
    x = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(run_node(helper.make_node("Add", ["x", "x"], ["y"]), [x, x])[0], 2 * x)
    with pytest.raises(InputError, match="Add has 2 inputs here, and 1 were given"):
        run_node(helper.make_node("Add", ["x", "z"], ["y"]), [x])


@pytest.mark.parametrize("device", ["TPU", "CUDA:99"] + ([] if torch.cuda.is_available() else ["CUDA"]))
def test_a_device_that_is_not_there_is_refused_at_once(device: str) -> None:
    with pytest.raises(SettingError, match=f"no device '{device}'"):
        prepare(onnx.parser.parse_model(RELU), device)


def test_devices() -> None:
    assert supports_device("CPU")
    assert supports_device("CUDA") == torch.cuda.is_available()
    assert not supports_device("CUDA:99")
    assert not supports_device("TPU")


def test_too_many_inputs_and_unknown_settings_are_errors() -> None:
    prepared = prepare(onnx.parser.parse_model(RELU))
    with pytest.raises(InputError, match="takes 2 inputs"):
        prepared.run([np.ones(1)] * 3)
    with pytest.raises(InputError, match="No setting speed"):
        prepared.run([np.ones(1)], speed=3)


def test_compatible_is_what_has_an_implementation() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 20]> net (string[2] x) => (string[2] y) { y = StringConcat (x, x) }'
    )
    assert OnnxvisBackend.is_compatible(onnx.parser.parse_model(RELU))
    assert not OnnxvisBackend.is_compatible(model)
    with pytest.raises(UnsupportedOpError, match="StringConcat"):
        run_model(model, [np.array(["a", "b"])])


def test_operators_compute_where_their_inputs_are() -> None:
    # The meta device stands for any that is not the CPU: a tensor made elsewhere cannot be mixed with its own.
    wrong, count = [], 0
    for case in one_case_of_each_operator():
        prepared = prepare(case.model or onnx.ModelProto())
        given = prepared._by_name((case.data_sets or [])[0][0])
        free = {name: value for name, value in given.items() if prepared._is_float(name, value)}
        known = {name: value for name, value in given.items() if name not in free}
        try:
            shapes = {name: value.shape for name, value in free.items()}
            network = to_torch(prepared.model, input_shapes=shapes, constants=known)
        except OnnxvisError:
            continue  # a shape that depends on floats, or no implementation
        arguments = [torch.empty(free[name].shape, device="meta") for name in network.input_names]
        count += 1
        try:
            network.to("meta")(*arguments)
        except RuntimeError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong
    assert count > 100


def one_case_of_each_operator() -> list[Any]:
    """The first case of each operator that has inputs in the case itself."""
    found: dict[str, Any] = {}
    for case in loader.load_model_tests(kind="node"):
        if case.model is not None and case.data_sets and "_expanded" not in case.name:
            found.setdefault(case.model.graph.node[-1].op_type, case)
    return list(found.values())
