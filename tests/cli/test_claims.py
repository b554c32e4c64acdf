"""Before the work: outputs that another run is at work on, and places that cannot be written."""

import pytest

from cliffvid.files import Claim
from track_files import make_tracks

PROCESS = "process clip.mp4 -o {tracks}"
COMMANDS = {
    "process": (PROCESS.format(tracks="{out}.parquet"), "{out}.parquet"),
    "process --smooth": (PROCESS.format(tracks="{out}.npz --smooth"), "{out}_smooth.npz"),
    "process --overlay": (PROCESS.format(tracks="a.npz --overlay {out}.mp4"), "{out}.mp4"),
    "process --report": (PROCESS.format(tracks="a.npz --report {out}.html"), "{out}.html"),
    "overlay": ("overlay clip.mp4 t.npz --view skeleton -o {out}.mp4", "{out}.mp4"),
    "report": ("report t.npz -o {out}.html", "{out}.html"),
    "smooth": ("smooth t.npz -o {out}.npz", "{out}.npz"),
    "convert to one": ("convert t.npz --to csv -o {out}.csv", "{out}.csv"),
    "convert to many": ("convert t.npz --to bvh -o {out}", "{out}/t.bvh"),
    "pseudogt make": ("pseudogt make t.npz . -o {out}.npz", "{out}.npz"),
    "pseudogt convert": ("pseudogt convert t.npz -o {out}.parquet", "{out}.parquet"),
    "pseudogt view": ("pseudogt view t.npz --images . -o {out}.html", "{out}.html"),
}


@pytest.fixture
def command(cliffvid, clip, tmp_path):
    (tmp_path / "clip.mp4").symlink_to(clip)
    make_tracks(tmp_path / "t.npz", clip, [[0.0, 0.0, 5.0]], 4)
    there = {"clip.mp4", "t.npz"}

    def run(words: str) -> tuple[int, str]:
        code, out, err = cliffvid(*words.split(), toy_models=words.startswith("process"))
        made = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".cliffvid-")} - there
        assert out == "" and made <= {"out", "place"}
        assert "models:" not in err  # no network was opened
        return code, err

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_another_run_is_at_work_on(command, tmp_path, name):
    words, target = (text.format(out="out") for text in COMMANDS[name])
    with Claim(tmp_path / target):
        code, err = command(words)
    assert (
        code == 2 and err == f"error: {target}: another run is at work on it; wait for its end, or choose another -o\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written(command, tmp_path, name):
    (tmp_path / "place").write_text("no folder")
    code, err = command(COMMANDS[name][0].format(out="place/out"))
    assert code == 1 and err.startswith("error: place/out")
    assert "cannot write it (" in err and "place is not a folder" in err
