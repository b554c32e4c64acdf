"""One run of a job whose workers answer at once, in a process of its own: its times and its peak memory as JSON.

``python -m bench.plan_run MANIFEST OUT MODELS DETECTOR REGRESSOR KILL_AFTER``; with KILL_AFTER the process ends itself
as a kill would, once so many inputs are handed out; 0: never.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

START = time.perf_counter()
WORKERS = 2
CHECKPOINT_S = 2.0
FACTS: dict[str, float] = {}


class InstantPool:
    """A pool of workers that answer at once: a film of one second with one person in it."""

    count = WORKERS

    def __init__(self, kill_after: int, rows: bytes, probed: type, whole: type, result: dict) -> None:
        self.kill_after, self.rows, self.probe, self.whole, self.result = kill_after, rows, probed, whole, result
        self.waiting: list = []
        self.handed = 0

    def takes(self, task) -> bool:
        return len(self.waiting) < self.count

    def at_work(self) -> list:
        return []

    def submit(self, task) -> None:
        mark("first worker busy")
        if isinstance(task, self.whole):
            mark("first film begun")
            self.handed += 1
            if self.handed == self.kill_after:
                leave("killed")
        self.waiting.append(task)

    def wait(self, timeout_s: float) -> list:
        tasks, self.waiting = self.waiting, []
        return [self._answer(task) for task in tasks]

    def _answer(self, task):
        from cliffvid.annotate.messages import Answer, Processed

        if isinstance(task, self.whole):
            return Answer(task, Processed({**self.result, "seconds": 0.01 + len(task.video) / 1e4}), self.rows)
        content = hashlib.sha256(task.video.encode()).hexdigest()
        facts = () if content == task.known else ("video", 1.0 + len(task.video) / 100, 30, ())
        return Answer(task, self.probe(content, *facts))

    def close(self) -> None: ...


def mark(name: str) -> None:
    """Keep the time, the processor time and the peak memory at the first call with a name."""
    if name not in FACTS:
        FACTS[name] = time.perf_counter() - START
        FACTS[f"{name}, processor s"] = time.process_time()
        FACTS[f"{name}, MB"] = peak_mb()


def peak_mb() -> float:
    """Return the peak resident memory of this process since it began; ``ru_maxrss`` begins with its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def leave(name: str) -> None:
    mark(name)
    print(json.dumps(FACTS), flush=True)
    os._exit(0)


def main(manifest: str, out: str, models: str, detector: str, regressor: str, kill_after: int) -> None:
    from bench.plan_facts import result_of, rows_of
    from cliffvid.annotate import job
    from cliffvid.annotate.messages import Probed, Whole
    from cliffvid.annotate.options import BulkOptions
    from cliffvid.annotate.store.journal import Journal
    from cliffvid.options import Options

    pool = InstantPool(kill_after, rows_of(), Probed, Whole, result_of())
    job.open_pool = lambda *_: pool
    append = Journal.append

    def timed(self, *records) -> None:
        begun = time.perf_counter()
        append(self, *records)
        FACTS["writing the journal"] = FACTS.get("writing the journal", 0.0) + time.perf_counter() - begun

    Journal.append = timed
    options = Options(models_dir=Path(models), detector=detector, regressor=regressor)
    summary = job.annotate([manifest], out, options, BulkOptions(checkpoint_s=CHECKPOINT_S))
    FACTS["done"] = summary.done
    leave("end")


if __name__ == "__main__":
    main(*sys.argv[1:6], int(sys.argv[6]))
