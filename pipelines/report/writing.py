"""Makes a run's pictures and page, each file whole or not at all."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from pipelines.report import ReportFiles, page, style
from pipelines.report.pictures import ALL, NothingToDraw
from pipelines.report.run import Run, damage, read


def write(run_dir: Path) -> ReportFiles:
    """Write RUN/metrics/*.png and RUN/report.html; see `pipelines.report.write`."""
    run = read(run_dir)
    run = dataclasses.replace(run, notes=(*run.notes, *damage(run_dir)))
    drawn, left_out = draw_all(run)
    pictures = []
    for it in drawn:
        path = run_dir / "metrics" / f"{it.picture.name}.png"
        replace(path, it.light)
        pictures.append(path)
    for missing in left_out:
        # A picture of an earlier state would contradict the page.
        (run_dir / "metrics" / f"{missing.picture.name}.png").unlink(missing_ok=True)
    target = run_dir / "report.html"
    replace(target, page.render(run, drawn, left_out).encode("utf-8"))
    reasons = tuple(f"{missing.picture.name}: {missing.reason}" for missing in left_out)
    return ReportFiles(target, tuple(pictures), reasons)


def draw_all(run: Run) -> tuple[list[page.Drawn], list[page.LeftOut]]:
    """Draw every picture that the run has values for."""
    drawn: list[page.Drawn] = []
    left_out: list[page.LeftOut] = []
    for picture in ALL:
        try:
            light, dark = (
                style.png(picture.draw(run, theme), theme) for theme in (style.LIGHT, style.DARK)
            )
        except NothingToDraw as nothing:
            left_out.append(page.LeftOut(picture, str(nothing)))
        else:
            drawn.append(page.Drawn(picture, light, dark))
    return drawn, left_out


def replace(path: Path, content: bytes) -> None:
    """Write a file by renaming: a reader sees the old one or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
