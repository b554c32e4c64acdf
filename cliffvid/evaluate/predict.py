"""Predict bodies from ground-truth boxes, without a detector, as the paper's protocol requires."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..options import Options
from ..pipeline.chain import Chain
from ..pipeline.networks import Models, no_tracks
from ..pipeline.video_run import VideoRun
from ..tables import Frames, Int64
from ..tracks.boxes import Boxes
from ..tracks.write import open_writer
from ..video.image_files import is_image
from .evaluate import PROTOCOLS, image_key
from .ground_truth import Truth

OF_THE_CAMERA = "focal_px", "fov_deg"  # fields of Options that are not used here, so not recorded


def predict(truth: Truth, images: Path, out: Path, options: Options, models: Models) -> int:
    """Write tracks predicted from ground-truth boxes, enlarged 1.2 times, and focal length; return the row count.

    ``track_id`` is the ground-truth person, from 1. ``options.boxes`` is the file of ``truth``. Raises InputError if
    images are missing, OutputError.
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
    """A run that takes boxes, identities and focal lengths from ground truth."""

    def __init__(self, images: Path, chain: Chain, truth: Truth) -> None:
        super().__init__(images, chain)
        self._truth = truth

    def known_boxes(self) -> Boxes:
        """Return the boxes of all people that are evaluated. Raises InputError if images are missing."""
        truth = self._truth
        self._numbers = np.arange(len(self.info.files))  # of each image in the ground truth
        if truth.files:
            place = {image_key(name): i for i, name in enumerate(truth.files)}
            self._numbers = np.array([place.get(image_key(name), -1) for name in self.info.files])
        wanted = np.unique(truth.frame_idx[truth.evaluated])
        if not np.isin(wanted, self._numbers).all():
            missing = int((~np.isin(wanted, self._numbers)).sum())
            raise InputError(f"{self.video}: {missing} of the {len(wanted)} images of {truth.name} are not there")
        rows = [self._rows(frame_idx) for frame_idx in range(len(self._numbers))]
        row = np.concatenate([np.zeros(0, np.int64), *rows])
        return Boxes(
            frame_idx=np.repeat(np.arange(len(rows)), [len(each) for each in rows]),
            bbox_xyxy=(truth.bbox_xyxy[row] / self._times).astype(np.float32),
            det_score=np.ones(len(row), np.float32),
            track_id=truth.person[row].astype(np.int32) + 1,
        )

    @property
    def _times(self) -> int:
        """Return how many times smaller the images are than those of the ground truth."""
        return max(1, round(max(self._truth.size_wh) / max(self.info.width_px, self.info.height_px)))

    def _rows(self, frame_idx: int) -> Int64:
        """Return the rows of ground truth in an image."""
        truth = self._truth
        rows = np.flatnonzero((truth.frame_idx == self._numbers[frame_idx]) & truth.evaluated)
        return rows[np.isfinite(truth.bbox_xyxy[rows]).all(axis=1)]

    def check_boxes(self, frames: Frames | None) -> None:
        """Raise nothing: ground truth may be outside the frame."""

    def with_camera(self, frames: Frames) -> Frames:
        """Return frames with the focal lengths of the ground truth."""
        first = [self._rows(frame_idx)[:1] for frame_idx in frames.frame_idx.tolist()]
        focal_px = [self._truth.focal_px[row[0]] / self._times if len(row) else np.nan for row in first]
        return replace(frames, focal_px=np.array(focal_px, np.float64))

    def meta(self) -> dict[str, Any]:
        """Return the metadata of a run, with ground truth for the settings of the camera."""
        meta = super().meta()
        settings = {name: value for name, value in meta["settings"].items() if name not in OF_THE_CAMERA}
        settings |= {"boxes": f"ground truth of {self._truth.dataset}", "focal": "ground truth"}
        return meta | {"settings": settings}
