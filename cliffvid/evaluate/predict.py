"""Predict bodies from ground-truth boxes, without a detector, as the paper's protocol requires."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import InputError
from ..options import Options
from ..pipeline.batching import Batch, Part, lifted, rebatch, rows_in
from ..pipeline.chain import Chain, note_regressed
from ..pipeline.crop import crops
from ..pipeline.detect import Found
from ..pipeline.networks import Models, no_tracks
from ..pipeline.regress import regress
from ..pipeline.track import track
from ..pipeline.video_run import VideoRun
from ..tables import Bodies, Crops, Int32, People, Tracks
from ..tracks.write import open_writer
from ..video.image_files import is_image
from .evaluate import PROTOCOLS, image_key
from .ground_truth import Truth

# Fields of Options that are not used here, so not recorded.
OF_THE_DETECTOR = ("detector", "detector_shape", "score", "iou_max", "max_people", "focal_px", "fov_deg")


def predict(truth: Truth, images: Path, out: Path, options: Options, models: Models) -> int:
    """Write tracks predicted from ground-truth boxes, enlarged 1.2 times, and focal length; return the row count.

    ``track_id`` is the ground-truth person, from 1. Raises InputError if images are missing, OutputError.
    """
    options = replace(options, box_scale=PROTOCOLS["paper"].box_scale)
    like, count = no_tracks(models.regressor.manifest), 0
    chain = Chain(options, models)
    with TrueBoxes(images_of(truth, images), chain, truth) as run, chain:
        known = run.meta()
        del known["video"]  # the display size is known only after a frame is read
        with open_writer("parquet", out, like, known, options.overwrite) as writer:
            for tracks in run.tracks():
                writer.write(tracks)
                count += len(tracks)
            writer.finish(run.meta())
    return count


def images_of(truth: Truth, images: Path) -> Path:
    """Return the folder of a sequence's images within ``images``. Raises InputError if there is none."""
    person, _, rest = truth.name.partition("_")
    candidates = [images / truth.name, images / person / rest / "images", images / rest / "images", images]
    for folder in candidates[-1:] if truth.files else candidates:
        if folder.is_dir() and any(is_image(path) for path in folder.iterdir()):
            return folder
    raise InputError(f"{images}: no images of {truth.name} there; looked for {', '.join(map(str, candidates[:3]))}")


class TrueBoxes(VideoRun):
    """A run that takes its people from ground truth."""

    def __init__(self, images: Path, chain: Chain, truth: Truth) -> None:
        super().__init__(images, chain)
        self._truth = truth
        self._person: dict[tuple[float, bytes], int] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        truth = self._truth
        numbers = np.arange(len(self.info.files))
        if truth.files:
            place = {image_key(name): i for i, name in enumerate(truth.files)}
            numbers = np.array([place.get(image_key(name), -1) for name in self.info.files])
        wanted = np.unique(truth.frame_idx[truth.evaluated])
        if not np.isin(wanted, numbers).all():
            missing = int((~np.isin(wanted, numbers)).sum())
            self.__exit__()
            raise InputError(f"{self.video}: {missing} of the {len(wanted)} images of {truth.name} are not there")
        self._numbers = numbers
        return self

    def meta(self) -> dict[str, Any]:
        """Return the metadata of a run without the detector's model and settings."""
        meta = super().meta()
        settings = {name: value for name, value in meta["settings"].items() if name not in OF_THE_DETECTOR}
        settings |= {"boxes": f"ground truth of {self._truth.dataset}", "focal": "ground truth"}
        models = [model for model in meta["models"] if model["task"] == "regress"]
        return meta | {"settings": settings, "models": models}

    def tracks(self) -> Iterator[Tracks]:
        """Yield the tracks of all frames with people, in order. Call it only once."""
        ahead = self.chain.stages.ahead
        crops = rebatch(ahead("crop", "people", self._cropped(), rows_in), self.chain.batch_sizes()["regress"])
        pose = partial(regress, session=self.models.regressor)
        posed = ahead("regress", "people", lifted(pose, crops, note_regressed), rows_in)
        bodies = (part.rows.bodies for batch in posed for part in batch if part.rows is not None and len(part))
        for tracks in track(bodies, self):
            self.counts.add(tracks)
            yield tracks

    def update(self, bodies: Bodies, starts: Sequence[int], shots: Sequence[int]) -> Int32:
        """Return the track ids (P,) of some people, like a Tracker, but from ground truth."""
        rows = zip(bodies.time_s.tolist(), bodies.bbox_xyxy, strict=True)
        return np.array([self._person.pop((time_s, box.tobytes())) + 1 for time_s, box in rows], np.int32)

    def _cropped(self) -> Iterator[Batch[Crops]]:
        """Yield the crops of each frame's ground-truth people, then an end marker."""
        truth, manifest = self._truth, self.models.regressor.manifest
        for frames in self.source.frames(1, self.counts.decode):
            rows = np.flatnonzero((truth.frame_idx == self._numbers[frames.frame_idx[0]]) & truth.evaluated)
            rows = rows[np.isfinite(truth.bbox_xyxy[rows]).all(axis=1)]
            if not len(rows):
                continue
            times = max(1, round(truth.size_wh[0] / frames.size_wh[0]))
            boxes = (truth.bbox_xyxy[rows] / times).astype(np.float32)
            for row, box in zip(rows, boxes, strict=True):
                self._person[float(frames.time_s[0]), box.tobytes()] = int(truth.person[row])
            people = People(
                frame_idx=np.repeat(frames.frame_idx, len(rows)),
                pts=np.repeat(frames.pts, len(rows)),
                time_s=np.repeat(frames.time_s, len(rows)),
                det_score=np.ones(len(rows), np.float32),
                bbox_xyxy=boxes,
                flags=np.zeros(len(rows), np.uint16),
            )
            known = replace(self.options, focal_px=float(truth.focal_px[rows[0]] / times), fov_deg=None)
            yield [Part(self, crops(Found(frames, people), manifest, known))]
        yield [Part(self)]
