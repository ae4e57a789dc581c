"""What was compared, as a report to read and as rows to look into."""

import dataclasses
import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.parity_prompts import Prompts
from benchmarks.parity_rows import Accuracies
from benchmarks.parity_verdicts import Compared, Disagreement
from reward_models.best_of import Estimate


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one run; `limit` is what rows were limited to, None for all of them."""

    prompts: Sequence[Prompts]
    compared: Sequence[Compared]
    accuracies: Accuracies
    several_boxes: Sequence[str]
    limit: int | None

    @property
    def clean(self) -> bool:
        """Whether prompts are the same and no disagreement is ours or without an explanation."""
        return all(each.same == each.compared for each in self.prompts) and not any(
            found.fault == "ours" or not found.cause for found in self._disagreements()
        )

    def write(self, folder: Path) -> None:
        """Write report.md and disagreements.jsonl."""
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")
        rows = (
            json.dumps(dataclasses.asdict(found), ensure_ascii=False) + "\n"
            for found in self._disagreements()
        )
        (folder / "disagreements.jsonl").write_text("".join(rows), encoding="utf-8")

    def markdown(self) -> str:
        """Return the report as Markdown."""
        parts = [
            f"lm-eval {version('lm_eval')}, Math-Verify {version('math-verify')}, sympy "
            f"{version('sympy')}, Python {platform.python_version()}; "
            + ("all rows" if self.limit is None else f"at most {self.limit} rows a collection"),
            self._prompts(),
            self._verdicts(),
            self._causes(),
            "Reference solutions of MATH test that the data set's gold, the last box, does not "
            f"call right: {len(self.several_boxes)} ({', '.join(self.several_boxes)})",
            self._accuracies(),
        ]
        return "\n\n".join(parts) + "\n"

    def _disagreements(self) -> list[Disagreement]:
        return [found for compared in self.compared for found in compared.disagreements]

    def _prompts(self) -> str:
        return _table(
            ("lm-eval's task", "our format", "same bytes", "same stop strings", "sha256, first"),
            [
                (
                    each.task,
                    each.name,
                    f"{each.same:,} of {each.compared:,}",
                    "yes" if each.stop_same else "no",
                    each.first[:12],
                )
                for each in self.prompts
            ],
        )

    def _verdicts(self) -> str:
        return _table(
            (
                "metric",
                "collection",
                "rows",
                "right by label",
                "lm-eval: right",
                "ours: right",
                "lm-eval: as labelled",
                "ours: as labelled",
                "disagreements",
                "seconds, lm-eval / ours",
            ),
            [
                (
                    f"{each.metric} / {each.convention}",
                    each.collection,
                    f"{each.rows:,}",
                    f"{each.right:,}",
                    f"{each.theirs:,}",
                    f"{each.ours:,}",
                    f"{each.theirs_as_labelled:,} of {each.labelled:,}",
                    f"{each.ours_as_labelled:,} of {each.labelled:,}",
                    f"{len(each.disagreements):,}",
                    f"{each.seconds[0]:.1f} / {each.seconds[1]:.1f}",
                )
                for each in self.compared
            ],
        )

    def _causes(self) -> str:
        found = self._disagreements()
        counts = Counter((each.metric, each.fault, each.cause) for each in found)
        shown: dict[tuple[str, str, str], Disagreement] = {}
        for each in found:
            shown.setdefault((each.metric, each.fault, each.cause), each)
        return _table(
            ("metric", "rows", "at fault", "cause", "for example: gold; response; lm-eval, ours"),
            [
                (key[0], f"{count:,}", key[1], key[2] or "UNEXPLAINED", _example(shown[key]))
                for key, count in sorted(counts.items())
            ],
        )

    def _accuracies(self) -> str:
        models = _table(
            ("model", "questions", "right by our verdict", "right by OpenAI's label", "accuracy"),
            [
                (
                    each.model,
                    f"{each.questions:,}",
                    str(each.ours),
                    str(each.labels),
                    f"{each.ours / each.questions:.4f}",
                )
                for each in self.accuracies.models
            ],
        )
        four = self.accuracies.four
        chosen = _table(
            (f"four answers a question, {four.problems:,} questions", "accuracy, 95 % interval"),
            [
                ("one of the four (mean)", f"{self.accuracies.mean:.4f}"),
                ("best of 4 by wrong arithmetic steps", _interval(four.best_of_n)),
                ("maj@4", _interval(four.majority)),
                ("best of 4 by an oracle (pass@4)", _interval(four.pass_at_n)),
            ],
        )
        return f"{models}\n\n{chosen}"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _example(found: Disagreement) -> str:
    response = found.response.strip()
    tail = response if len(response) <= 60 else "..." + response[-57:]
    return (
        f"{_code(found.gold[:60])}; {_code(tail)}; {'yes' if found.theirs else 'no'}, "
        f"{'yes' if found.ours else 'no'}"
    )


def _code(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{plain}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
