"""The whole job for one video. Start reading here: ``Run.tracks`` is the pipeline."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .backends import Session, open_session
from .crop import crop
from .decode import DecodeCounts
from .detect import DetectCounts, canvas_shape, detect
from .errors import ModelError, UsageError
from .flow import Stages, rebatch
from .models import MODEL_FILES, Manifest, find_model
from .options import Options
from .regress import RegressCounts, regress
from .source import open_source, source_of
from .track import Tracker, track
from .types import FLAG_BITS, Tracks, VideoInfo
from .write import SUFFIXES, WRITERS, Writer

# Settings that change how a result is made but not the result: left out of the file, so that its bytes stay the same.
NOT_RECORDED = (
    "engines",
    "threads",
    "frame_batch",
    "person_batch",
    "prefetch",
    "overwrite",
    "format",
    "max_frame_mpx",
    "allow_network",
)
TRACK_AND_WRITE = "track and write"


@dataclass(frozen=True)
class Models:
    """The two networks of a run, open; a context manager. One pair serves any number of videos in turn."""

    detector: Session
    regressor: Session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.detector.close()
        self.regressor.close()


def open_models(options: Options) -> Models:
    """The networks the options ask for. Raises UsageError, ModelError or BackendError."""
    with ExitStack() as opened:
        sessions = []
        for task, name in (("detect", options.detector), ("regress", options.regressor)):
            manifest = find_model(task, name, options.engines)
            session = open_session(manifest, options.backend, options.device, options.threads, options.precision)
            sessions.append(opened.enter_context(session))
        canvas_shape(sessions[0].manifest, options)
        body_size(sessions[1].manifest)
        opened.pop_all()
        return Models(*sessions)


def body_size(manifest: Manifest) -> tuple[int, int]:
    """How many joints and betas a regressor answers. Raises ModelError if its answers have no place in the columns."""
    shapes = {name: tensor.shape[1:] for name, tensor in manifest.outputs.items()}
    match shapes.get("rotmat"), shapes.get("betas"), shapes.get("camera"):
        case (int(joints), 3, 3), (int(betas),), (3,) if manifest.body:
            return joints, betas
    raise ModelError(
        f"{manifest.folder}: answers {shapes} of body {manifest.body!r}, expected rotmat (N,joints,3,3), betas (N,any) "
        "and camera (N,3) of a named body; choose another --regressor"
    )


@dataclass
class Counts:
    """What went in, what came out, and what was left out on the way."""

    decode: DecodeCounts = field(default_factory=DecodeCounts)
    detect: DetectCounts = field(default_factory=DetectCounts)
    regress: RegressCounts = field(default_factory=RegressCounts)
    rows: int = 0
    tracks: int = 0
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAG_BITS, 0))

    def add(self, tracks: Tracks) -> None:
        self.rows += len(tracks)
        self.tracks = max(self.tracks, int(tracks.track_id.max()))
        for name, bit in FLAG_BITS.items():
            self.flags[name] += int((tracks.flags & bit != 0).sum())

    def warnings(self) -> list[str]:
        said = [
            (self.decode.frames == 0, "no frame lies between --start and --end"),
            (self.decode.damaged, "damaged or missing pieces of video: what they showed is not in the result"),
            (self.decode.clock_jumps, "jumps back in the video's clock: time_s goes on without them"),
            (self.decode.hdr, "HDR frames: colours brighter than white were cut off"),
            (
                self.decode.interlaced,
                "interlaced frames, two moments woven into each: --deinterlace makes them whole",
            ),
            (self.decode.ignored_files, "files in the folder are no images: left out"),
            (self.detect.frames_full, "frames with more candidates than the detector can name: people may be missing"),
            (self.detect.over_max_people, "people left out by --max-people"),
            (self.regress.nobody, "boxes left out: the regressor saw nobody in them"),
            (self.detect.too_thin, "boxes left out as too thin to show a person"),
            (self.flags["bad_camera"], "rows with an impossible camera: their transl is flagged"),
        ]
        return [what if count is True else f"{count} {what}" for count, what in said if count]


class Run:
    """One video on its way through the pipeline; a context manager that leaves no thread behind."""

    def __init__(self, video: Path | str, options: Options, models: Models) -> None:
        self.options, self.models = options, models
        self.counts = Counts()
        self.stages = Stages(options.prefetch)
        self._video = open_source(video, options)

    @property
    def info(self) -> VideoInfo:
        return self._video.info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stages.__exit__()
        self._video.__exit__()

    def tracks(self) -> Iterator[Tracks]:
        """The tracks of each frame with people, in order, as they become ready; to be called once."""
        options, counts, ahead = self.options, self.counts, self.stages.ahead
        detector, regressor = self.models.detector, self.models.regressor
        span = (options.start_s, options.end_s, options.stride)
        frames = self._video.frames(options.frame_batch, counts.decode, *span)
        frames = ahead("decode", "frames", frames)
        found = ahead("detect", "frames", detect(frames, detector, options, counts.detect))
        crops = ahead("crop", "people", rebatch(crop(found, regressor.manifest, options), options.person_batch))
        bodies = ahead("regress", "people", regress(crops, regressor, counts.regress))
        for tracks in track(bodies, Tracker(options)):
            counts.add(tracks)
            yield tracks

    def meta(self) -> dict:
        """What the tracks file records about this run; nothing that differs between two runs of the same job."""
        settings = {k: v for k, v in dataclasses.asdict(self.options).items() if k not in NOT_RECORDED}
        settings["detector_shape"] = canvas_shape(self.models.detector.manifest, self.options)
        settings["end_s"] = None if math.isinf(self.options.end_s) else self.options.end_s
        video = dataclasses.asdict(self.info) | {"first_pts": self.counts.decode.first_pts}
        del video["path"]
        video["name"] = self.info.name
        if not self.info.files:
            del video["files"]
        for name in ("rate", "time_base"):
            video[name] = str(video[name]) if video[name] else None
        joints, betas = body_size(self.models.regressor.manifest)
        body = self.models.regressor.manifest.body
        return {
            "software": f"cliffvid {version()}",
            "video": video,
            "settings": settings,
            "models": [
                {
                    "name": session.manifest.name,
                    "task": session.manifest.task,
                    "sha256": session.manifest.files[MODEL_FILES[session.precision]],
                    "licence": session.manifest.licence,
                    "backend": session.backend,
                    "device": session.device,
                    "precision": session.precision,
                }
                for session in (self.models.detector, self.models.regressor)
            ],
            "body": {
                "name": body,
                "joints": joints,
                "betas": betas,
                "note": f"pose and betas belong to the body {body!r} and to no other",
            },
            "counts": dataclasses.asdict(self.counts),
            "complete": self.counts.decode.damaged == 0,
        }


@dataclass(frozen=True)
class Report:
    """What one run did."""

    video: Path | str
    output: Path
    complete: bool
    frames: int
    people: int  # rows: one person in one frame
    tracks: int
    seconds: float
    busy_s: dict[str, float]  # per stage, in its own work
    detector: str
    regressor: str
    warnings: list[str]

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def bound_by(self) -> str:
        """The stage that worked most, and for how much of the run."""
        name = max(self.busy_s, key=self.busy_s.get)
        return f"{name} (at work {self.busy_s[name] / self.seconds:.0%} of the time)"

    def as_dict(self) -> dict:
        """The report as plain values, for JSON."""
        paths = {"video": str(self.video), "output": str(self.output)}
        status = {"status": "ok" if self.complete else "partial", "frames_per_s": self.frames_per_s}
        return dataclasses.asdict(self) | paths | status | {"bound_by": self.bound_by}


def stream(video: str | Path, options: Options | None = None, models: Models | None = None) -> Iterator[Tracks]:
    """The tracks of each frame with people, lazily, as they become ready. Raises what ``process`` raises."""
    options = options or Options()
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        yield from stack.enter_context(Run(source_of(video), options, models)).tracks()


def process(
    video: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    models: Models | None = None,
    watch: Callable[[Run], None] = lambda run: None,
) -> Report:
    """Write the tracks of a video to ``out`` and report.

    ``models``: open networks to use again and again; ``watch`` is handed the run when it starts.
    Raises UsageError, InputError, ModelError, BackendError or OutputError; then nothing of ``out`` is left behind.
    """
    video, out, options = source_of(video), Path(out), options or Options()
    check_output(video, out, options)
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        run = stack.enter_context(Run(video, options, models))
        joints, betas = body_size(models.regressor.manifest)
        like = Tracks.empty(pose=3 * (joints - 1), shape=betas)
        writer = stack.enter_context(_writer(out, options, like, models.regressor.manifest.body))
        watch(run)
        start = time.perf_counter()
        for tracks in run.tracks():
            writer.write(tracks)
        writer.finish(run.meta())
        seconds = time.perf_counter() - start
    counts, waited = run.counts, run.stages.stages[-1].consumer_wait_s
    return Report(
        video=video,
        output=out,
        complete=counts.decode.damaged == 0,
        frames=counts.decode.frames,
        people=counts.rows,
        tracks=counts.tracks,
        seconds=seconds,
        busy_s=run.stages.busy_s() | {TRACK_AND_WRITE: seconds - waited},
        detector=models.detector.manifest.name,
        regressor=models.regressor.manifest.name,
        warnings=counts.warnings(),
    )


def _writer(out: Path, options: Options, like: Tracks, body: str) -> Writer:
    format = output_format(out, options)
    if format == "cliff":
        from .cliff_npz import CliffWriter

        return CliffWriter(out, like, body)
    return WRITERS[format](out, like)


def output_format(out: Path, options: Options) -> str:
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    return by_suffix.get(out.suffix.lower(), "parquet") if options.format == "auto" else options.format


def check_output(video: Path | str, out: Path, options: Options) -> None:
    """Raise UsageError if ``out`` must not be written."""
    if out.is_dir():
        raise UsageError(f"{out}: a folder; name the file to write")
    if out.exists() and isinstance(video, Path) and video.exists() and out.samefile(video):
        raise UsageError(f"{out}: is the video itself; choose another output")
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out}: exists already; give --overwrite to replace it, or another -o")


def version() -> str:
    from importlib.metadata import version

    return version("cliffvid")
