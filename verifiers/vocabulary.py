"""The words and commands that the lexer knows."""

from __future__ import annotations

SKIPPED = frozenset(
    [
        "left",
        "right",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "Biggl",
        "Biggr",
        "bigm",
        "Bigm",
        "middle",
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "limits",
        "nolimits",
        "quad",
        "qquad",
        "enspace",
        "thinspace",
        "negthinspace",
        "medspace",
        "thickspace",
        "rm",
        "bf",
        "it",
        "sf",
        "tt",
        "cal",
        "boldmath",
        "strut",
        "mathstrut",
        "hfill",
        "noindent",
        "hline",
        "null",
        "nonumber",
        "centering",
        "large",
        "Large",
        "small",
        "normalsize",
        "protect",
        "ensuremath",
        "mathord",
        "mathop",
        "mathbin",
        "mathrel",
        "mathopen",
        "mathclose",
        "mathpunct",
        "underline",
        "allowbreak",
        "relax",
    ]
)
"""Commands without meaning; braces that follow them are ordinary groups."""

DROPPED_WITH_ARGUMENT = frozenset(
    [
        "hspace",
        "vspace",
        "hskip",
        "phantom",
        "hphantom",
        "vphantom",
        "label",
        "tag",
        "color",
        "textcolor",
        "kern",
        "mkern",
    ]
)

TEXT = frozenset(
    [
        "text",
        "textnormal",
        "textbf",
        "textit",
        "textrm",
        "textsf",
        "texttt",
        "mbox",
        "hbox",
        "emph",
        "textsc",
    ]
)

STYLED = frozenset(
    [
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathcal",
        "mathfrak",
        "mathscr",
        "mathnormal",
        "operatorname",
        "bm",
        "boldsymbol",
        "pmb",
        "boxed",
        "fbox",
    ]
)

ACCENTS = frozenset(
    [
        "overline",
        "bar",
        "hat",
        "widehat",
        "vec",
        "overrightarrow",
        "overleftrightarrow",
        "tilde",
        "widetilde",
        "dot",
        "ddot",
        "overarc",
        "wideparen",
        "overset",
        "underset",
        "underbrace",
        "overbrace",
    ]
)

RELATIONS = {
    "le": "<=",
    "leq": "<=",
    "leqslant": "<=",
    "leqq": "<=",
    "ge": ">=",
    "geq": ">=",
    "geqslant": ">=",
    "geqq": ">=",
    "lt": "<",
    "gt": ">",
    "ne": "!=",
    "neq": "!=",
    "approx": "~",
    "approxeq": "~",
    "simeq": "~",
    "sim": "~",
    "doteq": "~",
    "equiv": "equiv",
    "in": "in",
    "notin": "notin",
    "subset": "subset",
    "subseteq": "subset",
    "to": "to",
    "rightarrow": "to",
    "mapsto": "to",
    "cong": "cong",
    "parallel": "parallel",
    "perp": "perp",
}
IMPLICATIONS = frozenset(
    [
        "implies",
        "Rightarrow",
        "Longrightarrow",
        "iff",
        "Leftrightarrow",
        "therefore",
        "Longleftrightarrow",
    ]
)

FRACTIONS = frozenset(["frac", "dfrac", "tfrac", "cfrac", "nicefrac", "sfrac", "flatfrac"])
BINOMIALS = frozenset(["binom", "dbinom", "tbinom"])

CONSTANTS = {
    "pi": "pi",
    "infty": "oo",
    "infin": "oo",
    "infinity": "oo",
    "emptyset": "empty",
    "varnothing": "empty",
    "O": "empty",
    "imath": "i",
    "exponentialE": "e",
    "imaginaryI": "i",
    "R": "R",
    "reals": "R",
    "Reals": "R",
    "N": "N",
    "Z": "Z",
    "Q": "Q",
}

TRIGONOMETRIC = (
    *("sin", "cos", "tan", "cot", "sec", "csc"),
    *("sinh", "cosh", "tanh", "coth", "sech", "csch"),
)
INVERSE = ("asin", "acos", "atan", "acot", "asec", "acsc", "asinh", "acosh", "atanh")
"""By the names that they have in sympy and mpmath, too."""

FUNCTIONS = {
    name: name
    for name in [
        *TRIGONOMETRIC,
        "ln",
        "exp",
        "gcd",
        "lcm",
        "min",
        "max",
        "det",
        "arg",
        "deg",
        "dim",
        "Re",
        "Im",
        "lg",
        "log",
        "sgn",
        "floor",
        "ceil",
        "abs",
    ]
}
FUNCTIONS |= {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arccot": "acot",
    "arcsec": "asec",
    "arccsc": "acsc",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "arctg": "atan",
    "tg": "tan",
    "ctg": "cot",
    "cosec": "csc",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arsinh": "asinh",
    "arcosh": "acosh",
    "artanh": "atanh",
    "asinh": "asinh",
    "acosh": "acosh",
    "atanh": "atanh",
    "GCD": "gcd",
    "LCM": "lcm",
    "zeta": "zeta",
    "Gamma": "gamma",
    "sign": "sgn",
    "cis": "cis",
}
SUPERFLUOUS_IN_PLAIN = frozenset(("Re", "Im", "deg", "dim", "arg", "det", "zeta", "Gamma", "sign"))
"""Functions that are read only from commands: as plain words they are something else."""

INVERSES = {
    "sin": "asin",
    "cos": "acos",
    "tan": "atan",
    "cot": "acot",
    "sec": "asec",
    "csc": "acsc",
    "sinh": "asinh",
    "cosh": "acosh",
    "tanh": "atanh",
}

BIG = {
    "sum": "sum",
    "prod": "prod",
    "int": "int",
    "lim": "lim",
    "iint": "int2",
    "iiint": "int3",
    "oint": "oint",
}

DOTS = frozenset(["ldots", "dots", "cdots", "dotsc", "dotsb", "vdots", "ddots", "dotsm"])

GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "omicron",
        "rho",
        "varrho",
        "sigma",
        "varsigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
        "aleph",
        "nabla",
        "partial",
    ]
)

CURRENCY = {
    "$": "dollar",
    "euro": "euro",
    "pounds": "pound",
    "yen": "yen",
    "cents": "cent",
    "textdollar": "dollar",
    "texteuro": "euro",
}
