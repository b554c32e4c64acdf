"""Videos through the stages, several at a time. Start reading here: ``Flow.bodies`` is the pipeline."""

import dataclasses
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from .concurrency import Stages, closed_at_exit, rebatch
from .crop import check_crop, crop
from .detect import detect
from .errors import ModelError
from .machine import release_memory
from .models.batch_size import settled
from .models.manifest import MODEL_FILES, Manifest, canvas_shape
from .models.precision import choose
from .models.registry import find_model
from .models.session import Session, open_session
from .options import Options
from .pictures import BATCHES_HELD, landed, on_device, uploaded
from .regress import regress
from .summary import Counts
from .tables import Bodies, Piece, Tracks, VideoInfo
from .track import Tracker, by_frame, track
from .video.images.gpu import Surface
from .video.open import open_source, source_of
from .video.shots import CutFinder

# Settings that change how a result is made but not the result: left out of the file, so that its bytes stay the same.
NOT_RECORDED = (
    "models_dir",
    "threads",
    "frame_batch",
    "person_batch",
    "prefetch",
    "videos_at_once",
    "gate_rotation_median_deg",
    "gate_rotation_p99_deg",
    "gate_persons_percent",
    "overwrite",
    "format",
    "max_frame_mpx",
    "allow_network",
)


@dataclass(frozen=True)
class Models:
    """The two networks of a run, open; a context manager. One pair serves any number of videos in turn."""

    detector: Session
    regressor: Session
    chosen: tuple[str, ...] = ()  # what --precision auto took for each, and why
    pictures_on_device: bool = False  # letterbox and crops are made where the networks run

    def take_warnings(self) -> list[str]:
        """What a user should know of how they ran, each thing once."""
        said = []
        for session in (self.detector, self.regressor):
            said += session.warnings
            session.warnings.clear()
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Give the networks' memory back; to be called once or more."""
        self.detector.close()
        self.regressor.close()
        release_memory()


def open_models(options: Options) -> Models:
    """The networks the options ask for. Raises UsageError, ModelError or BackendError."""
    with ExitStack() as opened:
        sessions, chosen = [], []
        for task, name in (("detect", options.detector), ("regress", options.regressor)):
            manifest = find_model(task, name, options.models_dir)
            backend, precision = options.backend, options.precision
            if precision == "auto":
                choice = choose(manifest, options)
                backend, precision = choice.backend, choice.precision
                chosen.append(choice.words)
            session = open_session(manifest, backend, options.device, options.threads, precision)
            sessions.append(opened.enter_context(session))
        canvas_shape(sessions[0].manifest, options)
        check_crop(sessions[1].manifest, options)
        body_size(sessions[1].manifest)
        opened.pop_all()
        return Models(*sessions, tuple(chosen), on_device(*sessions))


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


class Flow:
    """The chain of stages, through which any number of videos pass; a context manager that leaves no thread behind."""

    def __init__(self, options: Options, models: Models, keep_spans: bool = False) -> None:
        check_crop(models.regressor.manifest, options)  # networks that others opened may be for other options
        self.options, self.models = settled(options, models.detector, models.regressor), models
        self.stages = Stages(options.prefetch, keep_spans)
        # For who watches: videos to come if that is known, what each that was opened claims, what came out.
        self.expected, self.claimed, self.done, self.rows = 1, [], 0, 0
        self._asked = {"detect": [0, 0], "regress": [0, 0]}  # batches, and rows in them, of each network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stages.__exit__()

    def bodies(self, sources: Iterable[Iterator[list[Piece]]]) -> Iterator[Piece]:
        """Pieces of Bodies, each run's in order and after them its end; to be called once. See ``Run.pieces``.

        Networks are asked about frames and people of several runs at once.
        """
        options, ahead = self.options, self.stages.ahead
        detector, regressor = self.models.detector, self.models.regressor
        frames = self.stages.merged("decode", "frames", sources, options.videos_at_once)
        frames, pieces = rebatch(frames, options.frame_batch), math.inf
        if self.models.pictures_on_device:
            frames, pieces = ahead("upload", "frames", uploaded(frames, detector)), BATCHES_HELD
        found = ahead("detect", "frames", detect(self._counted("detect", frames), detector))
        cropped = ahead("crop", "people", crop(found, regressor.manifest))
        people = self._counted("regress", rebatch(cropped, options.person_batch, pieces))
        bodies = ahead("regress", "people", regress(people, regressor))
        for batch in bodies:
            yield from batch

    def _counted(self, network: str, batches: Iterable[list[Piece]]) -> Iterator[list[Piece]]:
        asked = self._asked[network]
        for batch in batches:
            rows = sum(map(len, batch))
            asked[:] = asked[0] + (rows > 0), asked[1] + rows
            yield batch

    def batch_sizes(self) -> dict[str, int]:
        """How many frames, and people, each network is given at once."""
        return {"detect": self.options.frame_batch, "regress": self.options.person_batch}

    def batch_fill(self) -> dict[str, float]:
        """How full the batches of each network were, 0 to 1."""
        sizes = self.batch_sizes()
        return {name: rows / (batches * sizes[name]) for name, (batches, rows) in self._asked.items() if batches}


