"""Print, as JSON, what the steps of bench.gpu_day leave on the null CUDA; see test_gpu_day.py."""

import json
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

from bench.gpu_day import __main__ as command
from bench.gpu_day import runs
from bench.gpu_day.plan import read_plan
from clips import make_clip
from nullcuda import inside
from toys import make_convolved

STEPS = "sessions", "shapes", "pictures", "e2e", "ways"


def main(folder: Path) -> None:
    nets = make_convolved(folder / "nets")
    for manifest in nets.glob("*/manifest.json"):  # how a file is run is what matters here, not what is in it
        content = json.loads(manifest.read_text())
        content["files"]["model.fp16.onnx"] = content["files"]["model.onnx"]
        manifest.write_text(json.dumps(content))
        shutil.copy(manifest.with_name("model.onnx"), manifest.with_name("model.fp16.onnx"))
    film = make_clip(folder / "clip.mp4", frames=30, people=3, size=(320, 240))
    runs.clip = lambda size, frames: film
    words = [
        "--nets",
        nets,
        "--detector",
        "toy-detector",
        "--regressor",
        "toy-regressor",
        "--device",
        "cuda",
        "--quick",
    ]
    words += ["--out", folder / "out", "--work", folder / "work"]
    found = {}
    for step in STEPS:
        inside.reset()
        with redirect_stdout(sys.stderr):
            code = command.main(read_plan([step, *map(str, words)]))
        found[step] = json.loads((folder / "out" / f"{step}.json").read_text())
        found[step] |= {"code": code, "counts": inside.counts()}
    options = [session.get_provider_options()["CUDAExecutionProvider"] for session in inside.sessions]
    print(json.dumps({"steps": found, "options": options}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
