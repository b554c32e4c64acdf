"""Where one run's time goes: a page with each stage's work and waiting over time, and Python's own profile."""

import cProfile
import io
import pstats
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from ..jobs import process
from ..options import Options
from ..pipeline import Flow, Models, open_models
from ..summary import Report
from .clips import clip

ROW = 26
PAGE = """<!doctype html><meta charset="utf-8"><title>cliffvid: a run over time</title>
<style>body{{font:15px system-ui;margin:2em;max-width:1200px}}svg{{width:100%;background:#f4f4f2}}
i{{display:inline-block;width:1em;height:1em;vertical-align:-.15em}}td{{padding:.1em 1em .1em 0}}</style>
<h1>{title}</h1><p>{frames} frames in {seconds:.1f} s, {speed:.1f} frames/s. {advice}.</p>
<p><i style="background:#3b8686"></i> at work <i style="background:#e4b363"></i> waiting for the stage before
<i style="background:#f4f4f2;outline:1px solid #ccc"></i> waiting for room</p>
<svg viewBox="0 0 1000 {height}" preserveAspectRatio="none" style="height:{height}px">{rows}</svg>
<p>From top to bottom: {names}. From left to right: 0 to {seconds:.1f} s.</p>
<table><tr><th align="left">stage<th>at work<th>waiting{table}</table>"""


def profile(out: Path, film: Path | None = None, models: Models | None = None) -> tuple[Path, Path]:
    """Write ``timeline.html`` and ``profile.txt`` into ``out`` and return their paths.

    ``film`` is by default a synthetic street, ``models`` the best there are. The page is of a run with its threads,
    the profile of one without: Python's profiler sees one thread.
    """
    film, flows = film or clip(frames=60), []

    def watch(flow: Flow) -> None:
        flow.stages.keep_spans = True
        flows.append(flow)

    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(Options()))
        tracks = Path(stack.enter_context(TemporaryDirectory())) / "a.parquet"
        report = process(film, tracks, Options(overwrite=True), models=models, watch=watch)
        python = cProfile.Profile()
        python.runcall(process, film, tracks, Options(overwrite=True, prefetch=0), models=models)
    out.mkdir(parents=True, exist_ok=True)
    page, text = out / "timeline.html", io.StringIO()
    page.write_text(_page(report, flows[0]), encoding="utf-8")
    pstats.Stats(python, stream=text).sort_stats("tottime").print_stats(200)
    (out / "profile.txt").write_text(text.getvalue(), encoding="utf-8")
    return page, out / "profile.txt"


def _page(report: Report, flow: Flow) -> str:
    stages = flow.stages.stages
    first = min(start for stage in stages for start, _ in stage.spans)
    scale = 1000 / max(max(end for stage in stages for _, end in stage.waits) - first, 1e-9)
    rows = []
    for line, stage in enumerate(stages):
        waits = stages[line - 1].waits if line else []
        for color, spans in (("#3b8686", stage.spans), ("#e4b363", waits)):
            rows += [
                f'<rect x="{(start - first) * scale:.2f}" y="{line * ROW + 3}" width="{(end - start) * scale:.2f}" '
                f'height="{ROW - 6}" fill="{color}"/>'
                for start, end in spans
            ]
    table = "".join(
        f"<tr><td>{name}<td>{busy:.2f} s<td>{report.waiting_s[name]:.2f} s" for name, busy in report.busy_s.items()
    )
    return PAGE.format(
        title=f"{report.detector} and {report.regressor}",
        frames=report.frames,
        seconds=report.seconds,
        speed=report.frames_per_s,
        advice=report.advice.capitalize(),
        height=ROW * len(stages),
        rows="".join(rows),
        names=", ".join(stage.name for stage in stages),
        table=table,
    )
