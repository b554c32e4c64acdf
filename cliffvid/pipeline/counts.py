"""Count what was read, what was written and what was dropped in between."""

from dataclasses import dataclass, field

from ..names import listed
from ..tables import FLAG_BITS, Tracks
from ..video.reader import DecodeCounts


@dataclass
class DetectCounts:
    """Counts of detections, in people."""

    people: int = 0  # passed to the next stage
    frames: int = 0  # that the detector saw
    too_thin: int = 0
    over_max_people: int = 0
    frames_full: int = 0  # frames in which all candidates exceeded the score threshold: some people may be missing

    def add(self, more: "DetectCounts") -> None:
        self.people += more.people
        self.frames += more.frames
        self.too_thin += more.too_thin
        self.over_max_people += more.over_max_people
        self.frames_full += more.frames_full


@dataclass
class RegressCounts:
    """Counts of regression."""

    nobody: int = 0  # crops dropped because the regressor saw no person in them

    def add(self, more: "RegressCounts") -> None:
        self.nobody += more.nobody


@dataclass
class Counts:
    """Counts of what was read, what was written and what was dropped in between."""

    decode: DecodeCounts = field(default_factory=DecodeCounts)
    detect: DetectCounts = field(default_factory=DetectCounts)
    regress: RegressCounts = field(default_factory=RegressCounts)
    rows: int = 0
    tracks: int = 0
    shots: list[tuple[int, int]] = field(default_factory=list)  # (frame_idx, shot) at each shot boundary
    moving: list[int] = field(default_factory=list)  # shots in which the camera moves
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAG_BITS, 0))

    def __post_init__(self) -> None:
        self._ids: set[int] = set()  # which may be any numbers, where they came with the boxes

    def add(self, tracks: Tracks) -> None:
        self.rows += len(tracks)
        self._ids.update(tracks.track_id.tolist())
        self.tracks = len(self._ids)
        flagged = tracks.flags[tracks.flags != 0]
        for name, bit in FLAG_BITS.items() if len(flagged) else ():
            self.flags[name] += int((flagged & bit != 0).sum())

    def warnings(self) -> list[str]:
        decode = self.decode
        names = {kind: listed(found, getattr(decode, kind, 0)) for kind, found in decode.notes.items()}
        damaged = "damaged or missing pieces of video: what they showed is not in the result"
        if "damaged" in names:
            damaged = f"of the images could not be read: {names['damaged']}; {names['why']}"
        warnings_by_count = [
            (decode.frames == 0, "no frame is between --start and --end"),
            (decode.damaged, damaged),
            (decode.scaled, f"of the images hold floating-point values, 1 taken for white: {names.get('scaled')}"),
            (decode.clock_jumps, "jumps back in the video's clock: time_s goes on without them"),
            (decode.hdr, "HDR frames: colours brighter than white were cut off"),
            (
                decode.interlaced,
                "interlaced frames, two moments woven into each: --deinterlace makes them whole",
            ),
            (decode.ignored_files, f"of the folder's files left out, as no images: {names.get('ignored_files')}"),
            (self.detect.frames_full, "frames with more candidates than the detector can name: people may be missing"),
            (self.detect.over_max_people, "people left out by --max-people"),
            (self.regress.nobody, "boxes dropped: the regressor sees no person in them"),
            (self.detect.too_thin, "boxes left out as too thin to show a person"),
            (self.flags["bad_camera"], "rows with an impossible camera: their transl is flagged"),
            (self.flags["implausible"], "rows whose body does not fit what was seen: flagged as implausible"),
        ]
        return [what if count is True else f"{count} {what}" for count, what in warnings_by_count if count]
