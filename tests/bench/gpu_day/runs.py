"""Whole runs, with both networks of real size and as many people as are wanted."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter, process_time
from typing import cast

from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import Session, open_session
from cliffvid.options import Options
from cliffvid.pipeline.chain import Chain
from cliffvid.pipeline.networks import Models
from cliffvid.pipeline.process import process_many
from cliffvid.pipeline.report import Report
from cliffvid.pipeline.upload import on_device

from ..clips import RATE, clip, repeated
from ..fakes import Injected, people_seen
from .notes import Notes, Row, Watch
from .plan import Decoder, Pixels, Plan
from .sessions import WAYS, provided

FRAMES, QUICK_FRAMES = 240, 30  # of the clip that films repeat
CASE_FRAMES = 1920  # of all films of a case together
WARM_S = 3.0  # of the first film, before a case is timed
SIZES, COUNTS = ("720p", "1080p", "4k"), (1, 2, 4, 8)  # of the table; counts of videos at once, and of people a frame
QUICK_SIZES, QUICK_COUNTS = ("360p",), (1, 2)


@dataclass(frozen=True)
class Case:
    """A run: the networks' way, see sessions.WAYS, and what the options say."""

    by: str
    pixels: Pixels
    decode: Decoder
    videos: int
    frame_batch: int = 16
    person_batch: int = 64
    size: str = "1080p"
    people: int = 3  # a frame


USUAL = (
    Case("fp16", "planes", "cpu", 1),
    Case("fp16", "planes", "cpu", 4),
    Case("fp16", "planes", "cuda", 1),
    Case("fp16", "planes", "cuda", 4),
    Case("fp16", "planes", "cuda", 8, 32, 128),
    Case("product fp16", "planes", "cuda", 4),
    Case("product fp32", "exact", "cpu", 2),
    Case("fp16", "exact", "cpu", 4),
    Case("fp16", "exact", "cuda", 4),
    Case("tf32", "planes", "cuda", 4),
)
LARGE = (  # what sizes that are chosen by themselves, 16 and 64 at most, leave out
    Case("fp16", "planes", "cuda", 8, 64, 256),
    Case("fp16", "planes", "cpu", 8, 32, 128),
    Case("fp16", "planes", "cuda", 12, 32, 128),
    Case("fp16", "planes", "cuda", 8),
)
ON_CPU = Case("product fp32", "exact", "cpu", 1, 4, 8), Case("product fp32", "planes", "cpu", 2, 4, 8)
WATCHED = Case("fp16", "planes", "cuda", 4)


def e2e(plan: Plan, notes: Notes) -> None:
    """Frames a second of each film and of all, by size, videos at once and people a frame; and each stage's share."""
    sizes, counts = (QUICK_SIZES, QUICK_COUNTS) if plan.quick else (SIZES, COUNTS)
    usual = (LARGE[0] if plan.large else WATCHED) if plan.on_gpu else ON_CPU[1]
    table = product(sizes, counts, counts)
    run_cases(plan, notes, (replace(usual, size=size, videos=videos, people=n) for size, videos, n in table))


def ways(plan: Plan, notes: Notes) -> None:
    """Frames a second at 1080p with 3 people a frame, and what bounded them, by the networks' and the frames' way."""
    cases = LARGE if plan.large else USUAL
    run_cases(plan, notes, ON_CPU if not plan.on_gpu else cases[1:5] if plan.quick and not plan.large else cases)


def run_cases(plan: Plan, notes: Notes, cases: Iterable[Case]) -> None:
    """A row for each; networks are opened once for each way."""
    opened: dict[str, Models] = {}
    with ExitStack() as stack:
        for case in notes.in_time(cases):
            with notes.row(**asdict(case)) as row:
                if case.by not in opened:
                    opened[case.by] = stack.enter_context(_models(plan, case.by))
                row |= _run(plan, case, _seeing(opened[case.by], case.people))


def _models(plan: Plan, way: str) -> Models:
    """Both networks."""
    with ExitStack() as stack, provided(WAYS[way].options):
        sessions: list[Session] = []
        for name in (plan.detector, plan.regressor):
            session = open_session(read_manifest(plan.nets / name), "onnxruntime", plan.device, 0, WAYS[way].precision)
            sessions.append(stack.enter_context(session))
        stack.pop_all()
    detector, regressor = sessions
    return Models(detector, regressor, (), on_device(detector, regressor))


def _seeing(models: Models, people: int) -> Models:
    """The same networks, the detector seeing so many people: one with random weights finds thousands of them."""
    slots = models.detector.manifest.outputs["objectness"].shape[1]
    return replace(models, detector=cast(Session, Injected(models.detector, partial(people_seen, people, slots))))


def _run(plan: Plan, case: Case, models: Models) -> Row:
    options = Options(
        overwrite=True,
        pixels=case.pixels,
        decode_device=case.decode,
        videos_at_once=case.videos,
        frame_batch=case.frame_batch,
        person_batch=case.person_batch,
        device=plan.device,
        precision=WAYS[case.by].precision,
    )
    jobs = [(film, plan.work / f"{film.stem}.parquet") for film in _films(plan, case.size, case.videos)]
    chains: list[Chain] = []
    if not plan.quick:
        list(_reports(jobs[:1], replace(options, end_s=WARM_S), models, []))
    start, cpu_start = perf_counter(), process_time()
    with Watch(plan.device) as watch:
        reports = list(_reports(jobs, options, models, chains))
    wall_s, cpu_s = perf_counter() - start, process_time() - cpu_start
    frames, stages = sum(report.frames for report in reports), chains[0].stages
    return {
        "frames_s": frames / wall_s,
        "each_s": frames / wall_s / case.videos,
        **{f"{name}_ms": 1000 * seconds / frames for name, seconds in stages.busy_s().items()},
        "cores": round(cpu_s / wall_s, 2),
        **watch.facts(),
        "wall_s": round(wall_s, 2),
        "frames": frames,
        "people_found": sum(report.people for report in reports),
        "pictures_on_device": models.pictures_on_device,
        "waiting_s": {name: round(seconds, 2) for name, seconds in stages.waiting_s().items()},
        "fill": chains[0].batch_fill(),
        "warnings": sorted({warning for report in reports for warning in report.warnings}),
        "peak_memory_mb": reports[-1].peak_memory_mb,
    }


def _reports(jobs: list[tuple[Path, Path]], options: Options, models: Models, chains: list[Chain]) -> Iterator[Report]:
    for outcome in process_many(jobs, options, models=models, watch=chains.append):
        if outcome.error:
            raise outcome.error
        assert outcome.report
        yield outcome.report


def _films(plan: Plan, size: str, count: int) -> list[Path]:
    """So many films, CASE_FRAMES together or a bit more: files of their own, as a system keeps what was read."""
    frames = QUICK_FRAMES if plan.quick else FRAMES
    source = clip("360p" if plan.quick else size, frames)
    seconds = 1 if plan.quick else max(CASE_FRAMES // count, FRAMES) // RATE
    made = []
    for index in range(count):
        made.append(plan.work / f"film-{size}-{seconds}-{index}.mp4")
        if not made[-1].exists():
            part = made[-1].with_suffix(".part")
            repeated(source, max(1, seconds * RATE // frames), part).replace(made[-1])
    return made
