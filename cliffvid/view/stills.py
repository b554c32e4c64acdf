"""Draw results on still images, as the official demo does: boxes, front view and side view of the bodies."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..concurrency import Stages
from ..errors import OutputError, UsageError
from ..files import appearing, check_free
from ..geometry import Array
from ..option import check_choice
from ..options import Options
from ..tables import Frames, Tracks
from ..tracks.meta import Meta
from ..tracks.read import read_both
from ..tracks.write import SUFFIXES
from ..video.image_files import Images
from ..video.open import open_source
from ..video.reader import DecodeCounts
from .draw import Pixels, draw_boxes, draw_ids
from .options import VISUALS, OverlayOptions
from .overlay import AHEAD, Painter, Shot, SideCamera, mean_depth_m, people_in

QUALITY = 92  # of the JPEGs


def visuals_of(text: str) -> tuple[str, ...]:
    """Return the kinds in a list such as ``bbox,front``. Raises UsageError for an unknown kind."""
    kinds = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for kind in kinds:
        check_choice("--visuals", kind, VISUALS)
    return kinds


class Stills:
    """The visualizations of one input, drawn in a second pass over its images.

    For a single image they are written next to the result ``out``, as ``a_bbox.jpg``. For a folder or pattern they are
    written to the folder ``<out>_visuals``, named after each image. Raises UsageError if the input is a video,
    InputError if it does not exist.
    """

    def __init__(self, source: Path | str, out: Path, kinds: tuple[str, ...], options: Options) -> None:
        self.source, self.out, self.kinds, self.options = source, out, kinds, options
        with open_source(source, options) as images:
            if not isinstance(images, Images):
                raise UsageError(f"{source}: --visuals draws images; for a video use --overlay OUT.mp4")
            files = images.files
        name = out.name.removesuffix(SUFFIXES["cliff"])
        name = name if name != out.name else out.stem
        if files == [source]:
            self._places = [out.with_name(name)]
        else:
            folder = out.with_name(f"{name}_visuals")
            self._places = [folder / each for each in distinct_stems([file.name for file in files])]
        place = self._places[0] if files == [source] else folder / "*"
        self.patterns = [str(target) for target in self.targets(place).values()]  # one per kind
        self.inputs = {file.resolve() for file in files}

    def check_targets(self, inputs: set[Path]) -> None:
        """Raise UsageError if an output file exists, or would replace one of these input images."""
        for place in self._places:
            for target in self.targets(place).values():
                if target.resolve() in inputs:
                    raise UsageError(f"{target}: is one of the images to process; choose another -o")
                check_free(target, self.options.overwrite)

    def targets(self, place: Path) -> dict[str, Path]:
        """Return the output path of each kind for one image."""
        return {kind: place.with_name(f"{place.name}_{kind}.jpg") for kind in self.kinds}

    def painter(self, body: str, meta: Meta | None = None) -> Painter | None:
        """Return the painter of the bodies, None if none are requested. Raises BackendError if no renderer works."""
        views: dict[str, Literal["overlay", "side"]] = {"front": "overlay", "side": "side"}
        wanted = [views[kind] for kind in self.kinds if kind in views]
        return Painter(OverlayOptions(view="both" if len(wanted) > 1 else wanted[0]), body, meta) if wanted else None

    def draw(self) -> int:
        """Draw the rows of ``out`` and return the number of images written. Raises OutputError."""
        (rows, meta), options, count = read_both(self.out), self.options, 0
        painter = self.painter(meta["body"]["name"], meta)
        with open_source(self.source, options) as source, Stages(AHEAD) as stages:
            span = options.start_s, options.end_s, options.stride
            frames = stages.ahead("decode", "frames", source.frames(1, DecodeCounts(), *span))
            shots = painter.pose(frames, rows) if painter else _unposed(frames, rows)
            for shot in stages.ahead("pose", "frames", shots):
                for index, frame in zip(shot.frames.frame_idx, shot, strict=True):
                    targets = self.targets(self._places[index])
                    pictures = self._pictures(painter, *frame)
                    for kind, target in targets.items():
                        _save(pictures[kind], target, options.overwrite)
                        count += 1
        return count

    def _pictures(
        self, painter: Painter | None, image: Pixels, people: Tracks, vertices: Array, normals: Array | None
    ) -> dict[str, Pixels]:
        pictures: dict[str, Pixels] = {}
        if "bbox" in self.kinds:
            pictures["bbox"] = image.copy()
            draw_boxes(pictures["bbox"], people)
            draw_ids(pictures["bbox"], people, scores=True)
        if painter:
            frame = int(people.frame_idx[0]) if len(people) else 0
            side = SideCamera(mean_depth_m(people), painter.levels(people).at(frame).axes)
            pictures |= painter.views(image, people, vertices, normals, side)
        return pictures


def open_stills(
    sources: list[Path | str], outputs: list[Path], kinds: tuple[str, ...], options: Options
) -> list[Stills]:
    """Return the Stills of each input. Also raises UsageError if an output path is not allowed."""
    galleries = [Stills(*pair, kinds, options) for pair in zip(sources, outputs, strict=True)]
    inputs = set().union(*(gallery.inputs for gallery in galleries))
    for gallery in galleries:
        gallery.check_targets(inputs)
    return galleries


def distinct_stems(names: list[str]) -> list[str]:
    """Return each file's stem, or its full name where the stem would be ambiguous."""
    stems = [Path(name).stem for name in names]
    often, whole = Counter(stems), set(names)
    return [stem if often[stem] == 1 and stem not in whole else name for stem, name in zip(stems, names, strict=True)]


def _unposed(batches: Iterator[Frames], rows: Tracks) -> Iterator[Shot]:
    """Yield frames and people without posed bodies, which boxes do not need."""
    for frames in batches:
        people = people_in(frames, rows)
        yield Shot(frames, people, np.zeros((len(people), 0, 3), np.float32), None)


def _save(image: Pixels, path: Path, overwrite: bool) -> None:
    try:
        with appearing(path, overwrite) as file:
            Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)
    except ValueError as error:  # a JPEG is limited to 65,535 pixels per side
        raise OutputError(f"{path}: cannot write it ({error}); choose another place with -o") from error
