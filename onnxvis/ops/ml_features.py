"""Selecting, replacing and encoding features in domain ai.onnx.ml, but for strings, which no tensor holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.ml_linear import as_rows
from onnxvis.ops.ml_scores import DOMAIN
from onnxvis.ops.table import Floats, Ints, operator

Strings = tuple[str, ...]


@operator("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(X: Tensor, Y: Tensor) -> Tensor:
    """Take elements of the last axis; a vector becomes a row."""
    taken = X.index_select(-1, Y.reshape(-1))
    return taken.unsqueeze(0) if X.ndim == 1 else taken


@operator("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(*X: Tensor, inputdimensions: Ints = ()) -> Tensor:
    """Join features, (N, F) each, cut or filled with zeros to as many as `inputdimensions` says, in float32."""
    rows = map(as_rows, X)
    return torch.cat([functional.pad(x, [0, n - x.shape[1]]) for x, n in zip(rows, inputdimensions, strict=True)], 1)


@operator("Binarizer", domain=DOMAIN, differentiable=False)
def binarizer(X: Tensor, *, threshold: float = 0.0) -> Tensor:
    """1 where x > threshold, else 0."""
    return (threshold < X).to(X.dtype)


@operator("Imputer", domain=DOMAIN)
def imputer(
    X: Tensor,
    *,
    imputed_value_floats: Floats | None = None,
    imputed_value_int64s: Ints | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """Replace one value, which can be NaN, by another one, or by one for each feature."""
    if X.is_floating_point():
        missing = torch.isnan(X) if math.isnan(replaced_value_float) else torch.eq(X, replaced_value_float)
        return torch.where(missing, X.new_tensor(imputed_value_floats or ()), X)
    return torch.where(torch.eq(X, replaced_value_int64), X.new_tensor(imputed_value_int64s or ()), X)


@operator("OneHotEncoder", domain=DOMAIN, differentiable=False)
def one_hot_encoder(
    X: Tensor, *, cats_int64s: Ints | None = None, cats_strings: Strings | None = None, zeros: int = 1
) -> Tensor:
    """1 at the place of each category in a new last axis, in float32; nothing for a number that is none.

    Raises:
        UnsupportedOpError: Categories that are strings.
    """
    # Without `zeros` an unknown category would be an error of the data, which is none of the graph.
    del zeros
    if cats_int64s is None:
        raise UnsupportedOpError(_no_strings("OneHotEncoder", cats_strings), op_type="OneHotEncoder")
    return (X.long().unsqueeze(-1) == torch.tensor(cats_int64s, device=X.device)).float()


@operator("LabelEncoder", domain=DOMAIN, since=2, differentiable=False)
def label_encoder(
    X: Tensor,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Tensor | None = None,
    keys_floats: Floats | None = None,
    keys_int64s: Ints | None = None,
    keys_strings: Strings | None = None,
    keys_tensor: Tensor | None = None,
    values_floats: Floats | None = None,
    values_int64s: Ints | None = None,
    values_strings: Strings | None = None,
    values_tensor: Tensor | None = None,
) -> Tensor:
    """Replace each key by its value, and what is no key by the default.

    Raises:
        UnsupportedOpError: Keys or values that are strings.
    """
    del default_string
    keys = _listed(keys_floats, keys_int64s, keys_tensor)
    values = _listed(values_floats, values_int64s, values_tensor)
    if keys is None or values is None:
        raise UnsupportedOpError(_no_strings("LabelEncoder", keys_strings or values_strings), op_type="LabelEncoder")
    same = X.unsqueeze(-1) == keys.to(X.device)
    if keys.is_floating_point():
        same = same | (torch.isnan(X).unsqueeze(-1) & torch.isnan(keys.to(X.device)))
    if default_tensor is None:
        default = values.new_tensor(default_float if values_floats is not None else default_int64)
    else:
        default = default_tensor.reshape(())
    found = values.to(X.device)[same.to(torch.uint8).argmax(-1)]
    return torch.where(same.any(-1), found, default.to(X.device, values.dtype))


@operator("LabelEncoder", domain=DOMAIN, differentiable=False)
def label_encoder_1(
    X: Tensor, *, classes_strings: Strings | None = None, default_int64: int = -1, default_string: str = "_Unused"
) -> Tensor:
    """Refuse: the first version translates between integers and strings.

    Raises:
        UnsupportedOpError: Always.
    """
    del X, default_int64, default_string
    raise UnsupportedOpError(_no_strings("LabelEncoder", classes_strings), op_type="LabelEncoder")


def _listed(floats: Floats | None, integers: Ints | None, tensor: Tensor | None) -> Tensor | None:
    if floats is not None:
        return torch.tensor(floats, dtype=torch.float32)
    return tensor if integers is None else torch.tensor(integers, dtype=torch.int64)


def _no_strings(op_type: str, found: Strings | None) -> str:
    shown = ", ".join(map(repr, (found or ())[:3]))
    return f"{op_type}: strings ({shown}) are not implemented; take a target before it"
