"""The whole pipeline: what it costs beside decoding and beside its engines, its memory, many small videos."""

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np

from cliffvid.models.manifest import read_manifest
from cliffvid.models.session import open_session
from cliffvid.option import choices
from cliffvid.options import Options
from cliffvid.pipeline.networks import Models
from cliffvid.pipeline.process import process, process_many

from .clips import bare_decode, clip, repeated, sha256, small_clip
from .fakes import Injected, constant_models, people_seen
from .harness import Case, Result, take_turns
from .nets import random_nets

HOST = "whole run, in bare decodes of the same film"


def host(repeats: int, people: tuple[int, ...] = (0, 1, 3, 10)) -> Result:
    """Host-bound: engines that cost nothing, beside the time that PyAV with all threads needs to decode alone.

    Over 40 s of film: of 8 s the first and last batches, which few cores can share, are a twentieth.
    """
    frames, repeats, found = 1200, min(repeats, 3), {}
    with tempfile.TemporaryDirectory() as folder:
        film, out = repeated(clip(), 5, Path(folder) / "film.mp4"), Path(folder) / "a.parquet"
        cases = [Case("PyAV, all threads, decoding alone", lambda: bare_decode(film), frames)]
        for count, pixels in product(people, choices(Options, "pixels")):
            models, options = constant_models(count), Options(overwrite=True, pixels=pixels)
            name = f"{count} people, --pixels {pixels}"

            def work(name=name, models=models, options=options) -> None:
                found[name] = process(film, out, options, models=models).people / frames

            cases.append(Case(name, work, frames))
        take_turns(cases, repeats)
        result = Result("host", "frame", {"repeats": repeats}, [case.facts() for case in cases])
        result.clips[film.name] = sha256(film)
    result.quality = {f"people found a frame, {name}": rows for name, rows in found.items()}
    result.ratios = {f"{HOST}, {case.name}": case.median_s / cases[0].median_s for case in cases[1:]}
    result.goals = dict.fromkeys(result.ratios, "<= 1.5")
    return result


