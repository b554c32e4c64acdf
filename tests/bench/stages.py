"""Each stage by itself, beside the plainest way to do the same."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cliffvid.concurrency import Stages
from cliffvid.models.parity import check_samples
from cliffvid.option import choices
from cliffvid.options import Options
from cliffvid.pipeline.crop import crops
from cliffvid.pipeline.detect import Found, canvas_rule, detect
from cliffvid.pipeline.networks import open_models
from cliffvid.pipeline.regress import regress
from cliffvid.pipeline.track import track
from cliffvid.pipeline.tracker import Tracker
from cliffvid.tables import Bodies, Frames, Tracks, image_column
from cliffvid.tracks.read import read_tracks
from cliffvid.tracks.write import WRITERS, open_writer
from cliffvid.video.images.base import kind_of
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.open import open_source
from cliffvid.video.reader import DecodeCounts

from .clips import bare_decode, clip, naive_frames, sha256
from .fakes import constant_models
from .harness import Case, Result, take_turns

PEOPLE = (0, 1, 3, 10)
PERSON_BATCH = 8


def decode(repeats: int) -> Result:
    """Frames of a 1080p film: bare, naive to RGB, ours, and ours with the detector's input made, of RGB or planes."""
    film, frames = clip(), 240
    rule = constant_models(0).detector.manifest.rules["letterbox"]

    def ours(then: Callable, planes: bool = False) -> None:
        with open_source(film, Options()) as source, Stages(2) as stages:
            for batch in stages.ahead("decode", "frames", source.frames(4, DecodeCounts(), planes=planes)):
                then(batch)

    def canvas(batch: Frames) -> np.ndarray:
        return kind_of(batch.images).letterboxed(batch.images, rule)

    def naive_input() -> None:
        for image in naive_frames(film):
            RgbImage.letterboxed(image_column([RgbImage(image)]), rule)

    cases = [
        Case("PyAV, its defaults, decoding alone", lambda: bare_decode(film, "SLICE"), frames),
        Case("PyAV, all threads, decoding alone", lambda: bare_decode(film), frames),
        Case("PyAV, its defaults, to RGB (naive)", lambda: sum(1 for _ in naive_frames(film)), frames),
        Case("naive, then the detector's input", naive_input, frames),
        Case("cliffvid, RGB as displayed", lambda: ours(len), frames),
        Case("cliffvid, with the detector's input", lambda: ours(canvas), frames),
        Case("cliffvid, with the detector's input, of planes", lambda: ours(canvas, planes=True), frames),
    ]
    _, bare, naive, naive_made, rgb, made, planar = take_turns(cases, repeats)
    result = _result("decode", "frame", repeats, cases)
    result.clips[film.name] = sha256(film)
    claims = {"decode + detector input": made, "decode + detector input, of planes": planar}
    result.ratios = {
        f"{name}, times naive PyAV to RGB": naive.median_s / case.median_s for name, case in claims.items()
    }
    result.goals = dict.fromkeys(result.ratios, ">= 1.7")
    result.ratios |= {
        "decode + detector input, times naive PyAV + detector input": naive_made.median_s / made.median_s,
        "decode to RGB, times naive PyAV": naive.median_s / rgb.median_s,
        "decode + detector input, in bare decodes": made.median_s / bare.median_s,
    }
    with open_source(film, Options(matrix="official")) as source:
        first = next(source.frames(1, DecodeCounts())).images
        planes = next(source.frames(1, DecodeCounts(), planes=True)).images
    error = np.abs(first[0].rgb().astype(int) - next(naive_frames(film)))
    result.quality["mean difference from PyAV's own RGB, of 255"] = round(float(error.mean()), 4)
    error = np.abs(RgbImage.letterboxed(first, rule).astype(int) - kind_of(planes).letterboxed(planes, rule))
    result.quality["difference of planes' detector input, of 255: mean"] = round(float(error.mean()), 4)
    result.quality["the same: 99 %"] = float(np.percentile(error, 99))
    return result


def _result(what: str, unit: str, repeats: int, cases: list[Case], **settings) -> Result:
    return Result(what, unit, {"repeats": repeats, **settings}, [case.facts() for case in cases])


def _of_film(what: str, unit: str, repeats: int, cases: list[Case]) -> Result:
    """The figures of what was measured with ``_frames``."""
    result = _result(what, unit, repeats, cases)
    result.clips[clip().name] = sha256(clip())
    return result


def _frames(count: int, planes: bool = False) -> Frames:
    with open_source(clip(), Options()) as source:
        return next(source.frames(count, DecodeCounts(), planes=planes))


def detect_stage(repeats: int) -> Result:
    """The host's part of detection, by how many people there are, and the bundled detector's own time."""
    frames, batches = _frames(4), 8
    cases = []
    for people in PEOPLE:
        models = constant_models(people)
        work = lambda models=models: [detect([frames], models.detector, Options()) for _ in range(batches)]  # noqa: E731
        cases.append(Case(f"host part, {people} people a frame", work, 4 * batches))
    rule = models.detector.manifest.rules["letterbox"]
    alone = lambda: [RgbImage.letterboxed(frames.images, rule) for _ in range(batches)]  # noqa: E731
    cases.append(Case("of it the letterbox", alone, 4 * batches))
    with open_models(Options()) as real:
        session = real.detector
        canvas = {"image": RgbImage.letterboxed(frames.images, canvas_rule(session.manifest, frames, Options()))}
        cases.append(Case(f"{session.manifest.name} by {session.backend}, batch 4", lambda: session.run(canvas), 4))
        take_turns(cases, repeats)
        off = max(check_samples(session).values())
    result = _of_film("detect", "frame", repeats, cases)
    result.quality["people found of ten who are answered"] = len(_found(10, frames).people) / len(frames)
    result.quality["the open detector, from its reference"] = float(f"{off:.1g}")
    result.ratios["host part with 10 people, in letterboxes"] = cases[3].median_s / cases[4].median_s
    return result


