"""The plan: what each input is, what of it is done already, and the tasks that are left."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Unpack

from ..errors import ChangedError
from ..models.manifest import MODEL_FILES
from ..models.registry import find_model
from ..options import BulkOptions, Options
from .inputs import Input
from .messages import Report, Task, TaskFacts
from .store.journal import State, cut_key
from .store.records import Ended, InputLine, ModelFacts

# Settings that do not change an input's rows, beside those that no tracks file records: the networks' own hashes do.
NO_KEY = ("detector", "regressor")


@dataclass(frozen=True)
class Recipe:
    """What the rows of an input depend on, but for the input: settings and networks."""

    settings: dict[str, object]
    models: list[ModelFacts]

    def key(self, content: str) -> str:
        """Names the rows that an input of this content gives."""
        settings = {name: value for name, value in self.settings.items() if name not in NO_KEY}
        models = [[model["sha256"], model["precision"]] for model in self.models]
        text = json.dumps([content, settings, models], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def recipe(options: Options) -> Recipe:
    """Of a run with these options; nothing is opened. Raises UsageError or ModelError."""
    from ..models.precision import choose
    from ..pipeline.video_run import NOT_RECORDED

    models: list[ModelFacts] = []
    for task, name in (("detect", options.detector), ("regress", options.regressor)):
        manifest = find_model(task, name, options.models_dir)
        precision = choose(manifest, options).precision if options.precision == "auto" else options.precision
        sha256 = manifest.files.get(MODEL_FILES[precision])
        models.append({"name": manifest.name, "task": task, "sha256": sha256, "precision": precision})
    settings = {name: value for name, value in options.to_json().items() if name not in NOT_RECORDED}
    return Recipe(settings, models)


@dataclass
class Plan:
    """The inputs of one run, as the journal's ``input`` lines, and what became of those that cannot be read."""

    recipe: Recipe
    state: State
    lines: dict[str, InputLine] = field(default_factory=dict)
    split_s: float = 0.0
    elsewhere: dict[str, Ended] = field(default_factory=dict)  # what the data set holds that this job is a part of
    failed: dict[str, Report] = field(default_factory=dict)  # name -> report
    kept: dict[str, Report] = field(default_factory=dict)  # finished earlier, and not there to be looked at any more

    def probe(self, name: str) -> Task:
        """The task of looking at an input; what is known already is not looked for again."""
        before = self.state.inputs.get(name)
        same = before and before["kind"] != "unreadable" and before["split_s"] == self.split_s
        return task("probe", name, 0, known=before["content"] if before and same else None, split_s=self.split_s)

    def take(self, given: Input, report: Report) -> None:
        """What probing an input answered."""
        name, before = given.name, self.state.inputs.get(given.name)
        done = name in self.state.live and self.state.live[name]["status"] != "failed"
        if "error" in report and "content" not in report and done and before:
            self.kept[name], self.lines[name] = report, before
            return
        content = report.get("content") or report["error"]
        facts = before if before and "error" not in report and "kind" not in report else report
        self.lines[name] = {
            "type": "input",
            "video": name,
            "key": self.recipe.key(content),
            "content": content,
            "kind": facts.get("kind"),
            "duration_s": facts.get("duration_s"),
            "frames": facts.get("frames"),
            "cuts": facts.get("cuts"),
            "split_s": self.split_s,
            "extra": given.extra,
        }
        if "error" in report:
            self.failed[name] = report
            self.lines[name]["kind"] = "unreadable"

    def finished(self, name: str) -> Ended | None:
        """How an input ended, if it did: here, or where this job's part belongs."""
        if name in self.state.live:
            return self.state.live[name]
        there = self.elsewhere.get(name)
        return there if there and there["key"] == self.lines[name]["key"] else None

    def changed(self) -> list[InputLine]:
        """The lines that the journal does not have as they are."""
        return [
            line
            for name, line in self.lines.items()
            if self.state.inputs.get(name) != plain(line) and (name in self.state.live or not self.finished(name))
        ]

    def stale(self, retry_failed: bool) -> list[str]:
        """The inputs that ended in another state than this plan would leave them in."""
        ended = ((name, self.state.live[name]) for name in self.lines if name in self.state.live)
        return [
            name
            for name, video in ended
            if video["key"] != self.lines[name]["key"]
            or (video["status"] == "failed" and (retry_failed or video["error"] == ChangedError.__name__))
        ]

    def tasks(self) -> list[Task]:
        """What is left to do, the longest first: small pieces at the end leave no worker idle for long."""
        tasks: list[Task] = []
        for name in self.lines:
            if not self.finished(name) and name not in self.failed:
                tasks += self.tasks_of(name)
        return sorted(tasks, key=lambda task: -task["size_s"])

    def tasks_of(self, name: str) -> list[Task]:
        """The task of an input, or those of its segments that are not in yet."""
        line = self.lines[name]
        duration_s = line["duration_s"] or (line["frames"] or 0) / 25
        if not line["cuts"]:
            return [task("whole", name, duration_s, content=line["content"])]
        done = self.state.segments.get(cut_key(line), {})
        content = line["content"]
        return [
            task("segment", name, (end or duration_s) - start, part=part, start_s=start, end_s=end, content=content)
            for part, (start, end) in enumerate(zip([0.0, *line["cuts"]], [*line["cuts"], None], strict=True))
            if part not in done
        ]


LEAST_LIMIT_S, LIMIT_PER_S = 900, 240  # seconds of work that a task, and each second of video, may take at most


def task(do: str, name: str, size_s: float, **more: Unpack[TaskFacts]) -> Task:
    return {"do": do, "video": name, "size_s": size_s, "limit_s": LEAST_LIMIT_S + LIMIT_PER_S * size_s, **more}


def plain(line: InputLine) -> object:
    """A line as the journal gives it back."""
    given: object = json.loads(json.dumps(line, default=str))
    return given


def in_part(name: str, bulk: BulkOptions) -> bool:
    """Whether an input belongs to this job's part: by its name alone, so that no job need know of the others."""
    i, n = bulk.part()
    return n == 1 or int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8]) % n == i
