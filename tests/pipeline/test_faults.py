"""Whatever breaks: one clear line, the right exit code, no thread, no half-written file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cliffvid import InputError, UsageError, open_models, process, read_meta, read_tracks, stream
from cliffvid.cli import app as cli
from cliffvid.pipeline.video_run import open_run
from cliffvid.tracks.write import WRITERS
from cliffvid.video.reader import Video
from clips import index_first, make_clip

TOYS = ["--detector", "toy-detector", "--regressor", "toy-regressor"]


def run(*args, cwd, env=None):
    """The command in a process of its own: (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "cliffvid", *map(str, args)],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def here(tmp_path, clip, toys):
    """A folder with a good clip, a broken input of each kind, and the toy models under ``engines``."""
    shutil.copytree(toys, tmp_path / "engines")
    shutil.copy(clip, tmp_path / "good.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("hello\n" * 1000)
    (tmp_path / "text.txt").write_text("hello\n" * 1000)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "headless.mp4").write_bytes(clip.read_bytes()[2000:])
    make_clip(tmp_path / "sound.m4a", frames=0, video=False, audio=True)
    (tmp_path / "old.parquet").write_bytes(b"precious")
    (tmp_path / "file").write_text("")
    return tmp_path


BAD = [
    (["missing.mp4"], 1, "missing.mp4: no such file"),
    (["folder.mp4"], 1, "folder.mp4: holds no images"),
    (["text.mp4"], 1, "text.mp4: not a readable video"),
    (["text.txt"], 1, "text.txt: not a readable video"),
    (["empty.mp4"], 1, "empty.mp4: the file is empty"),
    (["headless.mp4"], 1, "headless.mp4: not a readable video"),
    (["sound.m4a"], 1, "sound.m4a: holds no video stream; its streams: 0 audio"),
    (["/dev/null"], 1, "/dev/null: a pipe or device, not a regular file"),
    (["good.mp4", "-o", "file/out.parquet"], 1, "cannot write it (file is not a folder); choose another place"),
    (["good.mp4", "-o", "/proc/out.parquet"], 1, "cannot write it"),
    (["good.mp4", "-o", "old.parquet"], 2, "old.parquet: exists already; give --overwrite"),
    (["good.mp4", "-o", "good.mp4", "--format", "npz", "--overwrite"], 2, "good.mp4: is also an input"),
    (["good.mp4", "-o", "x.npz", "--format", "csv"], 2, "--format csv: choose one of auto, parquet, npz"),
    (["good.mp4", "--backend", "tpu"], 2, "--backend tpu: choose one of auto, onnxruntime, "),
    (["good.mp4", "--precision", "fp8"], 2, "--precision fp8: choose one of"),
    (["good.mp4", "--precision", "fp16"], 1, "toy-detector: has no model.fp16.onnx, which --precision fp16 needs"),
    (["good.mp4", "--device", "tpu"], 2, "--device tpu: choose auto, cpu, cuda or cuda:N"),
    (["good.mp4", "--detector", "yolov9"], 2, "no detect model named 'yolov9'; found: "),
    (["good.mp4", "--regressor", "toy-detector"], 2, "no regress model named 'toy-detector'; found: "),
    (["good.mp4", "--models", "nowhere"], 2, "--models nowhere: no such folder"),
    (["good.mp4", "--start", "5", "--end", "2"], 2, "need 0 <= start < end"),
    (["good.mp4", "--start", "nan"], 2, "--start nan: must be seconds, or a time such as 1:02:03.5"),
    (["good.mp4", "--end", "1:2:3:4"], 2, "--end 1:2:3:4: must be seconds, or a time such as 1:02:03.5"),
    (["good.mp4", "--frame-batch", "0"], 2, "--frame-batch 0: must be a whole number, 1 to 1024 or auto"),
    (["good.mp4", "--frame-batch", "many"], 2, "--frame-batch many: must be a whole number, 1 to 1024 or auto"),
    (["good.mp4", "--stream", "5"], 1, "good.mp4: holds no video stream 5; its streams: 0 video"),
    (["good.mp4", "--stride", "0"], 2, "--stride 0: must be a whole number, 1 or more"),
    (["good.mp4", "--matrix", "bt470"], 2, "--matrix bt470: did you mean bt709? choose one of auto, "),
    (["good.mp4", "--hdr", "keep"], 2, "--hdr keep: choose one of tonemap, refuse"),
    (["good.mp4", "--decode-device", "tpu"], 2, "--decode-device tpu: did you mean cpu? choose one of auto, cpu, cuda"),
    (["good.mp4", "--max-frame-mpx", "0.01"], 1, "above --max-frame-mpx 0.01; raise it if the file is to be trusted"),
    (["https://host/a.mp4"], 1, "an address; give --allow-network to use it"),
    (["good.mp4", "--score", "7"], 2, "--score 7.0: must be a number, above 0 and below 1"),
    (["good.mp4", "--iou-max", "nan"], 2, "--iou-max nan: must be a number, above 0 and below 1"),
    (["good.mp4", "--box-scale", "0"], 2, "--box-scale 0.0: must be a number, above 0"),
    (["good.mp4", "--focal-px", "nan"], 2, "--focal-px nan: must be a number, 1 to 1e+09"),
    (["good.mp4", "--focal-px", "9", "--fov-deg", "9"], 2, "--focal-px and --fov-deg: give one of them"),
    (["good.mp4", "--overlay", "x.gif"], 2, "an overlay's name must end in .mp4"),
    ([], 2, "Missing argument 'INPUT'"),
]


