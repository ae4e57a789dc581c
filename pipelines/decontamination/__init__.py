"""Decontamination: training questions that the run's evaluation asks too, found before any compute.

Each training question is compared with every question of every evaluation set. What a question is
found to be, the strongest first:

- `exact`: equal up to spacing, case and sentence marks.
- `near`: the same numbers in the same order, and a text that is hardly another one.
- `template`: such a text with other numbers. In mathematics that is another question.
- `ngram`: a run of 13 words in common, as GPT-3's authors looked for (arXiv:2005.14165, appendix
  C); DeepSeekMath's removed web pages for 10 (arXiv:2402.03300, section 2.1).

By default the first two are left out of training and the others reported. `overlap` finds the
pairs, `cleaning` reads the sets and decides, `record` says what was found.
"""

from pipelines.decontamination.cleaning import Contaminated, Findings, find
from pipelines.decontamination.overlap import KINDS
from pipelines.decontamination.record import lines, record

__all__ = ["KINDS", "Contaminated", "Findings", "find", "lines", "record"]
