from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from onnxvis import to_torch
from onnxvis.errors import LoweringError, UnsupportedOpError

Array = NDArray[np.float32]
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def model(body: str, result: str = "float[N, M] y", arguments: str = "float[5, 3] x") -> onnx.ModelProto:
    """A model of one input."""
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> net ({arguments}) => ({result}) {{ {body} }}'
    )


def assert_agrees(body: str, result: str = "float[N, M] y") -> torch.Tensor:
    """Compare with onnxruntime, and return the gradient of the output's sum."""
    proto = model(body, result)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": X})
    image = torch.from_numpy(X).requires_grad_()
    found = to_torch(proto)(image)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), image, allow_unused=True)
    return gradient


@pytest.mark.parametrize("position", [0, 1, -1, -3])
def test_elements_are_found_from_both_ends(position: int) -> None:
    gradient = assert_agrees(
        f"""
        a = Exp (x) b = Sin (x) c = Neg (x)
        p = Constant <value = int64 {{{position}}}> ()
        s = SequenceConstruct (a, b, c)
        y = SequenceAt (s, p)
        """
    )
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("position", [0, 2, -1, -2])
def test_inserting_and_erasing_keep_the_order(position: int) -> None:
    assert_agrees(
        f"""
        a = Exp (x) b = Sin (x) c = Neg (x)
        p = Constant <value = int64 {{{position}}}> ()
        one = Constant <value = int64 {{1}}> ()
        s = SequenceConstruct (a, b)
        longer = SequenceInsert (s, c, p)
        shorter = SequenceErase (longer, one)
        more = SequenceInsert (shorter, a)
        y = ConcatFromSequence <axis = 0> (more)
        """
    )


@pytest.mark.parametrize(("axis", "new_axis"), [(0, 0), (-1, 0), (0, 1), (1, 1), (-1, 1)])
def test_a_sequence_is_joined_along_an_old_or_a_new_axis(axis: int, new_axis: int) -> None:
    result = "float[N, M, K] y" if new_axis else "float[N, M] y"
    assert_agrees(
        f"""
        a = Exp (x) b = Sin (x)
        s = SequenceConstruct (a, b)
        y = ConcatFromSequence <axis = {axis}, new_axis = {new_axis}> (s)
        """,
        result,
    )


@pytest.mark.parametrize("split", ["int64 {2}", "int64[3] {1, 3, 1}", "int64 {5}"])
def test_a_tensor_is_split_into_parts(split: str) -> None:
    assert_agrees(
        f"""
        sizes = Constant <value = {split}> ()
        s = SplitToSequence <axis = 0> (x, sizes)
        zero = Constant <value = int64 {{0}}> ()
        y = SequenceAt (s, zero)
        """
    )


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_tensor_is_split_into_slices(keepdims: int) -> None:
    assert_agrees(
        f"""
        s = SplitToSequence <axis = 1, keepdims = {keepdims}> (x)
        two = Constant <value = int64 {{2}}> ()
        y = SequenceAt (s, two)
        """,
        "float[N, M] y" if keepdims else "float[N] y",
    )


def test_the_length_is_known() -> None:
    assert_agrees(
        """
        s = SplitToSequence <axis = 1> (x)
        n = SequenceLength (s)
        k = Cast <to = 1> (n)
        y = Mul (x, k)
        """
    )


def test_a_function_is_mapped_over_a_sequence() -> None:
    gradient = assert_agrees(
        """
        s = SplitToSequence <axis = 0> (x)
        two = Constant <value = float {2.0}> ()
        squares = SequenceMap <
            body = each (float[1, 3] e, float f) => (float[1, 3] r) { q = Mul (e, e) r = Mul (q, f) }
        > (s, two)
        y = ConcatFromSequence <axis = 0> (squares)
        """
    )
    np.testing.assert_allclose(gradient.numpy(), 4 * X, rtol=1e-6)


def test_an_optional_has_its_element_or_none() -> None:
    assert_agrees(
        """
        o = Optional (x)
        there = OptionalHasElement (o)
        e = OptionalGetElement (o)
        y = If (there) <
            then_branch = yes () => (float[5, 3] a) { a = Exp (e) },
            else_branch = no () => (float[5, 3] b) { b = Neg (e) }
        >
        """
    )


def test_a_sequence_goes_through_a_loop() -> None:
    gradient = assert_agrees(
        """
        none = SequenceEmpty ()
        three = Constant <value = int64 {3}> ()
        yes = Constant <value = bool {1}> ()
        all = Loop (three, yes, none) <
            body = step (int64 i, bool going, seq(float) s) => (bool on, seq(float) longer)
            {
                on = Identity (going)
                k = Cast <to = 1> (i)
                e = Mul (x, k)
                longer = SequenceInsert (s, e)
            }
        >
        y = ConcatFromSequence <axis = 0> (all)
        """
    )
    np.testing.assert_allclose(gradient.numpy(), np.full_like(X, 0 + 1 + 2))


def test_a_position_outside_is_an_error() -> None:
    body = "s = SequenceConstruct (x) p = Constant <value = int64 {1}> () y = SequenceAt (s, p)"
    with pytest.raises(LoweringError, match="outside of a sequence of 1"):
        to_torch(model(body))


def test_an_input_that_is_a_sequence_is_given_as_a_constant() -> None:
    proto = model("y = ConcatFromSequence <axis = 0> (s)", arguments="seq(float) s")
    with pytest.raises(UnsupportedOpError, match="is no tensor but of kind sequence"):
        to_torch(proto)
    found = to_torch(proto, constants={"s": [X, 2 * X]})()
    np.testing.assert_array_equal(found, np.concatenate([X, 2 * X]))


def test_an_output_that_is_a_sequence_is_a_tuple() -> None:
    found = to_torch(model("s = SplitToSequence <axis = 1> (x)", "seq(float) s"))(torch.from_numpy(X))
    assert isinstance(found, tuple)
    np.testing.assert_array_equal(torch.stack(found, 1)[..., 0], X)


def test_a_tensor_where_a_sequence_must_be_is_an_error() -> None:
    proto = model("zero = Constant <value = int64 {0}> () y = SequenceAt (s, zero)", arguments="seq(float) s")
    with pytest.raises(UnsupportedOpError, match="is not a sequence"):
        to_torch(proto, constants={"s": X})


def test_an_empty_position_is_an_omitted_one() -> None:
    assert_agrees(
        """
        a = Exp (x)
        s = SequenceConstruct (x)
        longer = SequenceInsert (s, a, )
        y = ConcatFromSequence <axis = 0> (longer)
        """
    )