@pytest.mark.parametrize(("args", "exit_code", "told"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_told_in_a_line(here, args, exit_code, told, monkeypatch, capfd):
    before = sorted(here.rglob("*"))
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "300")
    chosen = [a for pair in zip(TOYS[::2], TOYS[1::2], strict=True) if pair[0] not in args for a in pair]
    engines = [] if "--models" in args else ["--models", "engines"]
    monkeypatch.setattr(sys, "argv", ["cliffvid", "process", *args, *chosen, *engines])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capfd.readouterr().err
    assert end.value.code == exit_code, err
    assert told in err and "Traceback" not in err
    assert sum(line.startswith("error:") for line in err.splitlines()) <= 1
    assert sorted(here.rglob("*")) == before
    assert (here / "old.parquet").read_bytes() == b"precious"


def corrupt(folder, how):
    manifest, network = folder / "manifest.json", folder / "model.onnx"
    content = json.loads(manifest.read_text())
    if how == "flipped bit":
        data = bytearray(network.read_bytes())
        data[len(data) // 2] ^= 1
        network.write_bytes(data)
    elif how == "network missing":
        network.unlink()
    elif how == "manifest is no json":
        manifest.write_text("{")
    elif how == "manifest is a list":
        manifest.write_text("[]")
    elif how == "foreign schema":
        manifest.write_text(json.dumps(content | {"schema": 99}))
    elif how == "no rules":
        manifest.write_text(json.dumps({k: v for k, v in content.items() if k not in ("crop", "letterbox")}))
    elif how == "unknown rule":
        content.get("crop", content.get("letterbox"))["colour"] = "green"
        manifest.write_text(json.dumps(content))
    elif how == "other canvas":  # a regressor's has no such thing: its crop gets another depth
        next(iter(content["inputs"].values()))["shape"] = ["N", 96, 96, 4]
        manifest.write_text(json.dumps(content))
    elif how == "other dtype":
        next(iter(content["inputs"].values()))["dtype"] = "float32"
        manifest.write_text(json.dumps(content))
    elif how == "other name":
        content["outputs"]["extra"] = {"dtype": "float32", "shape": ["N"]}
        manifest.write_text(json.dumps(content))
    elif how == "no network":
        import hashlib

        network.write_bytes(b"no network")
        content["files"]["model.onnx"] = hashlib.sha256(b"no network").hexdigest()
        manifest.write_text(json.dumps(content))


CORRUPTIONS = [
    "flipped bit",
    "network missing",
    "manifest is no json",
    "manifest is a list",
    "foreign schema",
    "no rules",
    "unknown rule",
    "other canvas",
    "other dtype",
    "other name",
    "no network",
]


@pytest.mark.parametrize("folder", ["toy-detector", "toy-regressor"])
@pytest.mark.parametrize("how", CORRUPTIONS)
def test_a_corrupt_model_folder_is_told(here, folder, how, monkeypatch, capfd):
    corrupt(here / "engines" / folder, how)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", ["cliffvid", "process", "good.mp4", "--models", "engines", *TOYS])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capfd.readouterr().err
    assert end.value.code == 1 and folder in err and "export" in err and "Traceback" not in err
    assert [p.name for p in here.glob("*.parquet*")] == ["old.parquet"]


@pytest.mark.parametrize("args", [["export", "open"], ["export", "yolov3", "x.weights"], ["export", "cliff", "x.pt"]])
def test_an_extra_that_is_not_installed_is_named(tmp_path, monkeypatch, capfd, args):
    monkeypatch.chdir(tmp_path)
    for package in ("onnx", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["cliffvid", *args])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and "pip install" in capfd.readouterr().err


def test_cuda_that_is_not_there_is_told(here):
    code, _, err = run("process", "good.mp4", "--models", "engines", *TOYS, "--device", "cuda", cwd=here)
    assert code == 1 and "CUDA" in err and "cliffvid[gpu]" in err and "Traceback" not in err


def test_a_file_cut_short_gives_what_is_there_and_exit_code_1(here):
    assert run("process", "good.mp4", "--models", "engines", *TOYS, "-o", "whole.parquet", cwd=here)[0] == 0
    data = index_first(here / "good.mp4", here / "index-first.mp4").read_bytes()
    (here / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    code, out, err = run("process", "cut.mp4", "--models", "engines", *TOYS, "--json", cwd=here)
    report = json.loads(out)
    assert code == 1 and report["status"] == "partial" and "damaged or missing pieces" in err
    cut, whole = read_tracks(here / "cut.parquet"), read_tracks(here / "whole.parquet")
    assert 0 < len(cut) < len(whole) and not read_meta(here / "cut.parquet")["complete"]
    intact = cut.flags == whole.flags[: len(cut)]
    assert intact.mean() > 0.9
    np.testing.assert_allclose(cut.transl[intact], whole.transl[: len(cut)][intact], rtol=1e-6)


@pytest.mark.parametrize("stage", ["frames", "detect", "crop", "regress", "track", "writer"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_fault_in_any_stage_surfaces_and_leaves_nothing(clip, toy_options, tmp_path, monkeypatch, stage, prefetch):
    from cliffvid.pipeline import chain, video_run

    frames, calls = Video.frames, []

    def breaks(*args, **kwargs):
        for i, item in enumerate(frames(*args, **kwargs)):
            if i == 2:
                raise ZeroDivisionError("fault")
            yield item

    def breaking(work):
        def stage_that_breaks(*args, **kwargs):
            calls.append(stage)
            return work(*args, **kwargs) if len(calls) < 3 else 1 / 0

        return stage_that_breaks

    if stage == "frames":
        monkeypatch.setattr(Video, "frames", breaks)
    elif stage == "writer":
        monkeypatch.setattr(WRITERS["parquet"], "write", lambda self, tracks: 1 / 0)
    elif stage == "track":
        monkeypatch.setattr(video_run.Tracking, "feed", lambda self, bodies: 1 / 0)
    else:
        monkeypatch.setattr(chain, stage, breaking(getattr(chain, stage)))
    options = toy_options(frame_batch=2, person_batch=3, prefetch=prefetch)
    with pytest.raises(ZeroDivisionError):
        process(clip, tmp_path / "out.parquet", options)
    assert list(tmp_path.iterdir()) == []  # and the fixture no_thread_left looks after the threads


def test_a_lazy_run_left_early_ends_its_threads(clip, toy_options):
    tracks = stream(clip, toy_options(frame_batch=1))
    assert len(next(tracks)) == 3
    tracks.close()


def test_models_serve_many_videos_and_survive_a_bad_one(clip, toy_options, tmp_path):
    options = toy_options()
    (tmp_path / "bad.mp4").write_text("no film")
    with open_models(options) as models:
        process(clip, tmp_path / "a.parquet", options, models=models)
        with pytest.raises(InputError):
            process(tmp_path / "bad.mp4", tmp_path / "b.parquet", options, models=models)
        process(clip, tmp_path / "c.parquet", options, models=models)
        with open_run(clip, options, models):  # opened and never started
            pass
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "c.parquet").read_bytes()
    with pytest.raises(UsageError, match="these models are closed"):
        process(clip, tmp_path / "d.parquet", options, models=models)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("long") / "long.mp4", frames=3000, people=4, size=(320, 240))


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM: nothing half-written"),
        (signal.SIGHUP, 129, "ended by SIGHUP: nothing half-written"),
        (signal.SIGQUIT, 131, "ended by SIGQUIT: nothing half-written"),
    ],
)
def test_a_signal_stops_at_once_and_leaves_nothing(long_clip, tmp_path, toys, number, code, told):
    shutil.copy(long_clip, tmp_path / "long.mp4")
    process = subprocess.Popen(
        [sys.executable, "-m", "cliffvid", "process", "long.mp4", "--models", str(toys), *TOYS],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where tests run in the background it is off
    )
    while process.poll() is None and not list(tmp_path.glob(".cliffvid-*.part")):
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code and told in err and "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["long.mp4"]


def test_a_second_run_to_one_output_is_refused_while_the_first_is_at_work(tmp_path, toys):
    runs = []
    for people in (1, 3):
        make_clip(tmp_path / f"{people}.mp4", frames=300, people=people, size=(320, 240))
        command = ["process", f"{people}.mp4", "-o", "out.parquet", "--json", "--models", str(toys), *TOYS]
        command = [sys.executable, "-m", "cliffvid", *command, "--overwrite"]
        runs.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        while not list(tmp_path.glob(".cliffvid-*.part")) and runs[-1].poll() is None:
            time.sleep(0.01)
        if people == 1:
            runs[0].send_signal(signal.SIGSTOP)  # it stays at work
    first, second = runs
    assert second.communicate(timeout=100) == (
        "",
        "error: out.parquet: another run is at work on it; wait for its end, or choose another -o\n",
    )
    first.send_signal(signal.SIGCONT)
    out, _ = first.communicate(timeout=100)
    assert (first.returncode, second.returncode) == (0, 2)
    assert json.loads(out)["people"] == len(read_tracks(tmp_path / "out.parquet"))
    assert read_meta(tmp_path / "out.parquet")["video"]["name"] == "1.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.mp4", "3.mp4", "out.parquet"]


@pytest.mark.slow
def test_memory_stays_flat(long_clip, tmp_path, toys):
    """Ten times the frames, at most 1.05 times the peak memory."""
    script = (
        "import resource, sys; from cliffvid import Options, process; from pathlib import Path\n"
        "toys = {'models_dir': Path(sys.argv[3]), 'detector': 'toy-detector', 'regressor': 'toy-regressor'}\n"
        "options = Options(**toys, threads=1)\n"
        "process(sys.argv[1], sys.argv[2], options)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    # Large blocks straight from the system: else the allocator's luck with fragments is measured too.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    peak = {}
    short_clip = make_clip(tmp_path / "short.mp4", frames=300, people=4, size=(320, 240))
    for frames, clip in ((300, short_clip), (3000, long_clip)):
        command = [sys.executable, "-c", script, clip, tmp_path / f"{frames}.parquet", toys]
        peak[frames] = int(subprocess.check_output(command, env=env))
    assert peak[3000] <= 1.05 * peak[300], peak
