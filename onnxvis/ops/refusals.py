"""What to do about operators that will have no implementation, for the error that names them."""

from __future__ import annotations

_TREES = (
    "trees compare and branch, so that no gradient passes them; take a target before them, "
    "or train a model whose score changes smoothly"
)
_DICTIONARY = "its result is a dictionary and no tensor; take the scores that it reads as the target"
_STRINGS = "it translates strings, which no tensor holds; take a target before it"
_REMEDIES = {
    ("ai.onnx.ml", "CastMap"): "its input is a dictionary and no tensor; feed what follows it",
    ("ai.onnx.ml", "CategoryMapper"): _STRINGS,
    ("ai.onnx.ml", "DictVectorizer"): "its input is a dictionary and no tensor; feed what follows it",
    ("ai.onnx.ml", "TreeEnsemble"): _TREES,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): _TREES,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): _TREES,
    ("ai.onnx.ml", "ZipMap"): _DICTIONARY,
}


def remedy(op_type: str, domain: str) -> str | None:
    """Return why an operator has no implementation and what to do instead, as a clause; None without an answer."""
    return _REMEDIES.get((domain, op_type))
