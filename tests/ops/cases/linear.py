"""Products of matrices and sums of products."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.ops.compared import compares
from tests.ops.drawn import Draw, broadcast_to, chosen, shapes, spread
from tests.ops.one_node import Case

FIRST_WITHOUT_BIAS = 11
EQUATIONS = (
    *("ij,jk->ik", "bij,bjk->bik", "...ij,...jk->...ik", "ij->ji", "ij,ij->", "ii->i", "ii", "i,j->ij"),
    *("bijc,bjkc->bikc", "bhqd,bhkd->bhqk", "ijk,k->ij", "ij,kj", "...i->...", "ik,kj,jl->il", "ij->j"),
)


@compares("MatMul")
def mat_mul(draw: Draw) -> Case:
    """Vectors, matrices and stacks that broadcast."""
    m, k, n = shapes(draw, 3)
    stack = shapes(draw, (0, 2), 3)
    first, second = broadcast_to(draw, stack), broadcast_to(draw, stack)
    left = (k,) if draw(st.integers(0, 4)) == 0 else (*first, m, k)
    right = (k,) if draw(st.integers(0, 4)) == 0 else (*second, k, n)
    return Case([spread(draw, left), spread(draw, right)])


@compares("Gemm")
def gemm(draw: Draw, version: int) -> Case:
    """Both transposed or not, both factors, a bias that broadcasts or none."""
    m, k, n = shapes(draw, 3)
    attributes = chosen(draw, transA=(None, 0, 1), transB=(None, 0, 1), alpha=(None, 0.5), beta=(None, 1.5))
    a = (k, m) if attributes.get("transA") else (m, k)
    b = (n, k) if attributes.get("transB") else (k, n)
    inputs = [spread(draw, a), spread(draw, b)]
    if version < FIRST_WITHOUT_BIAS or draw(st.booleans()):
        inputs.append(spread(draw, broadcast_to(draw, (m, n))))
    return Case(inputs, attributes)


@compares("Einsum", oldest=12, examples=2 * len(EQUATIONS))
def einsum(draw: Draw) -> Case:
    """Products, sums, diagonals and an ellipsis, with and without the letters of the result."""
    equation = draw(st.sampled_from(EQUATIONS))
    sizes = {letter: draw(st.integers(1, 4)) for letter in "bcdhijklmq"}
    inputs = []
    for term in equation.partition("->")[0].split(","):
        letters = term.removeprefix("...")
        inputs.append(spread(draw, ((2,) if letters != term else ()) + tuple(sizes[letter] for letter in letters)))
    return Case(inputs, {"equation": equation})


@compares("Det", oldest=11, precision="float32")
def determinants(draw: Draw) -> Case:
    """Of stacks of matrices."""
    size = draw(st.integers(1, 4))
    return Case([spread(draw, (*shapes(draw, (0, 2), 3), size, size))])
