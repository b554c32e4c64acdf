"""What the help, the shell's completion and the messages say of options, by the real command."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import typer

from cliffvid import Options, UsageError, process, read_tracks
from cliffvid.annotate.options import BulkOptions
from cliffvid.cli import app as cli
from cliffvid.evaluate.options import EvalOptions, PseudoGTViewOptions
from cliffvid.option import seconds
from cliffvid.tracks.options import ConvertOptions, SmoothOptions
from cliffvid.view.options import OverlayOptions

CLASSES = (
    Options,
    BulkOptions,
    OverlayOptions,
    ConvertOptions,
    EvalOptions,
    PseudoGTViewOptions,
    SmoothOptions,
)
PANELS = {"Output", "Video", "Models", "Detection", "Camera", "Speed", "Safety"}
HEAVY = {"numpy", "av", "cv2", "onnxruntime", "pyarrow", "PIL", "scipy", "torch"}
RUN = "import sys; sys.argv[0] = 'cliffvid'; from cliffvid.cli.app import main; main()"


def commands(command, *path):
    """Every command and group of commands, with its path."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, *path, name)


TREE = dict(commands(cli.make_command(cli.app)))


def words_of(annotation) -> tuple[str, ...]:
    """The choices of a type such as ``Literal["a", "b"]`` or ``int | Literal["auto"]``."""
    parts = (annotation, *get_args(annotation))
    return next((get_args(part) for part in parts if get_origin(part) is Literal), ())


def about(text: str, name: str) -> str:
    """What the help says of an option or argument, without line breaks."""
    rows = re.split(r"\n(?=[│╰] {0,6}\*? {0,6}[^ ])", text)
    (found,) = (row for row in rows if re.match(rf"│[ *]*{re.escape(name)}(?![\w-])", row, re.IGNORECASE))
    return " ".join(re.sub("[│╰─╯╭╮]", " ", found).split())


@pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(path) or "cliffvid")
def test_the_help_shows_each_option_its_default_and_its_choices(cliffvid, path):
    command = TREE[path]
    code, text, _ = cliffvid(*path, "--help", toy_models=False)
    assert code == 0
    choices = {each.name: words_of(each.type) for kind in CLASSES for each in fields(kind) if words_of(each.type)}
    if path == ("export", "plans"):
        choices["precision"] = ("fp32", "fp16", "int8")
    for param in command.params:
        name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name
        shown = about(text, name)
        assert param.help and " ".join(param.help.split()) in shown, name
        assert getattr(param, "is_flag", False) or "[default: " in shown or "[required]" in shown, (name, shown)
        if path in (("process",), ("annotate",)) and param.param_type_name == "option":
            assert param.rich_help_panel in PANELS, name
        if (words := choices.get(param.name)) and param.param_type_name == "option":
            assert set(words) <= set(shown.split()), (name, shown)  # a long list breaks between its words
            offered = [item.value for item in param.shell_complete(typer.Context(command), "")]
            assert offered == list(words), name
            assert param.default in (*words, None)


@pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(path) or "cliffvid")
def test_a_narrow_terminal_gets_every_name_whole(path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "argv", ["cliffvid", *path, "-h"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    text = capsys.readouterr().out
    assert end.value.code == 0 and "…" not in text
    for param in TREE[path].params:
        for name in param.opts if param.param_type_name == "option" else [param.metavar]:
            assert re.search(rf"(^|[ ,{{]){re.escape(name)}(?![\w-])", text), name


def test_process_comes_first_and_completion_can_be_installed(cliffvid):
    text = cliffvid("--help", toy_models=False)[1]
    assert "--install-completion" in text and [*TREE][1] == ("process",)
    rows = [
        line.split()[1] for line in text.splitlines() if line.startswith("│") and line.split()[1] in TREE[()].commands
    ]
    assert sorted(rows) == sorted(TREE[()].commands) and rows[0] == "process"
    assert cliffvid("-V", toy_models=False)[:2] == cliffvid("--version", toy_models=False)[:2]


def test_the_shell_completes_choices():
    asked = {"_CLIFFVID_COMPLETE": "complete_bash", "COMP_WORDS": "cliffvid process --pixels pl", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-c", RUN], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == ["planes"], done.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["process", "a.mp4", "--scoer", "0.5"], "no such option: --scoer; did you mean --score?"),
        (["process", "a.mp4", "--engines", "x"], "no such option: --engines; did you mean --models?"),
        (["annotate", "in", "-o", "x", "--engine", "ray"], "no such option: --engine; did you mean --runner?"),
        (["models", "--engines", "x"], "no such option: --engines; did you mean --models?"),
        (["process", "-dash.mp4"], "no such option: -d; for the file of this name write ./-dash.mp4"),
        (["proces", "a.mp4"], "No such command 'proces'. Did you mean 'process'"),
        (
            ["process", "a.mp4", "--backend", "tensort"],
            "--backend tensort: did you mean tensorrt? choose one of auto, ",
        ),
        (["process", "a.mp4", "--visuals", "bbox,fornt"], "--visuals fornt: did you mean front? choose one of bbox, "),
        (["annotate", "in", "-o", "x", "--runner", "rya"], "--runner rya: did you mean ray? choose one of local, ray"),
        (["annotate", "in", "-o", "x.mp4"], "x.mp4: a file; name a folder for the results"),
        (["overlay", "a.mp4", "a.npz", "-o", "b.mp4", "--view", "skelton"], "--view skelton: did you mean skeleton?"),
        (["convert", "a.npz", "-o", "b", "--to", "glft"], "--to glft: did you mean gltf?"),
        (["eval", "a", "b", "--protocol", "papre"], "--protocol papre: did you mean paper?"),
        (["smooth", "a.npz", "-o", "b.npz", "--method", "savgool"], "--method savgool: did you mean savgol?"),
        (["export", "plans", "--precision", "fp61"], "--precision fp61: did you mean fp16?"),
        (["process", "a.mp4", "--stride", "two"], "--stride two: must be a whole number, 1 or more"),
        (["process", "a.mp4", "--stride", "1_0"], "--stride 1_0: must be a whole number, 1 or more"),
        (["process", "a.mp4", "--start", "٣"], "--start ٣: must be seconds, or a time"),
        (["process", "a.mp4", "--start", ""], "--start '': must be seconds, or a time"),
        (["process", "a.mp4", "--score"], "Option '--score' requires an argument"),
    ],
)
def test_a_mistyped_option_or_choice_is_told_with_what_was_meant(cliffvid, tmp_path, args, told):
    for name in ("a.mp4", "-dash.mp4"):
        (tmp_path / name).write_text("")
    code, out, err = cliffvid(*args, toy_models=False)
    assert (code, out) == (2, "") and err.startswith(f"error: {told}") and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "-dash.mp4"}


