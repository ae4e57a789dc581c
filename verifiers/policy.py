"""What counts as the same answer: switches with documented examples, strict by default.

An RL reward is searched for holes by the policy that it trains, so every switch defaults to
the reading that accepts another *notation* of the gold and nothing else.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, fields
from typing import Literal

Units = Literal["optional", "required"]
Percent = Literal["either", "value", "required"]
Decimals = Literal["full", "exact", "rounded"]
Form = Literal["any", "gold"]
Hedging = Literal["reject", "accept"]
ListOrder = Literal["free", "kept"]
Relation = Literal["value", "required"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which differences between a response and the gold are forgiven.

    | switch | value | gold | response | outcome |
    | --- | --- | --- | --- | --- |
    | units | optional | `5 cm` | `5` | correct; `5 m` is not, `0.05 m` is |
    | units | required | `5 cm` | `5` | incorrect |
    | percent | either | `50\\%` | `50`, `0.5` | both correct |
    | percent | either | `25`, `0.25` | `25\\%` | correct; `0.25\\%` for `0.25` is not |
    | percent | value | `50\\%` | `50`, `0.5` | only `0.5` is correct |
    | percent | required | `50\\%` | `50`, `0.5` | neither is correct |
    | decimals | full | `1/12` | `0.0833333333333333` | correct, as a double; `0.0833` is not |
    | decimals | exact | `1/12` | `0.0833333333333333` | incorrect; `0.08\\overline{3}` is correct |
    | decimals | rounded | `1/12` | `0.0833` | correct: right to the digits shown, three at least |
    | form | any | `x^2-1` | `(x-1)(x+1)` | correct |
    | form | gold | `x^2-1` | `(x-1)(x+1)` | incorrect: only notation may differ |
    | hedging | reject | `4` | `3 or 4` | incorrect |
    | hedging | accept | `4` | `3 or 4` | correct: one of the candidates |
    | list_order | free | `1, 2` | `2, 1` | correct |
    | list_order | kept | `1, 2` | `2, 1` | incorrect |
    | relation | value | `x = 5` | `5` | correct |
    | relation | required | `x = 5` | `5` | incorrect |
    """

    units: Units = "optional"
    percent: Percent = "either"
    decimals: Decimals = "full"
    form: Form = "any"
    hedging: Hedging = "reject"
    list_order: ListOrder = "free"
    relation: Relation = "value"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            known = typing.get_args(globals()[_ALIAS[field.name]])
            if value not in known:
                raise ValueError(
                    f"Policy.{field.name} is {value!r}; expected one of {', '.join(known)}"
                )


_ALIAS = {
    "units": "Units",
    "percent": "Percent",
    "decimals": "Decimals",
    "form": "Form",
    "hedging": "Hedging",
    "list_order": "ListOrder",
    "relation": "Relation",
}

STRICT = Policy()
"""The default, made for rewards: any notation of the gold's exact value, and no hedging."""

EXACT = Policy(
    units="required",
    percent="required",
    decimals="exact",
    form="gold",
    list_order="kept",
    relation="required",
)
"""Only spelling may differ: spacing, macros, thousands separators, numerals of another script."""

LENIENT = Policy(decimals="rounded")
"""For reading other people's evaluations: a decimal that is right to its digits counts."""
