from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxvis.errors import UnsupportedOpError
from tests.ops.oracle import assert_agrees, computed

# 1-grams 2, 3; 2-grams (2, 3), (3, 3), (0, 2); the 3-gram (3, 2, 3), whose features are in another order.
POOL: dict[str, Any] = {
    "pool_int64s": [2, 3, 2, 3, 3, 3, 0, 2, 3, 2, 3],
    "ngram_counts": [0, 2, 8],
    "ngram_indexes": [4, 0, 2, 1, 5, 3],
}
WEIGHTS = [0.5, 1.5, 2.0, 3.0, 0.25, 4.0]
ROW = np.array([2, 3, 3, 2, 0, 3, 2, 2, 3], np.int64)


@pytest.mark.parametrize("skips", [0, 1, 2, 5])
@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_tf_idf_vectorizer_agrees(is_weighted: bool, mode: str, shortest: int, longest: int, skips: int) -> None:
    attributes: dict[str, Any] = {**POOL, "weights": WEIGHTS} if is_weighted else POOL
    for x in (ROW, np.stack([ROW, ROW[::-1]]), ROW.astype(np.int32)):
        assert_agrees(
            "TfIdfVectorizer",
            [x],
            9,
            mode=mode,
            min_gram_length=shortest,
            max_gram_length=longest,
            max_skip_count=skips,
            **attributes,
        )


def test_strings_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="strings"):
        computed(
            "TfIdfVectorizer",
            [ROW],
            9,
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=[0],
            pool_strings=["a"],
        )
