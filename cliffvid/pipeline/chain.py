"""Chain the stages and pass any number of videos through them at a time. Start reading at ``Chain.bodies``."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Self

from ..concurrency import Sources, Stages
from ..models.batch_size import videos_at_once, with_batch_sizes
from ..option import check
from ..options import Options
from ..tables import Bodies, Frames
from .batching import Batch, Part, R, S, joined, lifted, rebatch, rows_in
from .counts import Counts
from .crop import check_crop, crop
from .detect import Found, detect, given
from .interpolate import detect_some
from .networks import Models
from .regress import Regressed, regress
from .upload import BATCHES_HELD, uploaded


class Chain:
    """Decodes, detects, crops and regresses any number of videos. A context manager that stops its threads on exit."""

    def __init__(self, options: Options, models: Models, keep_spans: bool = False) -> None:
        check(not models.closed, "these models are closed: use them within `with open_models(...) as models`")
        check_crop(models.regressor.manifest, options)  # the caller may have opened the networks with other options
        self.options, self.models = with_batch_sizes(options, models.detector, models.regressor), models
        self.stages = Stages(options.prefetch, keep_spans)
        # For progress display: expected videos if known, finished videos, rows written, and each video's frame count.
        self.expected, self.done, self.rows = 1, 0, 0
        self.claimed: list[int | None] = []
        self._asked = {"detect": [0, 0], "regress": [0, 0]}  # batches and rows of each network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stages.__exit__()

    def bodies(self, videos: Sources[Batch[Frames]]) -> Iterator[Part[Bodies]]:
        """Yield the bodies of all people in all videos, in order within each video, then that video's end marker.

        ``videos``: the frames of each video, see ``VideoRun.parts``; None for none now, see ``Stages.merged``. A batch
        may mix several videos. Call it only once.
        """
        options, models, sizes = self.options, self.models, self.batch_sizes()
        decoded = self.stages.merged("decode", "frames", videos, videos_at_once(options), rows_in)
        frames, parts = rebatch(decoded, sizes["detect"]), math.inf
        if models.pictures_on_device:
            put = partial(uploaded, session=models.sessions[0])
            frames, parts = self._ahead("upload", "frames", lifted(put, frames)), BATCHES_HELD
        cut = partial(crop, manifest=models.regressor.manifest, options=options)
        crops = self._ahead("crop", "people", lifted(cut, self._found(frames)))
        crops = joined(rebatch(crops, sizes["regress"], parts))
        pose = self._counted("regress", partial(regress, session=models.regressor))
        posed = self._ahead("regress", "people", lifted(pose, crops, note_regressed))
        for batch in posed:
            for part in batch:
                yield Part(part.video, part.rows.bodies if part.rows is not None else None, part.cut)

    def _found(self, frames: Iterator[Batch[Frames]]) -> Iterator[Batch[Found]]:
        """Yield the frames with their people: by the detector, or by boxes that are given."""
        options = self.options
        if self.models.detector is None:
            return with_known_boxes(frames)
        find = self._counted("detect", partial(detect, session=self.models.detector, options=options))
        if options.detect_every > 1:
            people = detect_some(frames, find, options.detect_every * options.stride)
        else:
            people = lifted(find, frames, note_detected)
        return self._ahead("detect", "frames", people)

    def _ahead(self, name: str, unit: str, batches: Iterator[Batch[R]]) -> Iterator[Batch[R]]:
        return self.stages.ahead(name, unit, batches, rows_in)

    def _counted(self, network: str, stage: Callable[[list[R]], list[S]]) -> Callable[[list[R]], list[S]]:
        asked = self._asked[network]

        def counted(tables: list[R]) -> list[S]:
            rows = sum(map(len, tables))
            asked[:] = asked[0] + (rows > 0), asked[1] + rows
            return stage(tables)

        return counted

    def batch_sizes(self) -> dict[str, int]:
        """Return the batch size of each network: frames for the detector, people for the regressor."""
        return {"detect": int(self.options.frame_batch), "regress": int(self.options.person_batch)}

    def batch_fill(self) -> dict[str, float]:
        """Return the mean fill ratio of each network's batches, 0 to 1."""
        sizes = self.batch_sizes()
        return {name: rows / (batches * sizes[name]) for name, (batches, rows) in self._asked.items() if batches}


def with_known_boxes(batches: Iterable[Batch[Frames]]) -> Iterator[Batch[Found]]:
    """Yield each batch with the people whose boxes its videos know."""
    for batch in batches:
        found: Batch[Found] = []
        for part in batch:
            if part.rows is None:
                found.append(Part(part.video))
                continue
            assert part.video.boxes is not None, "without a detector, videos need boxes"
            known = given(part.rows, part.video.boxes)
            note_detected(part.video.counts, known)
            found.append(Part(part.video, known))
        del batch  # free it before the next one is requested; same for ``found``
        yield found
        del found


def note_detected(counts: Counts, found: Found) -> None:
    """Add the detection counts to a video's counts."""
    counts.detect.add(found.counts)


def note_regressed(counts: Counts, regressed: Regressed) -> None:
    """Add the regression counts to a video's counts."""
    counts.regress.add(regressed.counts)
