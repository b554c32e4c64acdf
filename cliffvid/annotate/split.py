"""Process long inputs in segments, join finished segments, or fall back to processing the whole input."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from ..pipeline.counts import Counts, DetectCounts, RegressCounts
from ..video.reader import DecodeCounts
from .messages import Join, Processed, Segment, SegmentEvent
from .plan import Plan
from .scheduler import Scheduler
from .store.dataset import writing
from .store.journal import Log
from .store.ownership import WORK
from .store.place import Place
from .store.records import CountsFacts, Result, SegmentLine
from .store.state import cut_key
from .task_runs import counts_facts

Plain: TypeAlias = Any  # counts as plain values: a number, a list, or a dict of these


class SegmentMerger:
    """Merger of the segments of one run. ``tell`` is called for each finished segment."""

    def __init__(
        self,
        plan: Plan,
        place: Place,
        journal: Log,
        tasks: Scheduler,
        stride: int,
        tell: Callable[[SegmentEvent], None],
    ) -> None:
        self.plan, self.place, self.journal, self.tasks, self.stride = plan, place, journal, tasks, stride
        self._tell = tell

    def take(self, done: Segment, processed: Processed) -> None:
        """Record a finished segment in the journal."""
        name, result = done.video, processed.result
        line = self.plan.lines.get(name)
        if not line or not line["cuts"]:
            return  # another segment has shown that the input cannot be split
        decode = result["counts"]["decode"]
        if decode["damaged"] or decode["clock_jumps"]:
            self.refuse(name)
            return
        kept: SegmentLine = {
            "type": "segment",
            "cut_key": cut_key(line),
            "part": done.part,
            "thumbs": processed.thumbs or "",
            **result,
        }
        with writing(self.place.folder):
            self.place.keep(_files_of([kept]))
            self.journal.append(kept)
        self._tell({"type": "segment", "video": name, "part": done.part, "of": len(line["cuts"]) + 1})
        self.join_if_whole(name)

    def join_if_whole(self, name: str) -> None:
        """Schedule the join of an input whose segments are all finished."""
        line, parts = self.plan.lines[name], self._parts(name)
        if len(parts) <= len(line["cuts"] or []):
            return
        if counts_of([part["counts"] for part in parts]).decode.frames != -(-(line["frames"] or 0) // self.stride):
            self.refuse(name)  # the split points were wrong
            return
        for file in _files_of(parts):
            self.place.local(file)
        files = tuple(part["file"] for part in parts if part["file"])
        self.tasks.add_first([Join(video=name, files=files, thumbs=tuple(part["thumbs"] for part in parts))])

    def refuse(self, name: str) -> None:
        """Process the input whole instead: its segments may not give the same rows."""
        line = self.plan.lines.get(name)
        if not line or not line["cuts"]:
            return
        line["cuts"], line["kind"] = [], "long, refuses cuts"
        self.tasks.drop(name)
        with writing(self.place.folder):
            self.journal.append(line)
        self.tasks.add_first(self.plan.tasks_of(name))

    def whole(self, name: str, joined: Result) -> Result:
        """Return the result of a join as if the input had not been split."""
        parts = self._parts(name)
        counts = counts_of([*(part["counts"] for part in parts), joined["counts"]])
        return {
            "rows": joined["rows"],
            "file": joined["file"],
            "counts": counts_facts(counts),
            "warnings": counts.warnings(),
            "seconds": sum(part["seconds"] for part in parts) + joined["seconds"],
            "codec": parts[0]["codec"],
            "width_px": parts[0]["width_px"],
            "height_px": parts[0]["height_px"],
            "rate": parts[0]["rate"],
        }

    def remove(self, name: str) -> None:
        """Remove the files of an input's segments, once the whole is in the data set."""
        for file in _files_of(self._parts(name)):
            self.place.remove(file)

    def _parts(self, name: str) -> list[SegmentLine]:
        parts = self.journal.state.segments.get(cut_key(self.plan.lines[name]), {})
        return [parts[part] for part in sorted(parts)]


def _files_of(parts: list[SegmentLine]) -> list[str]:
    """Return the work files of segments."""
    return [f"{WORK}/{file}" for part in parts for file in (part["file"], part["thumbs"]) if file]


def counts_of(parts: list[CountsFacts]) -> Counts:
    """Return the sum of the counts of all parts of a video, given as plain values."""

    def added(plain: Sequence[Mapping[str, Plain]]) -> dict[str, Plain]:
        total: dict[str, Plain] = {}
        for name in dict.fromkeys(chain.from_iterable(plain)):
            values = [part[name] for part in plain if name in part]  # an earlier version may not have counted it
            if name == "first_pts":
                total[name] = values[0]
            else:
                nested = isinstance(values[0], dict)
                total[name] = added(values) if nested else sum(values, [] if name in ("shots", "moving") else 0)
        return total

    total = added(parts)
    kinds = {"decode": DecodeCounts, "detect": DetectCounts, "regress": RegressCounts}
    return Counts(**total | {name: kind(**total[name]) for name, kind in kinds.items()})
