"""One self-contained page of a run: no script, no request, every text of a model escaped.

The page's content security policy forbids scripts and requests, so that even a text that broke
out of its place could do nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report import contamination, disagreement, judged, samples, spent, table
from pipelines.report.markup import document
from pipelines.report.markup import table as _table
from pipelines.report.markup import text as _text
from pipelines.report.pictures import Picture
from pipelines.report.pictures.duration import duration, shares
from pipelines.report.run import Run, accuracy


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture's PNG bytes on light and on dark ground."""

    picture: Picture
    light: bytes
    dark: bytes


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture that could not be drawn, and why."""

    picture: Picture
    reason: str


def render(run: Run, drawn: Sequence[Drawn], left_out: Sequence[LeftOut]) -> str:
    """Return the whole page."""
    body = "\n".join(
        [
            _header(run),
            _results(run),
            _times(run),
            _pictures(drawn, left_out),
            _reward_model(run),
            _disagreement(run),
            _solutions(run),
            _contamination(run),
            _settings("Configuration", flat(run.configuration), "config.yaml"),
            _settings("Versions and start", flat(run.about), "run.json"),
            _notes(run),
        ]
    )
    return document(f"{run.path.name} - iterative-grpo", body)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as dotted keys with their values, as overrides are written."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)


def _header(run: Run) -> str:
    facts = []
    for task in run.tasks():
        found = [it for row in run.iterations if (it := accuracy(row, task)) is not None]
        if found:
            change = f"{found[0].value:.1%} → {found[-1].value:.1%}"
            facts.append((task, change if len(found) > 1 else f"{found[0].value:.1%}"))
    facts.append(("iterations", _iterations(run)))
    facts.append(("policy steps", str(len(run.steps))))
    facts.append(("time in phases", duration(sum(shares(run).values()))))
    cells = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts)
    about = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("supervision", run.setting("supervision")),
            ("reward", run.setting("reward")),
            ("published reward model", run.setting("published.model")),
            ("seed", run.setting("seed")),
        )
        if value is not None
    )
    name = _text(run.path.name)
    progress = "".join(f"<p>{_text(line)}</p>" for line in run.progress())
    return (
        f'<h1>{name}</h1><p class="faint">{_text(about)}</p>'
        f'<dl class="facts">{cells}</dl>{progress}'
    )


def _iterations(run: Run) -> str:
    """Say how many iterations there are; the last command may have asked for fewer."""
    last = max((row.get("iteration", 0) for row in run.iterations), default=0)
    asked = run.setting("iterations", "?")
    if isinstance(asked, int) and asked < last:
        return f"{last} (the last command asked for {asked})"
    return f"{last} of {asked}"


def _results(run: Run) -> str:
    if not run.iterations:
        return "<h2>By iteration</h2><p>No evaluation has finished yet.</p>"
    return (
        "<h2>By iteration</h2>"
        + _table(table.by_iteration(run))
        + '<p class="faint">Iteration 0 is the policy before its first step. Brackets: 95% Wilson '
        "intervals. Score - truth: the reward model's mean score minus the share of rollouts that "
        "are right and were not cut off by the token limit, last "
        f"{table.LAST_STEPS} policy steps of the iteration. "
        "AUROC, over ends of steps under process supervision, else of solutions, and pairs of "
        "solutions: before → after the iteration's retraining.</p>"
        + "<h3>What became of the answers, last evaluation</h3>"
        + _table(table.by_task(run))
        + '<p class="faint">Correct, incorrect, no answer, unparsed and timeout add up to the '
        "questions; a truncated answer is one of them too.</p>"
    )


def _times(run: Run) -> str:
    parts, phases = spent.by_part(run), spent.by_phase(run)
    if not parts.rows:
        return ""
    outside = spent.outside(run)
    share = (
        ""
        if outside is None
        else f" Outside of generation, scoring and training: {outside:.1%} of an iteration."
    )
    over = "all finished phases" if run.under_way else "the whole run"
    return (
        "<h2>Where the time went</h2>"
        + _table(parts)
        + f'<p class="faint">Over {over}. Tokens a second: of completions for generation, of '
        "all that is read for the others, each row of a batch for itself. Reference: "
        f"log-probabilities without a gradient.{share}</p>" + _table(phases)
    )


def _pictures(drawn: Sequence[Drawn], left_out: Sequence[LeftOut]) -> str:
    figures = "".join(
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_data(it.dark)}">'
        f'<img alt="{_text(it.picture.heading)}" src="{_data(it.light)}"></picture>'
        f"<figcaption>{_text(it.picture.reading)}</figcaption></figure>"
        for it in drawn
    )
    lines = "".join(f"<li>{_text(it.picture.heading)}: {_text(it.reason)}</li>" for it in left_out)
    missing = f'<div class="left-out"><p>Left out:</p><ul>{lines}</ul></div>' if lines else ""
    return f'<h2>Pictures</h2><div class="pictures">{figures}</div>{missing}'


def _reward_model(run: Run) -> str:
    measured = judged.measured(run)
    if not measured.rows:
        return ""
    text = (
        "On held-out questions, which no reward model of the run was trained or tuned on; before → "
        "after the iteration's retraining. Past samples: a fixed number of earlier iterations' "
        "held-out solutions. Best of 4: accuracy of the highest score among four samples of a "
        "question, over all subsets. Score by length: rank correlation among solutions of one "
        "verdict. A retrained model that is clearly worse is refused, and the old one goes on "
        "judging."
    )
    refused, failed = judged.refusals(run), judged.failures(run)
    return (
        f'<h2>Reward model</h2><p class="faint">{text}</p>{_table(measured)}'
        f"<h3>What it learned from</h3>{_table(judged.trained(run))}"
        + (f"<h3>Refused, and why</h3>{_list(refused)}" if refused else "")
        + (
            f"<h3>Probes it failed: no better than a right solution</h3>{_list(failed)}"
            if failed
            else ""
        )
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _disagreement(run: Run) -> str:
    cells = disagreement.cells(run)
    if not cells.rows:
        return ""
    said = "".join(f"<li>{_text(reason)}</li>" for reason in disagreement.reasons(run))
    when = " in a finished policy phase" if run.under_way else ""
    none = f"<p>The watch has called for no new reward model{when}.</p>"
    listed = f"<ul>{said}</ul>" if said else none
    parts = []
    for iteration in samples.iterations_with_rollouts(run.path):
        found = disagreement.liked_wrong(run.path, iteration)
        if found:
            parts.append(
                f"<details><summary>Liked, wrong: iteration {iteration}</summary>"
                f'<div class="samples">{"".join(map(_sample, found))}</div></details>'
            )
    return (
        "<h2>Reward model against verifier</h2>"
        + _table(cells)
        + '<p class="faint">Outputs of each policy phase. Liked: the reward model\'s score of the '
        "whole is one half or more. Liked and wrong is what a gamed reward model pays for; "
        "samples of all four cells lie in each optimize phase's ledger.jsonl.</p>"
        f"{listed}{''.join(parts)}"
    )


def _solutions(run: Run) -> str:
    parts = []
    iterations = samples.iterations_with_rollouts(run.path)
    for iteration in iterations:
        found = samples.cells(run.path, iteration)
        inner = "".join(
            f"<h3>{_text(cell.heading)} ({cell.count})</h3>"
            f'<div class="samples">{"".join(map(_sample, cell.samples))}</div>'
            for cell in found
        )
        opened = " open" if iteration == iterations[-1] else ""
        total = sum(cell.count for cell in found)
        which = "the last " if samples.only_the_last(run.path, iteration) else ""
        parts.append(
            f"<details{opened}><summary>Iteration {iteration}: {which}{total} rollouts</summary>"
            f"{inner}</details>"
        )
    text = (
        "The most telling ones first: where reward and verifier disagree. Each step carries its "
        "reward; green is high, orange low. ✗ marks arithmetic that the step checker finds wrong."
    )
    none = (
        "The rollouts of a policy phase are shown when it is finished."
        if run.under_way
        else "No rollouts are stored yet."
    )
    empty = "" if parts else f"<p>{none}</p>"
    return f'<h2>Solutions</h2><p class="faint">{text}</p>{empty}{"".join(parts)}'


def _sample(sample: samples.Sample) -> str:
    verdict = {True: "correct", False: "incorrect", None: "not verified"}[sample.correct]
    kind = "right" if sample.correct else "wrong"
    where = "" if sample.policy_step is None else f", step {sample.policy_step}"
    of = "mean step reward" if len(sample.steps) > 1 else "reward"
    score = "" if sample.score is None else f", {of} {sample.score:.2f}"
    gold = f" <span class=faint>gold: {_text(sample.answer)}</span>" if sample.answer else ""
    question = f"<p>{_text(sample.question)}</p>" if sample.question else ""
    steps = "".join(map(_step, sample.steps, samples.faults(sample)))
    return (
        f'<article class="sample"><p class="mark {kind}">{verdict}{score}'
        f"{gold}</p>{question}"
        f'<div class="solution">{steps}</div>'
        f'<p class="faint">{_text(sample.problem_id)}{where}</p></article>'
    )


def _step(step: samples.Step, fault: str) -> str:
    """Colour by distance from a half, which is where a share says nothing either way."""
    text = _text(step.text.removesuffix("\n"))
    if fault:
        text += f' <span class="fault">✗ {_text(fault)}</span>'
    if step.reward is None:
        return f"<div><span>{text}</span></div>"
    kind = "high" if step.reward >= 0.5 else "low"
    depth = min(1.0, abs(step.reward - 0.5) * 2) * 0.3
    return (
        f'<div class="{kind}" style="--depth:{depth:.2f}"><span>{text}</span>'
        f'<span class="value">{step.reward:.2f}</span></div>'
    )


def _contamination(run: Run) -> str:
    found = contamination.read(run.path)
    if found is None:
        return ""
    heading = "<h2>Training questions against the evaluation's</h2>"
    if found.off:
        return f"{heading}<p>They were not compared: data.decontaminate is off.</p>"
    pairs = "".join(
        f'<article class="sample"><p class="mark">{_text(pair.kind)} {_text(pair.similarity)}'
        f"</p><p>{_text(pair.train)} <span class=faint>gold: {_text(pair.answers[0])}</span></p>"
        f"<p>{_text(pair.evaluation)} <span class=faint>gold: {_text(pair.answers[1])}</span></p>"
        "</article>"
        for pair in found.pairs
    )
    shown = f"the first {len(found.pairs)}" if len(found.pairs) == contamination.MOST else "all"
    listed = (
        f"<details><summary>Left out: {found.left_out} training questions, {shown} below</summary>"
        f'<div class="samples">{pairs}</div></details>'
        if found.left_out
        else "<p>No training question was left out.</p>"
    )
    text = (
        "How many training questions are found again in each evaluation set: exact up to spacing "
        "and case, near with the same numbers, of the same template with other numbers, or with "
        f"a run of words in common. {contamination.FILE} has every pair."
    )
    return f'{heading}<p class="faint">{text}</p>{_table(found.table)}{listed}'


def _settings(heading: str, rows: Iterator[tuple[str, str]], file: str) -> str:
    cells = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in rows)
    if not cells:
        return f"<h2>{heading}</h2><p>There is no {file} yet.</p>"
    return (
        f"<h2>{heading}</h2><details><summary>{file}</summary>"
        f'<table class="settings"><tbody>{cells}</tbody></table></details>'
    )


def _notes(run: Run) -> str:
    if not run.notes:
        return ""
    lines = "".join(f"<li>{_text(note)}</li>" for note in run.notes[:50])
    return f"<h2>Could not be read</h2><ul>{lines}</ul>"
