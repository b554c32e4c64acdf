"""Dry run: probe every input and estimate the total processing time."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from ..machine import interruptible
from ..names import label
from ..options import Options
from .inputs import find_inputs
from .job import BulkJob
from .messages import Answer, Fault, LeftOut, Probed, Trial, TrialSpeed
from .options import BulkOptions
from .plan import Intake, Plan, job_folder
from .store.opening import planned_state
from .store.place import Place
from .store.records import Ended, InputLine, Line
from .store.state import State

TRIAL_FRAMES = 24


class PlanLine(TypedDict):
    """The plan for one input."""

    video: str
    kind: str | None
    duration_s: float | None
    frames: int | None
    segments: int
    todo: bool
    message: str | None


class PlanTotal(LeftOut):
    """The plan for all inputs together."""

    inputs: int
    todo: int
    duration_s: float
    frames: int
    workers: int
    estimate_s: float | None


class _NoJournal:
    """Read-only state of a journal."""

    def __init__(self, state: State) -> None:
        self.state = state

    def append(self, *records: Line) -> None:
        raise AssertionError("a plan is not written down")

    def defer(self, record: Line) -> None:
        raise AssertionError("a plan is not written down")

    def hold(self) -> None:
        raise AssertionError("a plan is not written down")


def dry_run(
    sources: list[str], out: Path, options: Options, bulk: BulkOptions
) -> tuple[*tuple[PlanLine, ...], PlanTotal]:
    """Return a line for each input, then a total: inputs and seconds of video left, and estimated processing seconds.

    The estimate comes from a trial: a number of frames of the input of median length, on one worker.
    """
    folder = job_folder(out, bulk)
    state = planned_state(folder, options)
    elsewhere: Mapping[str, Ended] = planned_state(out, options).live if folder != out else {}
    found = find_inputs(sources, out, options)
    with (
        tempfile.TemporaryDirectory() as work,
        BulkJob(Place(Path(work)), _NoJournal(state), options, bulk, lambda event, progress: None) as job,
        interruptible(job.stop),
    ):
        plan = job.plan(found, elsewhere)
        _look_at_all(job, plan)
        lines = [(name, _line(name, plan, options)) for name in plan.given if name in plan.lines]
        todo = sorted((each for each in lines if each[1]["todo"]), key=lambda each: each[1]["duration_s"] or 0)
        frames = sum(line["frames"] or 0 for _, line in todo)
        total: PlanTotal = {
            "inputs": len(lines),
            "todo": len(todo),
            "duration_s": sum(line["duration_s"] or 0 for _, line in todo),
            "frames": frames,
            "ignored": found.ignored,
            "ignored_names": found.ignored_names,
            "workers": job.pool.count,
            "estimate_s": None,
        }
        if todo and (rate := _trial(job, plan, todo[len(todo) // 2][0])):
            total["estimate_s"] = frames / rate / job.pool.count
    return (*(line for _, line in lines), total)


def _look_at_all(job: BulkJob, plan: Plan) -> None:
    intake = Intake(plan, job.progress)

    def took(answer: Answer) -> None:
        assert isinstance(answer.reply, Probed | Fault)
        intake.take(answer.task.video, answer.reply)

    job.tasks.draw_from(intake.probes())
    job.tasks.drive(took, lambda task, fault: took(Answer(task, fault)), job.stopped, tick=intake.release)


def _trial(job: BulkJob, plan: Plan, name: str) -> float | None:
    rates: list[float] = []

    def took(answer: Answer) -> None:
        assert isinstance(answer.reply, TrialSpeed)
        rates.append(answer.reply.frames_per_s)

    job.tasks.add([Trial(video=name, address=plan.addresses.get(name), frames=TRIAL_FRAMES)])
    job.tasks.drive(took, lambda task, fault: None, job.stopped)
    return rates[0] if rates else None


def _taken(line: InputLine, options: Options) -> tuple[float | None, int | None]:
    """Return seconds of an input between --start and --end, and frames there at --stride."""
    duration_s, frames, share = line["duration_s"], line["frames"], 1.0
    if duration_s:
        taken_s = max(min(options.end_s, duration_s) - options.start_s, 0.0)
        share, duration_s = taken_s / duration_s, taken_s
    return duration_s, math.ceil(round(frames * share) / options.stride) if frames else frames


def _line(name: str, plan: Plan, options: Options) -> PlanLine:
    line = plan.lines[name]
    duration_s, frames = _taken(line, options)
    fault = plan.failed.get(name) or plan.kept.get(name)
    return {
        "video": label(name),
        "kind": line["kind"],
        "duration_s": duration_s,
        "frames": frames,
        "segments": len(line["cuts"] or []) + 1,
        "todo": not plan.finished(name) and name not in plan.failed,
        "message": fault.message if fault else None,
    }
