"""Plan a run: the state of each input, and the tasks that are left."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ChangedError
from ..models.manifest import MODEL_FILES
from ..models.registry import find_model
from ..option import check
from ..options import Options
from .inputs import Input, camera_of
from .messages import Fault, OwnCamera, Probe, Probed, Segment, Task, Whole
from .options import BulkOptions
from .store.journal import State, cut_key
from .store.ownership import PARTS
from .store.records import Ended, InputLine, ModelRecord

# Recorded settings that are not part of the key: the hashes of the networks stand for their names.
NO_KEY = ("detector", "regressor")
# Settings added later. At their defaults they are not part of the key, so that earlier data sets keep theirs.
ADDED = "detect_every", "boxes", "cx_px", "cy_px", "camera_wh_px"


@dataclass(frozen=True)
class Recipe:
    """Settings and networks, on which the rows of an input depend beside its content."""

    settings: dict[str, object]
    models: list[ModelRecord]

    def key(self, content: str, camera: OwnCamera | None = None) -> str:
        """Return a hash that identifies the rows of an input with this content, and with a camera of its own if any."""
        old = {name: getattr(Options, name) for name in ADDED}
        own: dict[str, object] = {}
        if camera and (camera["focal_px"] or camera["fov_deg"]):
            own = {**camera, "camera_wh_px": None}
        settings = {
            k: v for k, v in (self.settings | own).items() if k not in NO_KEY and not (k in old and v == old[k])
        }
        models = [[model["sha256"], model["precision"]] for model in self.models]
        text = json.dumps([content, settings, models], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def recipe(options: Options) -> Recipe:
    """Return the recipe of a run with these options. Raises UsageError, ModelError or BackendError.

    No network is opened, but where ``--precision auto`` has not measured this GPU yet.
    """
    from ..models.precision import choose
    from ..pipeline.file_meta import NOT_RECORDED
    from ..pipeline.networks import networks_of

    models: list[ModelRecord] = []
    check(options.boxes is None, "--boxes: are those of one input; process takes them, a data set does not")
    for task, name in networks_of(options):
        manifest = find_model(task, name, options.models_dir)
        precision = choose(manifest, options).precision if options.precision == "auto" else options.precision
        sha256 = manifest.files.get(MODEL_FILES[precision])
        models.append({"name": manifest.name, "task": task, "sha256": sha256, "precision": precision})
    settings = {name: value for name, value in options.to_json().items() if name not in NOT_RECORDED}
    return Recipe(settings, models)


def job_folder(out: Path, bulk: BulkOptions) -> Path:
    """Return the folder a job writes to: the data set, or with --shard a separate data set for annotate-merge."""
    i, n = bulk.part()
    return out if n == 1 else out / PARTS / f"{i}-of-{n}"


@dataclass
class Plan:
    """The inputs of one run as ``input`` lines of the journal, and the reports of those that cannot be read."""

    recipe: Recipe
    state: State
    lines: dict[str, InputLine] = field(default_factory=dict)
    split_s: float = 0.0
    elsewhere: dict[str, Ended] = field(default_factory=dict)  # finished inputs of the whole data set, for a part
    failed: dict[str, Fault] = field(default_factory=dict)  # by name
    addresses: dict[str, str | None] = field(default_factory=dict)  # of inputs whose names leave out secrets
    kept: dict[str, Fault] = field(default_factory=dict)  # finished earlier, unreadable now

    def probe(self, given: Input) -> Task:
        """Return the task that probes an input; an input with known content is not analysed again."""
        name, before = given.name, self.state.inputs.get(given.name)
        self.addresses[name] = given.address
        same = before and before["kind"] != "unreadable" and before["split_s"] == self.split_s
        return Probe(
            video=name,
            address=given.address,
            known=before["content"] if before and same else None,
            split_s=self.split_s,
        )

    def take(self, given: Input, reply: Probed | Fault) -> None:
        """Add the result of probing an input to the plan."""
        name, before, camera = given.name, self.state.inputs.get(given.name), camera_of(given.extra)
        done = name in self.state.live and self.state.live[name]["status"] != "failed"
        if isinstance(reply, Fault):
            if reply.content is None and done and before:
                self.kept[name], self.lines[name] = reply, before
                return
            self.failed[name] = reply
            reply = Probed(reply.content or reply.error, "unreadable")
        elif reply.kind is None and before:  # unchanged
            self.lines[name] = {**before, "extra": given.extra, "key": self.recipe.key(reply.content, camera)}
            return
        self.lines[name] = {
            "type": "input",
            "video": name,
            "key": self.recipe.key(reply.content, camera),
            "content": reply.content,
            "kind": reply.kind,
            "duration_s": reply.duration_s,
            "frames": reply.frames,
            "cuts": None if reply.cuts is None else list(reply.cuts),
            "split_s": self.split_s,
            "extra": given.extra,
        }

    def finished(self, name: str) -> Ended | None:
        """Return the record of a finished input, in this data set or the one this job is a part of; else None."""
        if name in self.state.live:
            return self.state.live[name]
        there = self.elsewhere.get(name)
        return there if there and there["key"] == self.lines[name]["key"] else None

    def changed(self) -> list[InputLine]:
        """Return the ``input`` lines that differ from the journal's."""
        return [
            line
            for name, line in self.lines.items()
            if self.state.inputs.get(name) != plain(line) and (name in self.state.live or not self.finished(name))
        ]

    def stale(self, retry_failed: bool) -> list[str]:
        """Return inputs to redo: those with another key, that changed while read, or failed with ``retry_failed``."""
        ended = ((name, self.state.live[name]) for name in self.lines if name in self.state.live)
        return [
            name
            for name, video in ended
            if video["key"] != self.lines[name]["key"]
            or (video["status"] == "failed" and (retry_failed or video["error"] == ChangedError.__name__))
        ]

    def tasks(self) -> list[Task]:
        """Return the remaining tasks, longest first, so that workers finish at about the same time."""
        tasks: list[Task] = []
        for name in self.lines:
            if not self.finished(name) and name not in self.failed:
                tasks += self.tasks_of(name)
        return sorted(tasks, key=lambda task: -task.size_s)

    def tasks_of(self, name: str) -> list[Task]:
        """Return the task of an input, or those of its unfinished segments."""
        line, address = self.lines[name], self.addresses.get(name)
        camera = camera_of(line["extra"])
        duration_s = line["duration_s"] or (line["frames"] or 0) / 25
        if not line["cuts"]:
            return [Whole(video=name, address=address, size_s=duration_s, content=line["content"], **camera)]
        done = self.state.segments.get(cut_key(line), {})
        return [
            Segment(
                video=name,
                address=address,
                size_s=(end or duration_s) - start,
                part=part,
                start_s=start,
                end_s=end,
                content=line["content"],
                **camera,
            )
            for part, (start, end) in enumerate(zip([0.0, *line["cuts"]], [*line["cuts"], None], strict=True))
            if part not in done
        ]


def plain(line: InputLine) -> object:
    """Return a line as it would be read back from the journal."""
    given: object = json.loads(json.dumps(line, default=str))
    return given


def in_part(name: str, bulk: BulkOptions) -> bool:
    """Return whether an input belongs to this job's part. It depends on the name only, so jobs need not communicate."""
    i, n = bulk.part()
    return n == 1 or int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8]) % n == i
