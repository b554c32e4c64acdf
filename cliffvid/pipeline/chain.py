"""The chain of stages, through which any number of videos pass at a time."""

import math
from collections.abc import Iterable, Iterator
from typing import Self

from ..concurrency import Stages
from ..models.batch_size import settled
from ..options import Options
from ..tables import Piece
from .batching import rebatch
from .crop import check_crop, crop
from .detect import detect
from .networks import Models
from .regress import regress
from .upload import BATCHES_HELD, uploaded


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
