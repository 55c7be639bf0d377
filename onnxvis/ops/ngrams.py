"""Counts of n-grams in sequences of integers (ONNX specification, `TfIdfVectorizer`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from onnxvis.errors import UnsupportedOpError
from onnxvis.ops.table import Floats, Ints, operator


@operator("TfIdfVectorizer", differentiable=False)
def tf_idf_vectorizer(
    X: Tensor,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: Literal["TF", "IDF", "TFIDF"],
    ngram_counts: Ints,
    ngram_indexes: Ints,
    pool_int64s: Ints | None = None,
    pool_strings: tuple[str, ...] | None = None,
    weights: Floats | None = None,
) -> Tensor:
    """Count each n-gram of the pool: (C,) or (N, C) -> (features,) or (N, features).

    Args:
        X: Integers.
        max_gram_length: The longest n-grams that count.
        max_skip_count: How many elements there may be, at most, between one of an n-gram and the next.
        min_gram_length: The shortest n-grams that count.
        mode: "TF" counts, "IDF" is the weight of what occurs, "TFIDF" the count times the weight.
        ngram_counts: Where the 1-grams, the 2-grams, ... begin in the pool.
        ngram_indexes: The feature of each n-gram of the pool.
        pool_int64s: All n-grams, one behind the other, the shortest first.
        pool_strings: The same for strings, which are not implemented.
        weights: The weight of each n-gram of the pool.

    Raises:
        UnsupportedOpError: The n-grams are strings.
    """
    if pool_strings is not None or pool_int64s is None:
        message = "TfIdfVectorizer of strings is not implemented; only what a float tensor needs can be computed"
        raise UnsupportedOpError(message, op_type="TfIdfVectorizer")
    Y = X.new_zeros((*X.shape[:-1], max(ngram_indexes) + 1), dtype=torch.float32)
    factors = torch.ones(len(ngram_indexes)) if weights is None or mode == "TF" else torch.tensor(weights)
    first = 0
    for grams in _pools(pool_int64s, ngram_counts):
        chosen = slice(first, first + len(grams))
        first += len(grams)
        if len(grams) and min_gram_length <= grams.shape[1] <= max_gram_length:
            found = _occurrences(X, grams.to(X), max_skip_count)
            counted = (found > 0 if mode == "IDF" else found) * factors[chosen].to(X.device)
            Y = Y.index_add(-1, torch.tensor(ngram_indexes[chosen], device=X.device), counted)
    return Y


def _pools(pool: Ints, starts: Ints) -> Iterator[Tensor]:
    """Yield the 1-grams, the 2-grams, ...: (count, n)."""
    ends = (*starts[1:], len(pool))
    for length, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        yield torch.tensor(pool[start:end], dtype=torch.int64).reshape(-1, length)


def _occurrences(X: Tensor, grams: Tensor, max_skip_count: int) -> Tensor:
    """How often each n-gram occurs in each sequence, over all skips: (..., count)."""
    count, length = grams.shape
    total = X.new_zeros((*X.shape[:-1], count), dtype=torch.int64)
    # A single element is the same whatever is skipped.
    for step in range(1, 2 + (max_skip_count if length > 1 else 0)):
        windows = X.shape[-1] - (length - 1) * step
        if windows <= 0:
            break
        starts = torch.arange(windows, device=X.device)[:, None]
        places = starts + torch.arange(length, device=X.device) * step
        total = total + (X[..., places].unsqueeze(-2) == grams).all(-1).sum(-2)
    return total
