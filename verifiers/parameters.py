"""Letters that stand for nothing in particular: constants of integration, whole-number indices."""

from __future__ import annotations

from verifiers.syntax import Add, Const, Degree, Div, Mul, Neg, Node, Num, Pow, Relation, Seq, Sym
from verifiers.trees import mentions, renamed, variables, walk

_INTEGRATION = ({"C", "c"}, {"C_1", "c_1"}, {"C_2", "c_2"})
_INDICES = frozenset("kmn")


def with_parameters_of(c: Node, g: Node) -> Node:
    r"""The candidate with its own arbitrary letters replaced by those of the gold.

    `x^2 + c` for `x^2 + C`; `n \pi` for `k \pi`; `2n, n \in Z` for `2k, k \in Z`.
    """
    for old, new in _index_names(c, g) or _integration_names(c, g):
        if old != new and not mentions(c, Sym(new)) and not mentions(g, Sym(old)):
            c = renamed(c, Sym(old), Sym(new))
    return c


def _integration_names(c: Node, g: Node) -> list[tuple[str, str]]:
    """Constants added at the end of an antiderivative, which differ in case at most."""
    pairs = []
    for old in _added_letters(c):
        pairs += [
            (old, new)
            for new in _added_letters(g)
            if any(old in spellings and new in spellings for spellings in _INTEGRATION)
        ]
    return pairs


def _added_letters(node: Node) -> list[str]:
    """Letters that are a term of a sum by themselves and stand nowhere else in it."""
    if isinstance(node, Relation):
        node = node.sides[-1]
    if not isinstance(node, Add) or len(variables(node)) < 2:
        return []
    names = [item.name for item in node.items if isinstance(item, Sym)]
    everywhere = [item.name for item in walk(node) if isinstance(item, Sym)]
    return [name for name in names if everywhere.count(name) == 1]


def _index_names(c: Node, g: Node) -> list[tuple[str, str]]:
    """The one whole-number index of each side: declared, or that of a periodic family."""
    old, new = declared_index(c), declared_index(g)
    if old is not None and new is not None:
        return [(old, new)]
    families = _family_index(c), _family_index(g)
    if families[0] is not None and families[1] is not None:
        return [(families[0], families[1])]
    return []


def declared_index(node: Node) -> str | None:
    r"""The name that `k \in Z` declares beside what is said of it."""
    if not isinstance(node, Seq) or node.left != "" or len(node.items) < 2:
        return None
    last = node.items[-1]
    if isinstance(last, Relation) and last.operators == ("in",):
        name, domain = last.sides
        numbers = isinstance(domain, Const) and domain.name in ("Z", "N")
        if numbers and isinstance(name, Sym) and any(mentions(i, name) for i in node.items[:-1]):
            return name.name
    return None


def _family_index(node: Node) -> str | None:
    r"""k in `\pi/2 + k \pi` or `30^\circ + 360^\circ k`: the only letter, times a period."""
    if isinstance(node, Relation) and node.operators == ("=",) and isinstance(node.sides[0], Sym):
        node = node.sides[1]
    names = variables(node)
    if len(names) != 1 or not names <= _INDICES:
        return None
    (name,) = names
    terms = node.items if isinstance(node, Add) else (node,)
    steps = [term for term in terms if mentions(term, Sym(name))]
    return name if len(steps) == 1 and _is_step(steps[0], Sym(name)) else None


def _is_step(term: Node, index: Sym) -> bool:
    """Whether a term is the index times a number with pi, or times degrees."""
    if isinstance(term, Neg):
        return _is_step(term.item, index)
    if isinstance(term, Div):
        return isinstance(term.bottom, Num) and _is_step(term.top, index)
    if isinstance(term, Degree):
        return isinstance(term.value, Mul) and index in term.value.items
    if not isinstance(term, Mul) or term.items.count(index) != 1:
        return False
    others = [item for item in term.items if item != index]
    angle = any(mentions(item, Const("pi")) or isinstance(item, Degree) for item in others)
    return angle and not any(isinstance(item, Pow) for item in others)