def engine_bound(repeats: int) -> Result:
    """Real-size networks with random weights: the whole run beside what its two sessions alone need for the same."""
    frames, people, repeats = 16, 2, min(repeats, 3)  # a turn takes half a minute
    film, nets, options = clip(frames=frames), random_nets(), Options(frame_batch=4, person_batch=8, overwrite=True)
    manifests = [read_manifest(nets / name) for name in ("random-yolov3", "random-cliff-hr48")]
    with ExitStack() as stack:
        detector, regressor = (stack.enter_context(open_session(manifest)) for manifest in manifests)
        out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "a.parquet"
        models = Models(Injected(detector, lambda wh: people_seen(people, canvas_wh=wh)), regressor)
        canvas = {"image": np.zeros((options.frame_batch, 416, 416, 3), np.uint8)}
        wanted = manifests[1].inputs.items()
        person = {name: np.zeros((options.person_batch, *t.shape[1:]), t.dtype) for name, t in wanted}

        reports: list = []

        def alone() -> None:
            for _ in range(frames // options.frame_batch):
                detector.run(canvas)
            for _ in range(frames * people // options.person_batch):
                regressor.run(person)

        cases = [
            Case("the two sessions alone, one after the other", alone, frames),
            Case("the whole run", lambda: reports.append(process(film, out, options, models=models)), frames),
        ]
        take_turns(cases, repeats)
    settings = {"repeats": repeats, "people a frame": people, "detector": "YOLOv3-416", "regressor": "CLIFF-HR48"}
    result = Result("engine", "frame", settings, [case.facts() for case in cases])
    name = "whole run, in the two sessions' own time"
    result.ratios, result.goals = {name: cases[1].median_s / cases[0].median_s}, {name: "<= 1.10"}
    result.quality["people found a frame"] = reports[-1].people / frames
    result.clips[film.name] = sha256(film)
    return result


def many(repeats: int, clips: int = 1000) -> Result:
    """A thousand clips of one second in one run beside one long clip of the same content, 640 x 360."""
    second, repeats = small_clip(), min(repeats, 3)
    models, options = constant_models(3), Options(overwrite=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = repeated(second, clips, folder / "long.mp4")
        jobs = [(second, folder / "out" / f"{index}.parquet") for index in range(clips)]
        shorts: list = []

        def all_of_them() -> None:
            shorts[:] = [outcome.report for outcome in process_many(jobs, options, models=models)]

        whole: list = []

        def one() -> None:
            whole.append(process(long, folder / "a.parquet", options, models=models))

        cases = [Case("one long clip", one, 30 * clips), Case(f"{clips} clips of a second", all_of_them, 30 * clips)]
        take_turns(cases, repeats, warm_up=False)
    assert sum(report.frames for report in shorts) == whole[-1].frames == 30 * clips
    result = Result("many", "frame", {"repeats": repeats, "videos_at_once": options.videos_at_once})
    result.rows = [case.facts() for case in cases]
    result.quality["people found a frame, one long clip"] = whole[-1].people / (30 * clips)
    result.quality["people found a frame, short clips"] = sum(report.people for report in shorts) / (30 * clips)
    name = "frames/s of short clips, in the long one's"
    result.ratios, result.goals = {name: cases[0].median_s / cases[1].median_s}, {name: ">= 0.8"}
    result.clips[second.name] = sha256(second)
    return result


def start(repeats: int) -> Result:
    """How long until there is something: the help, and the first batch once the engines are open."""
    help_ = [sys.executable, "-m", "cliffvid", "--help"]
    film = clip()
    seen: list[float] = []

    def first() -> None:
        from cliffvid.pipeline.process import stream

        begin = perf_counter()
        rows = stream(film, Options(), constant_models(3))
        next(rows)
        seen.append(perf_counter() - begin)
        rows.close()

    cases = [
        Case("cliffvid --help", lambda: subprocess.run(help_, check=True, stdout=subprocess.DEVNULL), 1),
        Case("first rows, engines open", first, 1),
    ]
    take_turns(cases, repeats)
    result = Result("start", "start", {"repeats": repeats}, [case.facts() for case in cases])
    result.clips[film.name] = sha256(film)
    result.ratios = {"seconds to the help": cases[0].median_s, "seconds to the first rows": cases[1].median_s}
    result.goals = {"seconds to the help": "<= 0.5", "seconds to the first rows": "<= 2"}
    return result


MEASURED = """
import sys
from pathlib import Path
from bench.fakes import constant_models
from cliffvid.options import Options
from cliffvid.pipeline.process import process
from cliffvid.pipeline.report import peak_memory_mb
process(sys.argv[1], sys.argv[2], Options(overwrite=True, pixels=sys.argv[3]), models=constant_models(3))
print(peak_memory_mb())
"""


def memory(repeats: int) -> Result:
    """Peak memory of a process, once: ten times the length, four times the pixels.

    In 240 frames not every queue is ever full, so lengths are compared from 2,400 on.
    """
    result = Result("memory", "MB", {"repeats": 1})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = {
            "1080p, 240 frames": clip(),
            "1080p, 2,400 frames": repeated(clip(), 10, folder / "2400.mp4"),
            "1080p, 24,000 frames": repeated(clip(), 100, folder / "24000.mp4"),
            "4K, 600 frames": repeated(clip("4k", 60), 10, folder / "4k.mp4"),
        }
        result.clips = {film.name: sha256(film) for film in films.values()}
        for pixels in choices(Options, "pixels"):
            peaks = {}
            for film_name, film in films.items():
                command = [sys.executable, "-c", MEASURED, str(film), str(folder / "a.parquet"), pixels]
                peaks[film_name] = float(subprocess.check_output(command))
                result.quality[f"peak memory in MB, {film_name}, --pixels {pixels}"] = round(peaks[film_name])
            _, short, long, large = peaks.values()
            result.ratios[f"peak of ten times the length, --pixels {pixels}"] = long / short
            result.ratios[f"peak of 4K, in 1080p's, --pixels {pixels}"] = large / short
    result.goals = {name: "<= 1.05" if "length" in name else "<= 4.5" for name in result.ratios}
    return result
