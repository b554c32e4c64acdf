"""Where one run's time goes: a page with each stage's work and waiting over time, and Python's own profile."""

import cProfile
import io
import pstats
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from cliffvid.options import Options
from cliffvid.pipeline.chain import Chain
from cliffvid.pipeline.networks import Models, open_models
from cliffvid.pipeline.process import process
from cliffvid.pipeline.report import TRACK_AND_WRITE, Report

from .clips import clip
from .shapes import EXAMPLE

AT_WORK, BEFORE, TURN = "#3b8686", "#e4b363", "#b5698b"
Spans = list[tuple[float, float]]  # from when to when, in seconds of perf_counter
PAGE = """<!doctype html><meta charset="utf-8"><title>cliffvid: a run over time</title>
<style>body{{font:15px system-ui;margin:2em;max-width:1200px}}svg{{width:100%;height:22px;background:#f4f4f2}}
i{{display:inline-block;width:1em;height:1em;vertical-align:-.15em;background:#f4f4f2;outline:1px solid #ccc}}
table{{width:100%}}td{{padding:.1em .6em .1em 0;white-space:nowrap}}th{{text-align:left;font-weight:normal}}</style>
<h1>{title}</h1><p>{frames} frames in {seconds:.1f} s, {speed:.1f} frames/s. {advice}.</p>
<p>{key}<i></i> waiting for room</p>
<table><tr><th>stage<th width="90%">from left to right: 0 to {seconds:.1f} s<th>at work<th>waiting{rows}</table>"""


def profile(out: Path, film: Path | None = None, models: Models | None = None) -> tuple[Path, Path]:
    """Write ``timeline.html`` and ``profile.txt`` into ``out`` and return their paths.

    ``film`` is by default the example clip, or without it a synthetic street, in which the open models see nobody;
    ``models`` are the best there are. The page is of a run with its threads,
    the profile of one without: Python's profiler sees one thread.
    """
    film, flows, turns = film or (EXAMPLE if EXAMPLE.is_file() else clip(frames=60)), [], {}

    def watch(chain: Chain) -> None:
        chain.stages.keep_spans = True
        flows.append(chain)

    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(Options()))
        for name, session in (("detect", models.detector), ("regress", models.regressor)):
            turns[name] = session.turn_waits = []
        tracks = Path(stack.enter_context(TemporaryDirectory())) / "a.parquet"
        report = process(film, tracks, Options(overwrite=True), models=models, watch=watch)
        for session in (models.detector, models.regressor):
            session.turn_waits = None
        python = cProfile.Profile()
        python.runcall(process, film, tracks, Options(overwrite=True, prefetch=0), models=models)
    out.mkdir(parents=True, exist_ok=True)
    page, text = out / "timeline.html", io.StringIO()
    page.write_text(_page(report, flows[0], turns), encoding="utf-8")
    pstats.Stats(python, stream=text).sort_stats("tottime").print_stats(200)
    (out / "profile.txt").write_text(text.getvalue(), encoding="utf-8")
    return page, out / "profile.txt"


def _page(report: Report, chain: Chain, turns: dict[str, Spans]) -> str:
    stages, drawn = chain.stages.stages, {}
    for number, stage in enumerate(stages):
        before = stages[number - 1].waits if number else []
        drawn[stage.name] = {AT_WORK: stage.spans, BEFORE: before, TURN: turns.get(stage.name, [])}
    waits = stages[-1].waits
    drawn[TRACK_AND_WRITE] = {AT_WORK: [(a[1], b[0]) for a, b in pairwise(waits)], BEFORE: waits}
    first, last = min(start for stage in stages for start, _ in stage.spans), waits[-1][1]
    rows = "".join(
        f"<tr><td>{name}<td>{_line(colours, first, last)}<td>{report.busy_s[name]:.2f} s"
        f"<td>{report.waiting_s[name]:.2f} s"
        for name, colours in drawn.items()
    )
    words = {AT_WORK: "at work", BEFORE: "waiting for the stage before", TURN: "waiting for its turn on the CPU"}
    return PAGE.format(
        title=f"{report.detector} and {report.regressor}",
        frames=report.frames,
        seconds=report.seconds,
        speed=report.frames_per_s,
        advice=report.advice.capitalize(),
        key="".join(f'<i style="background:{colour}"></i> {word} ' for colour, word in words.items()),
        rows=rows,
    )


def _line(colours: dict[str, Spans], first: float, last: float) -> str:
    """One stage over time; what comes later in ``colours`` lies over what came before."""
    scale = 1000 / max(last - first, 1e-9)
    spans = "".join(
        f'<rect x="{(start - first) * scale:.2f}" width="{(end - start) * scale:.2f}" height="1" fill="{colour}"/>'
        for colour, spans in colours.items()
        for start, end in spans
    )
    return f'<svg viewBox="0 0 1000 1" preserveAspectRatio="none">{spans}</svg>'
