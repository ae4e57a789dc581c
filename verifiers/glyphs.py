"""Unicode mathematics rewritten as the ASCII and LaTeX that the lexer reads."""

from __future__ import annotations

import functools
import re
import unicodedata

_PLAIN = {
    "-": "\u2212\u2013\u2014\u2010\u2011\u2012\ufe63\u2796",
    " \\cdot ": "\u00b7\u22c5\u2219\u2217\u2022\u2062",
    " \\times ": "\u00d7\u2715\u2716\u2a2f",
    " \\div ": "\u00f7",
    "/": "\u2215\u2044",
    " ": "\u00a0\u2009\u202f\u2007\u2002\u2003\u2004\u2005\u2006\u2008\u200a\u3000",
    "": "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u2061\u2063\u2064\ufe0f\ufffd",
    "\\sqrt ": "\u221a",
    "\\sqrt[3] ": "\u221b",
    "\\sqrt[4] ": "\u221c",
    "\\infty ": "\u221e",
    "\\emptyset ": "\u2205\u00d8",
    "\\in ": "\u2208\u220a",
    "\\notin ": "\u2209",
    "\\cup ": "\u222a\u22c3",
    "\\cap ": "\u2229\u22c2",
    "\\setminus ": "\u2216",
    "\\le ": "\u2264\u2a7d\u2266",
    "\\ge ": "\u2265\u2a7e\u2267",
    "\\ne ": "\u2260",
    "\\approx ": "\u2248\u2243",
    "\\equiv ": "\u2261",
    "\\pm ": "\u00b1",
    "\\mp ": "\u2213",
    "^{\\circ}": "\u00b0\u00ba\u02da",
    "'": "\u2032\u2019\u2018",
    "''": "\u2033\u201d\u201c",
    "\\angle ": "\u2220",
    "\\triangle ": "\u25b3\u2206",
    "\\langle ": "\u27e8\u2329",
    "\\rangle ": "\u27e9\u232a",
    "\\ldots ": "\u2026",
    "\\cdots ": "\u22ef",
    "\\lfloor ": "\u230a",
    "\\rfloor ": "\u230b",
    "\\lceil ": "\u2308",
    "\\rceil ": "\u2309",
    "|": "\u2223\u2758",
    "\\to ": "\u2192",
    "\\implies ": "\u21d2\u27f9",
    "\\sum ": "\u2211",
    "\\prod ": "\u220f",
    "\\int ": "\u222b",
    "\\euro ": "\u20ac",
    "\\pounds ": "\u00a3",
    "\\yen ": "\u00a5\uffe5",
    "\\cents ": "\u00a2",
    "\\%": "\uff05",
    ",": "\u3001\uff0c",
    ".": "\u3002",
    ":": "\u2236",
    "\\land ": "\u2227",
    "\\lor ": "\u2228",
    "\\neg ": "\u00ac",
    "\\mathbb{R}": "\u211d",
    "\\mathbb{Z}": "\u2124",
    "\\mathbb{N}": "\u2115",
    "\\mathbb{Q}": "\u211a",
    "\\mathbb{C}": "\u2102",
    "\\varphi ": "\u03c6",
    "\\phi ": "\u03d5",
    "\\partial ": "\u2202",
}
_GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma_final",
    "sigma",
    "tau",
    "upsilon",
    "varphi",
    "chi",
    "psi",
    "omega",
]
_UPPER_GREEK = {
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Ξ": "Xi",
    "Π": "Pi",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
}
_RAISED = dict(
    zip(
        "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207d\u207e"
        "\u207f\u2071",
        "0123456789+-()ni",
        strict=True,
    )
)
_LOWERED = dict(
    zip(
        "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b\u2099\u2093",
        "0123456789+-nx",
        strict=True,
    )
)
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]+")
_TABLE = {glyph: plain for plain, glyphs in _PLAIN.items() for glyph in glyphs}
_TABLE |= {chr(0x3B1 + i): f"\\{name} " for i, name in enumerate(_GREEK)}
_TABLE |= {glyph: f"\\{name} " for glyph, name in _UPPER_GREEK.items()}


def to_latex(text: str) -> str:
    """`text` with its mathematical Unicode spelled in ASCII; letters of other scripts stay."""
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda run: "^{" + "".join(_RAISED[c] for c in run.group()) + "}", text)
    text = _LOWERED_RUN.sub(
        lambda run: "_{" + "".join(_LOWERED[c] for c in run.group()) + "}", text
    )
    return "".join(c if c < "\x80" else _spell(c) for c in text)


@functools.lru_cache(maxsize=4096)
def _spell(glyph: str) -> str:
    if glyph in _TABLE:
        return _TABLE[glyph]
    code = ord(glyph)
    if 0xFF01 <= code <= 0xFF5E:  # full-width forms of ASCII
        return chr(code - 0xFEE0)
    if unicodedata.category(glyph) == "Nd":
        return str(unicodedata.decimal(glyph))
    plain = unicodedata.normalize("NFKC", glyph)
    if "\u2044" in plain:  # vulgar fractions
        top, _, bottom = plain.partition("\u2044")
        return f"\\frac{{{top}}}{{{bottom}}}" if top and bottom else glyph
    # Mathematical alphanumerics (bold, italic, script) are styles of ASCII letters and digits;
    # other compatibility characters are not, and stay what they are.
    if 0x1D400 <= code <= 0x1D7FF and plain != glyph:
        return plain if plain.isascii() else _TABLE.get(plain, plain)
    return glyph