def test_options_in_python_are_checked_by_the_same_words():
    with pytest.raises(TypeError, match="scoer"):
        Options(scoer=0.5)
    for wrong, told in (
        ({"backend": "tensort"}, "--backend tensort: did you mean tensorrt?"),
        ({"start_s": "1:02"}, "--start 1:02: must be seconds"),
        ({"score": True}, "--score True: must be a number"),
        ({"max_frame_mpx": float("inf")}, "--max-frame-mpx inf: must be a number, above 0"),
        ({"frame_batch": 1025}, "--frame-batch 1025: must be a whole number, 1 to 1024 or auto"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            Options(**wrong)
    assert Options(score=np.float32(0.25), threads=np.int64(2)).score == 0.25
    with pytest.raises(UsageError, match=re.escape("--track 1: must be a tuple or list, also of one: track=(1,)")):
        ConvertOptions(track=1)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("90", 90), ("0.5", 0.5), ("1e2", 100), ("1:02", 62), ("01:02.25", 62.25), ("90:00", 5400)),
        *(("1:02:03.5", 3723.5), ("0:0:0", 0), ("26:00:00", 93600), ("inf", float("inf"))),
        *(
            (wrong, wrong)
            for wrong in ("1:60", "1:60:00", "1:2:3:4", "1:", ":30", "-1:00", "1:-5", "1m30", "1:+5", "²:1")
        ),
    ],
)
def test_times_are_seconds_or_timecodes(text, meant):
    assert seconds(text) == meant


def test_process_takes_timecodes(cliffvid, clip, tmp_path):
    assert cliffvid("process", clip, "-o", "a.npz", "--start", "0:00.2", "--end", "0:00:00.6", "-q")[0] == 0
    assert sorted(set(read_tracks(tmp_path / "a.npz").frame_idx.tolist())) == list(range(5, 15))
    assert cliffvid("process", clip, "-o", "a.npz", "--end", "0:00.2", "-q", "-y")[0] == 0
    assert sorted(set(read_tracks(tmp_path / "a.npz").frame_idx.tolist())) == list(range(5))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("out.mp4", "for a film: --overlay out.mp4"),
        ("OUT.MP4", "for a film: --overlay OUT.MP4"),
        ("out.html", "for a report: --report out.html"),
        ("one.glb", "cliffvid convert TRACKS -o one.glb"),
        ("one.bvh", "cliffvid convert TRACKS -o one.bvh"),
        ("out.json", "for a summary on stdout: --json"),
        ("odd.name", "give --format"),
    ],
)
def test_tracks_are_not_written_under_the_name_of_something_else(cliffvid, clip, tmp_path, name, meant):
    for command in (["process", clip], ["smooth", clip]):
        code, out, err = cliffvid(*command, "-o", name, toy_models=False)
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert f"{name}: -o names the tracks file (.parquet or .npz); " in err and meant in err
    with pytest.raises(UsageError, match=re.escape(meant)):
        process(clip, name)
    assert list(tmp_path.iterdir()) == []


def loading(*args, cwd=None) -> subprocess.CompletedProcess:
    """Run the command; the last line of stdout names all modules it loaded."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); " + RUN
    return subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True)


def test_a_mistyped_name_is_told_before_anything_is_loaded(tmp_path):
    done = loading("process", "typo.mp4", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: typo.mp4: no such file\n")
    assert not HEAVY & set(done.stdout.split())


def test_what_cannot_be_read_is_told_once_and_without_a_word_about_models(cliffvid, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    code, _, err = cliffvid("process", "text.mp4", "typo.mp4")
    assert code == 1 and err.count("\n") == 2 and "models" not in err
    assert err.count("text.mp4: not a readable video") == err.count("typo.mp4: no such file") == 1
    code, out, err = cliffvid("process", "text.mp4", clip, "typo.mp4", "-o", "out", "--json")
    assert code == 1 and err.count("error: ") == 2 and len(out.splitlines()) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.parquet"]


@pytest.mark.parametrize("command", [[], ["process"], ["annotate"]])
def test_help_loads_nothing_heavy(command):
    done = loading(*command, "--help")
    assert done.returncode == 0 and not {*HEAVY, "pydantic"} & set(done.stdout.splitlines()[-1].split())
