"""Convert a scikit-learn network to ONNX: MLPClassifier or MLPRegressor, alone or at the end of a pipeline.

    uv run converters/from_sklearn.py pipeline.joblib net.onnx --unsafe-pickle

The file is a pickle of joblib or of Python. A classifier's output is `probabilities`, and its classes are written as
labels; the output `label` that skl2onnx adds, a number or a string without a gradient, is left out.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "joblib>=1.4",
#     "numpy>=2",
#     "onnx>=1.19",
#     "onnxruntime>=1.24",
#     "scikit-learn>=1.6",
#     "skl2onnx>=1.19",
# ]
# ///

from __future__ import annotations

import argparse
import contextlib
import functools
import warnings
from typing import Any

import numpy as np
import onnx
from factories import look_here
from onnx import numpy_helper
from onnx_file import Array, ConversionError, Feeds, deliver, existing, framework, options, refusing, run

_NETWORKS = ("MLPClassifier", "MLPRegressor")
_OPSET = 18
_ROWS = 16  # of the comparison


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the options say.

    Raises:
        ConversionError: Something a user can mend.
    """
    model = read(arguments)
    network = last_step(model)
    if type(network).__name__ not in _NETWORKS:
        message = f"{arguments.source} ends in a {type(network).__name__}; only {' and '.join(_NETWORKS)} are converted"
        raise ConversionError(message)
    if not hasattr(network, "coefs_"):
        message = f"the {type(network).__name__} in {arguments.source} is not fitted"
        raise ConversionError(message)
    converted = exported(model, arguments.opset)
    _note_operators(converted)
    deliver(
        converted,
        arguments,
        functools.partial(outputs_of, model),
        layout="NC",
        labels=[str(name) for name in getattr(network, "classes_", ())],
        feeds={"input": typical_rows(model)},
    )


def read(arguments: argparse.Namespace) -> Any:
    """Unpickle an estimator, where the user trusts the file.

    Raises:
        ConversionError: He does not, it cannot be read, or holds something else.
    """
    path = existing(arguments.source)
    if not arguments.unsafe_pickle:
        message = f"{path} is a pickle, which can run any code when it is read: give --unsafe-pickle if you trust it"
        raise ConversionError(message)
    joblib = framework("joblib")
    sklearn = framework("sklearn.exceptions")
    look_here()
    with refusing(f"joblib cannot read {path}"), warnings.catch_warnings():
        warnings.simplefilter("error", sklearn.InconsistentVersionWarning)  # its estimators may then compute anything
        model = joblib.load(path)
    if not hasattr(model, "predict"):
        message = f"{path} holds a {type(model).__name__}, not an estimator"
        raise ConversionError(message)
    return model


def last_step(model: Any) -> Any:
    """Return the network of a pipeline, or the model itself."""
    return last_step(model.steps[-1][1]) if hasattr(model, "steps") else model


def exported(model: Any, opset: int) -> onnx.ModelProto:
    """Run skl2onnx with float32 inputs, for the probabilities or the values that are predicted.

    Raises:
        ConversionError: A step that it has not, or a newer opset than it has.
    """
    skl2onnx = framework("skl2onnx")
    types = framework("skl2onnx.common.data_types")
    graphs = framework("skl2onnx.helpers.onnx_helper")
    network = last_step(model)
    classifies = hasattr(network, "classes_")
    with refusing("skl2onnx fails"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflow, which the comparison shows
        convert_to = functools.partial(
            skl2onnx.convert_sklearn,
            model,
            initial_types=[("input", types.FloatTensorType([None, model.n_features_in_]))],
            options={id(network): {"zipmap": False}} if classifies else None,
            target_opset={"": opset, "ai.onnx.ml": 3},
        )
        converted: onnx.ModelProto = _in_plain_operators(convert_to)
    if not classifies:
        _mend_columns(converted, network.n_outputs_)
        return converted
    with refusing("skl2onnx gives no probabilities"):
        selected: onnx.ModelProto = graphs.select_model_inputs_outputs(converted, outputs=["probabilities"])
    kept = [value for value in converted.graph.output if value.name == "probabilities"]
    del selected.graph.output[:]  # it has lost its type
    selected.graph.output.extend(kept)
    return selected


def typical_rows(model: Any) -> Array:
    """Draw inputs that are small numbers once they are scaled: without that, a comparison sees saturated units only."""
    generator = np.random.default_rng(0)
    plain = generator.uniform(-1, 1, (_ROWS, model.n_features_in_)).astype(np.float32)
    scaling: Any = model[:-1] if hasattr(model, "steps") and len(model.steps) > 1 else None
    if not hasattr(scaling, "inverse_transform"):
        return plain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that no input can have given
        rows = scaling.inverse_transform(generator.uniform(-1, 1, (_ROWS, last_step(model).n_features_in_)))
    rows = rows.astype(np.float32)
    return rows if np.isfinite(rows).all() else plain


def outputs_of(model: Any, feeds: Feeds) -> list[Array]:
    """Predict with scikit-learn: probabilities of a classifier, else values (N, outputs)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that the features have not, and of overflow, which is then compared
        found = model.predict_proba(feeds["input"]) if hasattr(model, "classes_") else model.predict(feeds["input"])
    return [np.asarray(found).reshape(len(found), -1)]


def _in_plain_operators(convert_to: functools.partial[Any]) -> Any:
    with contextlib.suppress(NotImplementedError, RuntimeError):
        return convert_to(black_op={"Normalizer", "Scaler"})  # both can be said in ONNX's own operators, but for a norm
    return convert_to()


def _mend_columns(model: onnx.ModelProto, columns: int) -> None:
    """Let the values be (N, columns): skl2onnx reshapes those of an MLPRegressor into a single column."""
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    for tensor in model.graph.initializer:
        if last.op_type == "Reshape" and tensor.name == last.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.array([-1, columns]), tensor.name))
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = columns


def _note_operators(model: onnx.ModelProto) -> None:
    special = {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in {"", "ai.onnx"}}
    if special:
        print(f"note: these are not ONNX's own operators: {', '.join(sorted(special))}")


if __name__ == "__main__":
    parser = options(__doc__, source="a file of joblib.dump or pickle.dump", opset=_OPSET)
    parser.add_argument("--unsafe-pickle", action="store_true", help="read the pickle: this can run any code")
    run(convert, parser)
