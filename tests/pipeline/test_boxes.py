"""Runs on boxes that are given: the rows are those of the run that detected them."""

from dataclasses import replace

import numpy as np
import pytest

from cliffvid import Options, process, process_many, read_meta, read_tracks
from cliffvid.errors import InputError, UsageError
from cliffvid.pipeline import networks
from clips import make_clip, person_box


@pytest.fixture
def detected(toy_options, clip, tmp_path):
    process(clip, tmp_path / "detected.parquet", toy_options())
    return tmp_path / "detected.parquet"


def run(clip, boxes, toy_options, **more):
    """Process with boxes; no model for detection can be found."""
    out = boxes.with_name("out.parquet")
    report = process(clip, out, replace(toy_options(), detector="auto", boxes=boxes, **more))
    assert report.detector is None and "detect" not in report.busy_s
    return read_tracks(out), read_meta(out)


def as_csv(tracks, path, *names):
    columns = {"frame_idx": tracks.frame_idx} | dict(zip(("x0", "y0", "x1", "y1"), tracks.bbox_xyxy.T, strict=True))
    columns |= {name: getattr(tracks, "det_score" if name == "score" else name) for name in names}
    lines = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines))
    return path


def same(a, b):
    assert all(column.tobytes() == getattr(b, name).tobytes() for name, column in a.columns().items())
    assert a.columns().keys() == b.columns().keys()


@pytest.mark.parametrize("names", [None, ("score", "track_id"), ("score",)], ids=["tracks", "ids", "no ids"])
def test_a_run_on_detected_boxes_gives_the_same_bytes(names, detected, clip, toy_options, tmp_path, monkeypatch):
    opened = []
    find = networks.find_model
    monkeypatch.setattr(networks, "find_model", lambda task, *args: opened.append(task) or find(task, *args))
    before = read_tracks(detected)
    boxes = as_csv(before, tmp_path / "b.csv", *names) if names else detected
    rows, meta = run(clip, boxes, toy_options)
    assert len(rows) == 90 and opened == ["regress"]
    same(before, rows)
    assert [model["task"] for model in meta["models"]] == ["regress"]
    assert meta["settings"]["boxes"] == boxes.name and "detector" not in meta["settings"]
    assert "boxes" not in read_meta(detected)["settings"]


def test_identities_are_kept_and_rows_go_where_the_boxes_are(clip, toy_options, tmp_path):
    boxes = tmp_path / "b.csv"
    rows = [(frame, *person_box(person, frame, 192, 144), 100 * person + 5) for frame in (9, 4) for person in (2, 0)]
    boxes.write_text("\n".join(["frame_idx,x0,y0,x1,y1,track_id", *(",".join(map(str, row)) for row in rows)]))
    tracks, meta = run(clip, boxes, toy_options)
    np.testing.assert_array_equal(tracks.frame_idx, [4, 4, 9, 9])
    np.testing.assert_array_equal(tracks.track_id, [5, 205, 5, 205])
    assert meta["counts"]["tracks"] == 2 and meta["counts"]["detect"]["people"] == 4
    # the toy regressor answers the crop's mean colour: the first person is red, the third blue
    np.testing.assert_array_equal(tracks.betas[:, :3].argmax(axis=1), [0, 2, 0, 2])


def test_some_of_the_frames_take_their_boxes_alone(detected, clip, toy_options):
    whole = read_tracks(detected)
    rows, _ = run(clip, detected, toy_options, stride=3, start_s=0.4)
    wanted = (whole.frame_idx % 3 == 0) & (whole.time_s >= 0.4)
    same(whole[wanted], rows)


def test_boxes_of_another_video_leave_no_file(detected, toy_options, tmp_path):
    shorter = make_clip(tmp_path / "s.mp4", frames=20, people=3)
    other = make_clip(tmp_path / "o.mp4", frames=30, people=3, size=(96, 80))
    plain = as_csv(read_tracks(detected), tmp_path / "b.csv")
    for clip, boxes, words in (
        (shorter, detected, "boxes in frame 29, the last frame of the input is 19"),
        (other, detected, "frames of 192 x 144, those of the input are 96 x 80"),
        (other, plain, "outside the frame of 96 x 80"),
        (other, tmp_path / "none.csv", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            run(clip, boxes, toy_options)
        assert not [file for file in tmp_path.iterdir() if "out" in file.name or "cliffvid" in file.name]


def test_the_command_reads_the_boxes_before_it_opens_a_network(cliffvid, clip, toys, detected, tmp_path):
    (tmp_path / "b.csv").write_text("frame_idx,x0,y0,x1\n")
    words = "process", clip, "--models", toys, "--regressor", "none of them", "-o", "x.parquet"
    for boxes, said in (
        ("b.csv", "b.csv: has no column 'y1'; expected frame_idx, x0, y0, x1, y1,"),
        (detected, "no regress model"),
    ):
        code, _, err = cliffvid(*words, "--boxes", boxes, toy_models=False)
        assert code != 0 and said in err, err
    code, _, err = cliffvid(*words[:2], clip, "--boxes", detected, toy_models=False)
    assert code == 2 and "is of one input, 2 are given" in err


def test_options_of_the_detector_are_refused(tmp_path):
    for more, flag in (
        ({"detect_every": 2}, "--detect-every"),
        ({"score": 0.5}, "--score"),
        ({"max_people": 1}, "--m"),
    ):
        with pytest.raises(UsageError, match=f"--boxes and {flag}"):
            Options(boxes=tmp_path / "b.csv", **more)


def test_one_file_of_boxes_is_not_taken_for_several_videos(detected, clip, toy_options, tmp_path):
    options = replace(toy_options(), detector="auto", boxes=detected, overwrite=True)
    with pytest.raises(UsageError, match=r"^--boxes .*detected\.parquet: is of one input.*each with its own boxes$"):
        list(process_many([(clip, tmp_path / "1.parquet"), (clip, tmp_path / "2.parquet")], options))
    assert not list(tmp_path.glob("?.parquet"))
    (outcome,) = process_many(((clip, tmp_path / f"{number}.parquet") for number in range(1)), options)
    assert not outcome.error
    same(read_tracks(detected), read_tracks(tmp_path / "0.parquet"))