class Run:
    """One open video; a context manager. By itself it has a Flow of its own."""

    def __init__(self, video: Path | str, options: Options, models: Models) -> None:
        self.flow = Flow(options, models)
        self.options, self.models = self.flow.options, models
        self.counts, self.cuts = Counts(), CutFinder()
        # Networks see the decoder's own planes, or FFmpeg's RGB: that is not made on a GPU. Nor does bwdif run there.
        stay = models.pictures_on_device and options.pixels == "planes" and not options.deinterlace
        self._video = open_source(video, options, surfaces=stay and options.decode_device == "cuda")

    @property
    def info(self) -> VideoInfo:
        return self._video.info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.flow.__exit__()
        self._video.__exit__()

    def pieces(self) -> Iterator[list[Piece]]:
        """All frames, in pieces of a batch each, and then the end; to be called once."""
        options = self.options
        span = (options.start_s, options.end_s, options.stride, options.pixels == "planes")
        for frames in self._video.frames(options.frame_batch, self.counts.decode, *span):
            thumbs = None
            if isinstance(frames.images[0], Surface):  # made RGB at once: they are memory of the decoder
                frames, thumbs = landed(frames, self.models.detector, self.info.path)
            self.counts.shots += self.cuts.find(frames, thumbs)
            yield [Piece(self, frames)]
            del frames  # before the next are decoded: a batch of 4K is 100 MB
        yield [Piece(self)]

    def bodies(self) -> Iterator[Bodies]:
        """The bodies of all people in all frames, in order, without identities; to be called once."""
        return (piece.rows for piece in self.flow.bodies([self.pieces()]) if len(piece))

    def tracks(self) -> Iterator[Tracks]:
        """The tracks of all frames with people, in order, in tables of one or more frames; to be called once."""
        for tracks in track(self.bodies(), Tracker(self.options), self.counts.shots):
            self.counts.add(tracks)
            yield tracks

    def meta(self) -> dict:
        """What the tracks file records about this run; nothing that differs between two runs of the same job."""
        settings = {k: v for k, v in dataclasses.asdict(self.options).items() if k not in NOT_RECORDED}
        settings["detector_shape"] = canvas_shape(self.models.detector.manifest, self.options)
        settings |= {"precision_chosen": list(self.models.chosen)} if self.models.chosen else {}
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


@closed_at_exit
def stream(video: str | Path, options: Options | None = None, models: Models | None = None) -> Generator[Tracks]:
    """The tracks of each frame with people, lazily, as they become ready. Raises what ``process`` raises."""
    options = options or Options()
    with ExitStack() as stack:
        models = models or stack.enter_context(open_models(options))
        for tracks in stack.enter_context(Run(source_of(video), options, models)).tracks():
            yield from by_frame(tracks)


@cache  # a file is read and parsed for it, which short clips feel
def version() -> str:
    from importlib.metadata import version

    return version("cliffvid")
