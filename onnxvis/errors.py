"""Everything that a model file or a request can do wrong.

Programming mistakes raise builtins; whatever the user's file or words cause derives from `OnnxvisError`,
carries what it found as attributes, and says in one line what to do.

    OnnxvisError
    ├── ModelError                  the file
    │   ├── ModelFileError          missing, unreadable, truncated, not ONNX
    │   ├── InvalidModelError       refused by the ONNX checker, no opset import, cycles
    │   ├── ExternalDataError       weights beside the file: missing, too short, outside the folder
    │   ├── ModelWeightsError       NaN in a weight that the target needs
    │   └── OracleError             onnxruntime (the reference) cannot run the model
    ├── TargetError                 the words that name a unit
    │   ├── UnknownNodeError        no such node
    │   ├── AmbiguousNodeError      several
    │   ├── FilterError             no such filter, or no known channel axis
    │   ├── NotVisualizableError    not a float tensor, or one that no input reaches
    │   └── NoGradientError         an operator on the way cuts the gradient
    ├── UnsupportedOpError          operators without an implementation, all of them
    ├── LoweringError               an operator cannot be computed at these shapes
    ├── DataDependentShapeError     a shape or an argument that only the input's values determine
    ├── UnknownSizeError            dimensions that the file leaves open and nobody gave
    ├── InputError                  an input of another kind than asked: not an image, wrong shape, wrong layout
    ├── SettingError                a recipe that contradicts itself or the model
    │   └── NothingReplacedError    a backward pass was to be replaced, and no operator has one
    ├── OptimizationError           the run
    │   ├── NonFiniteLossError      NaN or infinity: which step, which loss
    │   └── DeadUnitError           no gradient at any start
    ├── VerificationError           the torch graph and onnxruntime disagree
    └── OutputError                 the result cannot be written
"""

from __future__ import annotations

from typing import Any


class OnnxvisError(Exception):
    """Base of all errors that a model or a request can cause.

    Args:
        message: One line: what was asked, what was found, where, and what to do.
        **details: The same facts for programs; each becomes an attribute.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.__dict__.update(details)


class ModelError(OnnxvisError):
    """The model file cannot be used."""


class ModelFileError(ModelError):
    """The file is missing, unreadable, truncated, or not ONNX."""


class InvalidModelError(ModelError):
    """The file is ONNX, but not a valid model."""


class ExternalDataError(ModelError):
    """Weights stored beside the model are missing, too short, or outside the model's folder."""


class ModelWeightsError(ModelError):
    """A weight that the target needs holds NaN."""


class OracleError(ModelError):
    """onnxruntime, against which everything is verified, cannot run the model."""


class TargetError(OnnxvisError):
    """The words that name a unit do not fit the model."""


class UnknownNodeError(TargetError):
    """No node, tensor or scope has this name."""


class AmbiguousNodeError(TargetError):
    """Several nodes answer to this name."""


class FilterError(TargetError):
    """The layer has no such filter, or its channel axis is not known."""


class NotVisualizableError(TargetError):
    """The tensor is not a float tensor, or depends on no input."""


class NoGradientError(TargetError):
    """An operator between the input and the target cuts the gradient."""


class UnsupportedOpError(OnnxvisError):
    """Operators that have no implementation; all of them are named."""


class LoweringError(OnnxvisError):
    """An operator cannot be computed at the shapes that it gets."""


class DataDependentShapeError(OnnxvisError):
    """An argument that must be known beforehand depends on the values of the input."""


class UnknownSizeError(OnnxvisError):
    """The file leaves dimensions of an input open, and nobody gave them."""


class InputError(OnnxvisError):
    """An input is of another kind than the request needs."""


class SettingError(OnnxvisError):
    """A setting is out of its range or contradicts another."""


class NothingReplacedError(SettingError):
    """A backward pass was to be replaced, but the way to the target has no such operator."""


class OptimizationError(OnnxvisError):
    """The optimization cannot go on."""


class NonFiniteLossError(OptimizationError):
    """A loss became NaN or infinite."""


class DeadUnitError(OptimizationError):
    """The gradient is exactly zero at every start."""


class VerificationError(OnnxvisError):
    """The torch graph and onnxruntime disagree."""


class OutputError(OnnxvisError):
    """The result cannot be written where it should go."""


def innermost_reason(error: BaseException) -> str:
    """Return the innermost message in one line: libraries wrap what went wrong in where it went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300].rstrip(". ") or type(error).__name__
