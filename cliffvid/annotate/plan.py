"""Plan a run: the state of each input, and the tasks that are left."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ChangedError, InputError
from ..models.manifest import MODEL_FILES
from ..models.registry import find_model
from ..option import check
from ..options import Options
from .lists import Extra, camera_of
from .messages import Fault, OwnCamera, Probe, Probed, Segment, Task, Whole
from .options import BulkOptions
from .progress import Progress
from .scheduler import AHEAD
from .store.columns import Records
from .store.ownership import PARTS
from .store.records import Ended, InputLine, ModelRecord
from .store.state import State, cut_key

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
    """The inputs of one run as ``input`` lines of the journal, and the reports of those that cannot be read.

    An input is looked at when its turn comes, and its line dropped once it is finished: so a plan of any number of
    inputs is made at once, and is small.
    """

    recipe: Recipe
    state: State
    given: Records[Extra]  # the inputs of the run
    lines: dict[str, InputLine] = field(default_factory=dict)
    split_s: float = 0.0
    elsewhere: Mapping[str, Ended] = field(default_factory=dict)  # finished inputs of the whole data set, for a part
    failed: dict[str, Fault] = field(default_factory=dict)  # by name
    addresses: Mapping[str, str] = field(default_factory=dict)  # of inputs whose names leave out secrets
    kept: dict[str, Fault] = field(default_factory=dict)  # finished earlier, unreadable now
    merged: dict[str, str] = field(default_factory=dict)  # the status of those that are finished elsewhere

    def probe(self, name: str) -> Task:
        """Return the task that probes an input; an input with known content is not analysed again."""
        before = self.state.inputs.get(name)
        same = before and before["kind"] != "unreadable" and before["split_s"] == self.split_s
        return Probe(
            video=name,
            address=self.addresses.get(name),
            known=before["content"] if before and same else None,
            split_s=self.split_s,
        )

    def order(self) -> list[str]:
        """Return the names in the order to look at them: finished ones last, as they are likely unchanged."""
        return sorted(self.given, key=lambda name: name in self.state.live or name in self.elsewhere)

    def take(self, name: str, reply: Probed | Fault) -> None:
        """Add the result of probing an input to the plan."""
        before, extra = self.state.inputs.get(name), self.given[name]
        camera: OwnCamera | None = None
        try:
            camera = camera_of(extra)
        except InputError as error:
            reply = Fault(type(error).__name__, f"{name}: {error}", content=reply.content)
        done = name in self.state.live and self.state.live[name]["status"] != "failed"
        if isinstance(reply, Fault):
            if reply.content is None and done and before:
                self.kept[name], self.lines[name] = reply, before
                return
            self.failed[name] = reply
            reply = Probed(reply.content or reply.error, "unreadable")
        elif reply.kind is None and before:  # unchanged
            self.lines[name] = {**before, "extra": extra, "key": self.recipe.key(reply.content, camera)}
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
            "extra": extra,
        }

    def finished(self, name: str) -> Ended | None:
        """Return the record of a finished input, in this data set or the one this job is a part of; else None."""
        if name in self.state.live:
            return self.state.live[name]
        there = self.elsewhere.get(name)
        return there if there and there["key"] == self.lines[name]["key"] else None

    def changed(self, name: str) -> bool:
        """Return whether an input's line differs from the journal's."""
        differs = self.state.inputs.get(name) != plain(self.lines[name])
        return differs and (name in self.state.live or not self.finished(name))

    def stale(self, name: str, retry_failed: bool) -> bool:
        """Return whether to redo an input: it has another key, changed while read, or failed with ``retry_failed``."""
        video = self.state.live.get(name)
        if not video or name in self.kept:
            return False
        again = video["status"] == "failed" and (retry_failed or video["error"] == ChangedError.__name__)
        return again or video["key"] != self.lines[name]["key"]

    def statuses(self) -> Counter[str]:
        """Return the number of inputs by status; what is neither finished nor failed is skipped."""
        here = (str(status) for name, status in self.state.live.select("status") if name in self.given)
        counts = Counter([*here, *self.merged.values()])
        return counts + Counter(skipped=len(self.given) - counts.total())

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


class Intake:
    """Inputs of a plan that were looked at, and wait until there are many: what is stale is forgotten together."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan, self.progress = plan, progress
        self._asked, self._names = 0, list[str]()

    def probes(self) -> Iterator[Task]:
        """Yield the task that looks at an input, for all inputs of the plan."""
        for name in self.plan.order():
            self._asked += 1
            yield self.plan.probe(name)

    def take(self, name: str, reply: Probed | Fault) -> None:
        self.plan.take(name, reply)
        self.progress.planned += 1
        self._names.append(name)

    def release(self) -> list[str]:
        """Return the inputs that waited, if they are many or no others are being looked at."""
        if len(self._names) < AHEAD // 2 and self.progress.planned < self._asked:
            return []
        names, self._names = self._names, []
        return names


def plain(line: InputLine) -> object:
    """Return a line as it would be read back from the journal."""
    given: object = json.loads(json.dumps(line, default=str))
    return given


def part_of(inputs: Records[Extra], bulk: BulkOptions) -> Records[Extra]:
    """Return the inputs of this job's part. It depends on their names only, so jobs need not communicate."""
    i, n = bulk.part()
    if n == 1:
        return inputs
    part = Records[Extra]()
    for name in inputs:
        if int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8]) % n == i:
            part[name] = inputs[name]
    return part
