"""Signs: which words and commands stand for operators, brackets, relations and constants."""

from __future__ import annotations

OPERATORS = {
    "cdot": "*",
    "times": "*",
    "ast": "*",
    "star": "*",
    "div": "/",
    "slash": "/",
    "over": "over",
    "choose": "choose",
    "pm": "pm",
    "mp": "mp",
    "cup": "cup",
    "bigcup": "cup",
    "cap": "cap",
    "bigcap": "cap",
    "setminus": "minus",
    "smallsetminus": "minus",
    "backslash": "minus",
    "lbrace": "set{",
    "rbrace": "set}",
    "lbrack": "[",
    "rbrack": "]",
    "lparen": "(",
    "rparen": ")",
    "langle": "langle",
    "rangle": "rangle",
    "lfloor": "lfloor",
    "rfloor": "rfloor",
    "lceil": "lceil",
    "rceil": "rceil",
    "lvert": "lbar",
    "rvert": "rbar",
    "vert": "|",
    "lVert": "lbar",
    "rVert": "rbar",
    "Vert": "|",
    "mid": "mid",
    "colon": ":",
    "prime": "'",
    "circ": "circ",
    "degree": "degree",
    "textdegree": "degree",
    "mod": "mod",
    "bmod": "mod",
    "pmod": "pmod",
    "land": "sep",
    "wedge": "sep",
    "lor": "sep",
    "vee": "sep",
    "cr": "newline",
}

PLAIN_RELATIONS = {"==": "=", "=<": "<=", ":=": "=", "=>": ">="}

PLAIN_CONSTANTS = {"pi": "pi", "infinity": "oo", "inf": "oo", "oo": "oo", "infty": "oo"}

JOINING = {"\u6216": "or", "\u548c": "and", "\u4e14": "and", "\u4e0e": "and"}
