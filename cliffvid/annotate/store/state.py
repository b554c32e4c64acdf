"""The state of a data set, as its journal's lines make it, one by one."""

from dataclasses import dataclass, field
from typing import cast

from .columns import Packed, Records
from .records import Ended, EndLine, InputLine, JobLine, Line, SegmentLine


@dataclass
class State:
    """State of a data set, replayed from the first line of its journal."""

    jobs: list[JobLine] = field(default_factory=list)
    found: dict[str, None] = field(default_factory=dict)  # names of inputs that were not looked at yet
    inputs: Records[InputLine] = field(default_factory=Records)  # name -> its "input" line
    live: Records[Ended] = field(default_factory=Records)  # name -> its last result: status, key, file, rows ...
    hashes: dict[str, str] = field(default_factory=dict)  # file -> sha256, including replaced shards
    segments: dict[str, dict[int, SegmentLine]] = field(default_factory=dict)  # cut_key -> part -> its "segment" line
    end: EndLine | None = None  # of the last run, once it ended
    is_merged: bool = False  # into another data set, and no run has begun since

    def apply(self, line: Line) -> None:
        match line["type"]:
            case "job":
                self.jobs.append(line)
                self.end, self.is_merged = None, False
            case "found":
                new = [name for name in line["videos"] if name not in self.inputs] if self.inputs else line["videos"]
                self.found.update(dict.fromkeys(new))
            case "input":
                self.inputs[line["video"]] = line
                self.found.pop(line["video"], None)
            case "inputs":
                rows = Packed[InputLine](
                    {"type": ["input"], **cast(Packed[InputLine], line["videos"]).columns}, len(line["videos"])
                )
                names = cast(list[str], list(rows.values("video")))
                self.inputs.put(names, rows)
                for name in names if self.found else ():
                    self.found.pop(name, None)
            case "done":
                if line["file"] and line["sha256"] is not None:
                    self.hashes[line["file"]] = line["sha256"]
                for name in line.get("forget", ()):
                    self.live.pop(name, None)
                if isinstance(line["videos"], Packed):
                    self._put_done(line["videos"], line["file"])
                    return
                for video in line["videos"]:
                    self.live[video["video"]] = video | {"file": line["file"] if video["rows"] else None}
            case "failed":
                self.live[line["video"]] = line | {"file": None, "rows": 0}
            case "segment":
                self.segments.setdefault(line["cut_key"], {})[line["part"]] = line
            case "end":
                self.end = line
            case "merged":
                self.__dict__.update(State(jobs=self.jobs, is_merged=True).__dict__)

    def _put_done(self, rows: Packed[Ended], file: str | None) -> None:
        column: list[object] = [file]
        if file and not all(rows.values("rows")):
            column = [file if count else None for count in rows.values("rows")]
        names = cast(list[str], list(rows.values("video")))
        self.live.put(names, Packed({**rows.columns, "file": column}, len(rows)))

    def parts(self, name: str) -> dict[int, SegmentLine]:
        """Return the finished segments of an input by number."""
        return self.segments.get(cut_key(self.inputs[name]), {})

    def shards(self) -> dict[str, list[str]]:
        """Return the current files under ``tracks/``, and the names of the inputs in each."""
        files: dict[str, list[str]] = {}
        for name, file in self.live.select("file"):
            if isinstance(name, str) and isinstance(file, str):
                files.setdefault(file, []).append(name)
        return files

    def left(self) -> int:
        """Return how many inputs are neither finished nor failed."""
        return len(self.found) + len(self.inputs.keys() - self.live.keys())


def cut_key(line: InputLine) -> str:
    """Return a key for the rows of an input and its split points."""
    return f"{line['key']} {' '.join(map(str, line['cuts'] or []))}"
