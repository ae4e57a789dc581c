"""Comparing matrices and vectors, worked out entry by entry."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

from verifiers.comparing import Comparer, Verdict3
from verifiers.syntax import Add, Div, Func, Matrix, Mul, Neg, Node, Num, Pow, Seq, Sym
from verifiers.trees import walk

MAX_NODES = 20_000


class _TooLarge(Exception):
    """A matrix worked out to more nodes than are compared: a product doubles its entries'."""


class Matrices(Comparer):
    """The part of a comparison that reads matrices."""

    def same_matrix(self, c: Node, g: Node) -> Verdict3:
        """Entries in place; a matrix of one row or column may be written as a tuple."""
        try:
            left, right = computed(c), computed(g)
        except _TooLarge:
            return None
        if isinstance(left, Matrix) and isinstance(right, Matrix):
            if (len(left.rows), len(left.rows[0])) != (len(right.rows), len(right.rows[0])):
                return False
            return self.each(
                tuple(entry for row in left.rows for entry in row),
                tuple(entry for row in right.rows for entry in row),
            )
        matrix, other = (left, right) if isinstance(left, Matrix) else (right, left)
        rows = _rows(other)
        if isinstance(matrix, Matrix) and rows is not None:
            return (
                self.same_matrix(matrix, rows) if matrix is left else self.same_matrix(rows, matrix)
            )
        if isinstance(matrix, Matrix) and isinstance(other, Seq) and other.left != "set":
            vector = _vector(matrix)
            if vector is None:
                return False
            items = other.items
            return self.each(vector, items) if matrix is left else self.each(items, vector)
        if isinstance(matrix, Matrix) and len(matrix.rows) == len(matrix.rows[0]) == 1:
            entry = matrix.rows[0][0]
            return self.same(entry, other) if matrix is left else self.same(other, entry)
        if isinstance(matrix, Matrix):
            return False
        return self.same_scalar(left, right)


def contains_matrix(node: Node) -> bool:
    """Whether a sum, product or multiple has a matrix in it."""
    if isinstance(node, Matrix):
        return True
    if isinstance(node, Add | Mul):
        return any(contains_matrix(item) for item in node.items)
    if isinstance(node, Neg):
        return contains_matrix(node.item)
    if isinstance(node, Div):
        return contains_matrix(node.top)
    if isinstance(node, Pow):
        return contains_matrix(node.base)
    return False


def _rows(node: Node) -> Matrix | None:
    """The matrix that a list of lists spells: `[[1, 2], [3, 4]]`."""
    if not isinstance(node, Seq) or (node.left, node.right) != ("[", "]"):
        return None
    rows = [i.items for i in node.items if isinstance(i, Seq) and (i.left, i.right) == ("[", "]")]
    square = len(rows) == len(node.items) > 0 and len({len(row) for row in rows}) == 1
    return Matrix(tuple(rows)) if square and rows[0] else None


def _vector(matrix: Matrix) -> tuple[Node, ...] | None:
    if len(matrix.rows) == 1:
        return matrix.rows[0]
    if len(matrix.rows[0]) == 1:
        return tuple(row[0] for row in matrix.rows)
    return None


def computed(node: Node) -> Node:
    """A sum, product or multiple of matrices, worked out entry by entry. Raises _TooLarge."""
    if isinstance(node, Neg):
        return _scaled(computed(node.item), Num(Fraction(-1)))
    if isinstance(node, Div) and contains_matrix(node.top):
        return _bounded(_scaled(computed(node.top), Div(Num(Fraction(1)), node.bottom)))
    if isinstance(node, Add):
        total = computed(node.items[0])
        for item in node.items[1:]:
            other = computed(item)
            if not (isinstance(total, Matrix) and isinstance(other, Matrix)):
                return node
            if len(total.rows) != len(other.rows) or len(total.rows[0]) != len(other.rows[0]):
                return node
            total = Matrix(
                tuple(
                    tuple(Add((a, b)) for a, b in zip(r, s, strict=True))
                    for r, s in zip(total.rows, other.rows, strict=True)
                )
            )
        return total
    if isinstance(node, Pow) and contains_matrix(node.base):
        return _bounded(_matrix_power(computed(node.base), node.exponent) or node)
    if isinstance(node, Mul):
        product = computed(node.items[0])
        for item in node.items[1:]:
            product = _bounded(_multiplied(product, computed(item)))
        return product
    return node


def _bounded(node: Node) -> Node:
    if next(islice(walk(node), MAX_NODES, None), None) is not None:
        raise _TooLarge
    return node


def _matrix_power(base: Node, exponent: Node) -> Node | None:
    """A transpose, a small whole power or the inverse of a small matrix."""
    if not isinstance(base, Matrix):
        return None
    if exponent in (Sym("T"), Sym("t"), Sym("\\top"), Sym("\\intercal")):
        return Matrix(tuple(zip(*base.rows, strict=True)))
    size = len(base.rows)
    if size != len(base.rows[0]) or not isinstance(exponent, Num) or size > 3:
        return None
    if exponent.value == -1:
        determinant = Func("det", (base,))
        cofactors = tuple(
            tuple(Mul((Num(Fraction((-1) ** (i + j))), _minor(base, j, i))) for j in range(size))
            for i in range(size)
        )
        return _scaled(Matrix(cofactors), Div(Num(Fraction(1)), determinant))
    if exponent.value in (1, 2, 3, 4):
        result: Node = base
        for _ in range(int(exponent.value) - 1):
            result = _multiplied(result, base)
        return result
    return None


def _minor(matrix: Matrix, row: int, column: int) -> Node:
    if len(matrix.rows) == 1:
        return Num(Fraction(1))
    rest = tuple(r[:column] + r[column + 1 :] for i, r in enumerate(matrix.rows) if i != row)
    return Func("det", (Matrix(rest),))


def _scaled(node: Node, factor: Node) -> Node:
    if not isinstance(node, Matrix):
        return Mul((factor, node))
    return Matrix(tuple(tuple(Mul((factor, entry)) for entry in row) for row in node.rows))


def _multiplied(left: Node, right: Node) -> Node:
    if not isinstance(left, Matrix):
        return _scaled(right, left) if isinstance(right, Matrix) else Mul((left, right))
    if not isinstance(right, Matrix):
        return _scaled(left, right)
    if len(left.rows[0]) != len(right.rows) or len(left.rows) * len(right.rows[0]) > 100:
        return Mul((left, right))
    columns = tuple(zip(*right.rows, strict=True))
    return Matrix(
        tuple(
            tuple(
                Add(tuple(Mul((a, b)) for a, b in zip(row, column, strict=True)))
                for column in columns
            )
            for row in left.rows
        )
    )
