"""Decontamination: training questions that the run's evaluation asks too, found before any compute.

Each training question is compared with every question of every evaluation set. What a question is
found to be, the strongest first:

- `exact`: equal up to spacing and case.
- `near`: the same numbers in the same order, and a text that is hardly another one.
- `template`: such a text with other numbers. In mathematics that is another question.
- `ngram`: a run of 13 words in common, as the authors of GPT-3 (arXiv:2005.14165, appendix C) and
  of Qwen2.5-Math (arXiv:2409.12122) looked for.

By default the first two are left out of training and the others reported. `overlap` finds the
pairs, `cleaning` reads the sets and decides, `record` says what was found.
"""

from pipelines.decontamination.cleaning import Contaminated, Findings, find
from pipelines.decontamination.overlap import KINDS
from pipelines.decontamination.record import lines, record

__all__ = ["KINDS", "Contaminated", "Findings", "find", "lines", "record"]
