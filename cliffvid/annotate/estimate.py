"""A plan without the work: what each input is, and how long all of it may take."""

import math
import tempfile
from pathlib import Path

from ..names import label
from ..options import BulkOptions, Options
from .inputs import find_inputs
from .job import BulkJob, job_folder
from .plan import Plan, task
from .store.journal import State, state_of

TRIAL_FRAMES = 24


class _NoJournal:
    """What a journal says, and nothing can be added to."""

    def __init__(self, state: State) -> None:
        self.state = state


def dry_run(sources: list[str], out: Path, options: Options, bulk: BulkOptions) -> list[dict]:
    """A line for each input, then one for all: inputs and seconds of video left, and seconds it may take.

    The estimate comes from a trial: some frames of an input of middling length, on one worker.
    """
    folder = job_folder(out, bulk)
    state = state_of(folder)
    elsewhere = state_of(out).live if folder != out else {}
    found = find_inputs(sources, out)
    with (
        tempfile.TemporaryDirectory() as work,
        BulkJob(Path(work), _NoJournal(state), options, bulk, lambda event, progress: None) as job,
        job.signals(),
    ):
        plan = job.plan(found, elsewhere)
        lines = [_line(name, plan, options) for name in plan.lines]
        todo = sorted((line for line in lines if line["todo"]), key=lambda line: line["duration_s"] or 0)
        frames = sum(line["frames"] or 0 for line in todo)
        total = {
            "inputs": len(lines),
            "todo": len(todo),
            "duration_s": sum(line["duration_s"] or 0 for line in todo),
            "frames": frames,
            "ignored": found.ignored,
            "ignored_names": found.ignored_names,
            "workers": job.pool.count,
            "estimate_s": None,
        }
        if todo and (rate := _trial(job, todo[len(todo) // 2]["name"])):
            total["estimate_s"] = frames / rate / job.pool.count
    for line in lines:
        del line["name"]
    return [*lines, total]


def _trial(job: BulkJob, name: str) -> float | None:
    rates = []
    job.tasks.add([task("trial", name, 0, frames=TRIAL_FRAMES)])
    job.tasks.drive(
        lambda task, report, rows: rates.append(report["frames_per_s"]), lambda task, report: None, job.stopped
    )
    return rates[0] if rates else None


def _taken(line: dict, options: Options) -> tuple[float | None, int | None]:
    """Seconds and frames of an input between --start and --end, of which every --stride-th is taken."""
    duration_s, frames, share = line["duration_s"], line["frames"], 1.0
    if duration_s:
        taken_s = max(min(options.end_s, duration_s) - options.start_s, 0.0)
        share, duration_s = taken_s / duration_s, taken_s
    return duration_s, math.ceil(round(frames * share) / options.stride) if frames else frames


def _line(name: str, plan: Plan, options: Options) -> dict:
    line = plan.lines[name]
    duration_s, frames = _taken(line, options)
    report = plan.failed.get(name) or plan.kept.get(name) or {}
    return {
        "name": name,
        "video": label(name),
        "kind": line["kind"],
        "duration_s": duration_s,
        "frames": frames,
        "segments": len(line["cuts"] or []) + 1,
        "todo": not plan.finished(name) and name not in plan.failed,
        "message": report.get("message"),
    }