def _found(people: int, frames: Frames) -> Found:
    return detect([frames], constant_models(people).detector, Options())[0]


def crop_stage(repeats: int) -> Result:
    """Crops of 1080p frames, of RGB and of planes, by the official rule."""
    manifest, cases = constant_models(0).regressor.manifest, []
    for pixels in choices(Options, "pixels"):
        frames = _frames(4, planes=pixels == "planes")
        for people in PEOPLE[1:]:
            found = _found(people, frames)
            work = lambda found=found: [crops(found, manifest, Options()) for _ in range(8)]  # noqa: E731
            cases.append(Case(f"{people} people a frame, --pixels {pixels}", work, 32 * people))
    result = _of_film("crop", "person", repeats, take_turns(cases, repeats))
    exact, planar = (crops(_found(3, _frames(4, planes)), manifest, Options()).pixels for planes in (False, True))
    error = np.abs(exact.astype(float) - planar)
    result.quality["difference of planes' crops, of 255: mean"] = round(float(error.mean()), 4)
    result.quality["the same: 99 %"] = round(float(np.percentile(error, 99)), 4)
    return result


def regress_stage(repeats: int) -> Result:
    """The host's part of regression, and the bundled regressor's own time."""
    models, found = constant_models(PERSON_BATCH), _found(PERSON_BATCH, _frames(1))
    given = crops(found, models.regressor.manifest, Options())
    work = lambda: [regress([given], models.regressor) for _ in range(16)]  # noqa: E731
    cases = [Case(f"host part, batch {PERSON_BATCH}", work, 16 * PERSON_BATCH)]
    with open_models(Options()) as real:
        session = real.regressor
        own = crops(found, session.manifest, Options())
        given = {"crop": own.pixels, "bbox_info": own.bbox_info}
        name = f"{session.manifest.name} by {session.backend}, batch {PERSON_BATCH}"
        cases.append(Case(name, lambda: session.run(given), PERSON_BATCH))
        take_turns(cases, repeats)
        off = max(check_samples(session).values())
    result = _of_film("regress", "person", repeats, cases)
    result.quality["the open regressor, from its reference"] = float(f"{off:.1g}")
    return result


def walkers(people: int, frames: int) -> Bodies:
    """Bodies of people who stay on their way, as a regressor would answer them."""
    rng, rows = np.random.default_rng(0), people * frames
    frame = np.repeat(np.arange(frames), people)
    x = np.tile(np.arange(people) * 190.0, frames) + frame * 2.0
    box = np.stack([x, x * 0 + 300, x + 150, x * 0 + 750], axis=1) + rng.normal(0, 3, (rows, 4))
    columns = {name: np.zeros((rows, *column.shape[1:]), column.dtype) for name, column in _like().columns().items()}
    del columns["track_id"]
    columns |= {
        "frame_idx": frame,
        "pts": frame * 512,
        "time_s": frame / 30,
        "det_score": rng.uniform(0.6, 1, rows).astype(np.float32),
        "bbox_xyxy": box.astype(np.float32),
        "body_pose": rng.normal(0, 0.3, (rows, 69)).astype(np.float32),
    }
    return Bodies(**columns)


def _like() -> Tracks:
    return Tracks.empty(pose=69, shape=10)


def track_stage(repeats: int) -> Result:
    """Identities for people who walk side by side."""
    cases = []
    for people in (1, 3, 10, 30):
        bodies = walkers(people, 300)
        batches = [bodies[i : i + PERSON_BATCH] for i in range(0, len(bodies), PERSON_BATCH)]
        work = lambda batches=batches: list(track(iter(batches), Tracker(Options())))  # noqa: E731
        cases.append(Case(f"{people} people a frame", work, 300))
    result = _result("track", "frame", repeats, take_turns(cases, repeats))
    found = Tracks.concat(list(track(iter([walkers(10, 300)]), Tracker(Options()))))
    result.quality["identities of ten people who were never lost"] = int(found.track_id.max())
    return result


def write_stage(repeats: int) -> Result:
    """Rows a second into each format, and what a row takes."""
    frames, people = 2000, 3
    tracks = list(track(iter([walkers(people, frames)]), Tracker(Options())))
    cases, sizes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in WRITERS:
            out = Path(folder) / f"a.{name}"

            def work(name=name, out=out) -> None:
                with open_writer(name, out, _like(), {"body": {"name": "open-body"}}, overwrite=True) as writer:
                    for table in tracks:
                        writer.write(table)
                    writer.finish()

            cases.append(Case(name, work, frames * people))
        take_turns(cases, repeats)
        for case in cases:
            path = Path(folder) / f"a.{case.name}"
            assert len(read_tracks(path)) == frames * people
            sizes[f"bytes a row, {case.name}"] = round(path.stat().st_size / (frames * people))
    result = _result("write", "row", repeats, cases)
    result.quality = sizes
    return result
