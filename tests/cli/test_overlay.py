"""Films of tracks: the right frames at the right times with the right sound, and what is said when they cannot be."""

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from bodies import body_arrays, save_npz
from cliffvid import Options, read_meta, read_tracks
from cliffvid.errors import UsageError
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.tables import BAD_CAMERA, IMPLAUSIBLE
from cliffvid.view.options import OverlayOptions
from cliffvid.view.overlay import decoding, overlay
from clips import make_clip, person_box, picture, read_index
from decode_times import copied
from track_files import make_tracks


@pytest.mark.usefixtures("egl")
def test_overlay_draws_on_every_frame_and_keeps_time(cliffvid, tmp_path):
    times = [3600 * i + (1500 if i % 2 else 0) for i in range(20)]
    make_clip(tmp_path / "a.mp4", frames=20, size=(193 - 1, 144), times=times)
    assert cliffvid("process", "a.mp4", "--overlay", "drawn.mp4")[0] == 0
    with av.open(str(tmp_path / "drawn.mp4")) as film, av.open(str(tmp_path / "a.mp4")) as source:
        drawn = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
        plain = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in source.decode(video=0)]
    assert [read_index(image) for _, image in drawn] == list(range(20))
    np.testing.assert_allclose([t for t, _ in drawn], [t for t, _ in plain], atol=1e-3)
    for index, ((_, image), (_, before)) in enumerate(zip(drawn, plain, strict=True)):
        changed = np.abs(image.astype(int) - before).max(axis=2) > 60
        for person in range(2):
            x0, y0, x1, y1 = person_box(person, index, 192, 144)
            assert changed[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2].any()
        assert not changed[-20:, :160].any()  # nothing is drawn where nobody is


def film(path):
    """(times, pictures, seconds of sound, its codec) of a film."""
    with av.open(str(path)) as file:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        codec = file.streams.audio[0].codec_context.name if file.streams.audio else None
    sound = 0.0
    if codec:
        with av.open(str(path)) as file:
            sound = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    return [time for time, _ in frames], [image for _, image in frames], sound, codec


def test_the_video_is_decoded_as_it_was_for_the_tracks(cliffvid, tmp_path):
    """Only the frames that were looked at, at their own times; larger ones than usual, if the tracks have them."""
    make_clip(tmp_path / "a.mp4", frames=20)
    assert cliffvid("process", "a.mp4", "--stride", "6", "--overlay", "drawn.mp4", "--view", "skeleton")[0] == 0
    times, images, _, _ = film(tmp_path / "drawn.mp4")
    assert [read_index(image) for image in images] == [0, 6, 12, 18]
    np.testing.assert_allclose(times, np.array([0, 6, 12, 18]) / 25, atol=1e-3)
    meta = read_meta(tmp_path / "a.parquet")
    assert decoding(meta) == Options(stride=6)
    huge = decoding(meta | {"video": {"width_px": 12000, "height_px": 9000}})
    assert huge == Options(stride=6, max_frame_mpx=108.0)


@pytest.mark.usefixtures("egl")
def test_the_film_without_people_is_the_video(tmp_path):
    """Same colours, same times from zero, at an uneven rate; index first, so that a browser plays at once."""
    times = [3600 * i + (1500 if i % 3 else 0) for i in range(20)]
    clip = make_clip(tmp_path / "a.mp4", frames=20, people=3, times=times)
    tracks = make_tracks(tmp_path / "a.npz", clip, np.zeros((0, 3)), 20)
    report = overlay(clip, tracks, tmp_path / "o.mp4")
    assert (report.frames, report.drawn, report.sound) == (20, 0, "none")
    got, images, _, _ = film(tmp_path / "o.mp4")
    np.testing.assert_allclose(got, np.array(times) / 90000, atol=1e-4)
    for index, image in enumerate(images):
        assert read_index(image) == index
        assert np.abs(image.astype(int) - picture(index, 3, 192, 144)).mean() < 3
    data = (tmp_path / "o.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"avc1" in data
    with av.open(str(tmp_path / "o.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p" and context.colorspace == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.npz", "o.mp4"]


@pytest.mark.parametrize(
    "suffix, sound_codec, kept",
    [
        (".mp4", "aac", "copied"),
        (".ts", "aac", "copied"),
        (".mkv", "pcm_s16le", "encoded again, as AAC"),
    ],
)
def test_sound_goes_along(suffix, sound_codec, kept, tmp_path):
    clip = make_clip(tmp_path / f"a{suffix}", frames=50, audio=sound_codec)
    tracks = make_tracks(tmp_path / "a.npz", clip, [[0, 0, 3.0]], 50)
    report = overlay(clip, tracks, tmp_path / "o.mp4", OverlayOptions(view="skeleton"))
    assert report.sound == kept and report.renderer is None
    source, got = film(clip), film(tmp_path / "o.mp4")
    assert got[3] == "aac"
    assert abs(got[2] - source[2]) < 0.1 and got[2] > 1.5
    np.testing.assert_allclose(np.diff(got[0]), np.diff(source[0]), atol=1e-3)
    assert got[0][0] < 0.1  # a transport stream begins at 1.4 s, its film at once
    overlay(clip, tracks, tmp_path / "cut.mp4", OverlayOptions(view="skeleton", start_s=0.4, end_s=1.2))
    times, images, sound, _ = film(tmp_path / "cut.mp4")
    assert [read_index(image) for image in images] == list(range(10, 30))
    assert abs(times[0]) < 1e-3 and abs(sound - 0.8) < 0.15


def test_a_film_of_an_avi_with_b_frames_lasts_as_long(tmp_path):
    copied(lambda path: make_clip(path, frames=50, options={"preset": "medium", "bf": "3"}), "h264")(tmp_path / "a.avi")
    tracks = make_tracks(tmp_path / "a.npz", tmp_path / "a.avi", np.zeros((0, 3)), 50)
    overlay(tmp_path / "a.avi", tracks, tmp_path / "o.mp4", OverlayOptions(view="skeleton"))
    times, images, _, _ = film(tmp_path / "o.mp4")
    assert [read_index(image) for image in images] == list(range(50))
    np.testing.assert_allclose(np.array(times) - times[0], np.arange(50) / 25, atol=1e-4)
    with av.open(str(tmp_path / "o.mp4")) as made:
        assert made.duration / av.time_base == pytest.approx(2.0, abs=1e-3)


@pytest.mark.usefixtures("egl")
def test_odd_sides_and_turned_films(tmp_path):
    """Bodies are drawn on the frame as displayed; 4:2:0 adds a row or a column where a side is odd."""
    clip = make_clip(tmp_path / "a.mkv", frames=3, size=(193, 145), pix_fmt="yuv444p")
    report = overlay(clip, make_tracks(tmp_path / "a.npz", clip, [[0, 0.1, 4.0]], 3), tmp_path / "o.mp4")
    _, images, _, _ = film(tmp_path / "o.mp4")
    assert report.drawn == 3 and images[0].shape == (146, 194, 3)
    clip = make_clip(tmp_path / "b.mp4", frames=3)
    data = clip.read_bytes()
    upright = b"".join(v.to_bytes(4, "big") for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    turned = b"".join(v.to_bytes(4, "big") for v in (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30))
    at = data.rindex(upright)
    clip.write_bytes(data[:at] + turned + data[at + 36 :])
    overlay(clip, make_tracks(tmp_path / "b.npz", clip, [[0, 0.1, 4.0]], 3), tmp_path / "p.mp4")
    _, images, _, _ = film(tmp_path / "p.mp4")
    assert images[0].shape == (192, 144, 3)
    changed = np.abs(images[0].astype(int) - np.rot90(picture(0, 2, 192, 144), -1)).max(axis=2) > 50
    rows, columns = np.nonzero(changed)
    assert abs(columns.mean() - 72) < 10 and rows.max() - rows.min() > 60  # upright in the turned frame


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize(("stored", "aspect"), [((96, 144), Fraction(2)), ((192, 72), Fraction(1, 2))])
def test_pixels_that_are_not_square_are_drawn_on_as_displayed(stored, aspect, cliffvid, tmp_path):
    """Film and bodies at the displayed size, each body where its person was painted before the squeeze."""
    squeezed = (cv2.resize(picture(i, 2, 192, 144), stored, interpolation=cv2.INTER_AREA) for i in range(4))
    clips.film(tmp_path / "a.mkv", squeezed, aspect=aspect)
    assert cliffvid("process", "a.mkv", "--overlay", "drawn.mp4")[0] == 0
    images = film(tmp_path / "drawn.mp4")[1]
    assert len(images) == 4
    with av.open(str(tmp_path / "drawn.mp4")) as file:
        assert file.streams.video[0].sample_aspect_ratio in (None, 1)
    tracks = read_tracks(tmp_path / "a.parquet")
    assert len(tracks) == 8
    for index, image in enumerate(images):
        assert image.shape == (144, 192, 3) and read_index(image) == index
        changed = np.abs(image.astype(int) - picture(index, 2, 192, 144)).max(axis=2) > 60
        for box in tracks.bbox_xyxy[tracks.frame_idx == index]:
            truth = min((person_box(person, index, 192, 144) for person in range(2)), key=lambda b: abs(b[0] - box[0]))
            np.testing.assert_allclose(box, truth, atol=4)
            x0, y0, x1, y1 = truth
            rows, columns = np.nonzero(changed[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2])
            assert len(rows) > 30
            assert abs(rows.mean() + y0 - 2 - (y0 + y1) / 2) < 6 and abs(columns.mean() + x0 - 2 - (x0 + x1) / 2) < 4
        assert not changed[80:-20].any() and not changed[:-20, 80:].any()  # nobody is there


@pytest.mark.usefixtures("egl")
def test_views_and_marks(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=2, people=0)
    tracks = make_tracks(tmp_path / "a.npz", clip, [[-0.6, 0, 4.0], [0.7, 0, 5.0]], 2)

    def drawn(**how):
        overlay(clip, tracks, tmp_path / "o.mp4", OverlayOptions(overwrite=True, **how))
        return film(tmp_path / "o.mp4")[1][1].astype(int)

    plain = picture(1, 0, 192, 144).astype(int)
    both, front, side = drawn(view="both"), drawn(), drawn(view="side")
    assert both.shape == (144, 384, 3)
    assert np.abs(both[:, :192] - front).mean() < 2 and np.abs(both[:, 192:] - side).mean() < 2
    assert np.median(side) < 40 < np.median(front)
    first, second = (np.abs(drawn(track=(k,)) - plain).max(axis=2) > 40 for k in (1, 2))
    assert first[:, :96].sum() > 400 and not first[:, 110:].any()
    assert second[:, 96:].sum() > 400 and not second[:, :80].any()
    faint = drawn(alpha=0.3)
    assert np.abs(faint - plain)[first].mean() < 0.6 * np.abs(front - plain)[first].mean()
    assert np.abs(drawn(boxes=True)[20, 22:58] - front[20, 22:58]).mean() > 20
    assert np.abs(drawn(ids=True)[8:18, 18:32] - front[8:18, 18:32]).mean() > 5
    bones = drawn(view="skeleton")
    assert 50 < (np.abs(bones - plain).max(axis=2) > 40).sum() < first.sum()


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize(("view", "bit"), [("overlay", IMPLAUSIBLE), ("skeleton", IMPLAUSIBLE), ("both", BAD_CAMERA)])
def test_bodies_that_do_not_fit_are_not_drawn_and_that_is_said(cliffvid, tmp_path, view, bit):
    """The left one is flagged in the second of three frames."""
    clip = make_clip(tmp_path / "a.mp4", frames=3, people=0)
    make_tracks(tmp_path / "a.npz", clip, [[-0.6, 0, 4.0], [0.7, 0, 5.0]], 3, flags={(1, 1): bit})
    answer = cliffvid("overlay", "a.mp4", "a.npz", "-o", "o.mp4", "--view", view, toy_models=False)
    assert answer[0] == 0 and "3 with people (1 implausible rows not drawn), sound" in answer[2]
    for index, image in enumerate(film(tmp_path / "o.mp4")[1]):
        changed = np.abs(image[:, :192].astype(int) - picture(index, 0, 192, 144)).max(axis=2) > 60
        assert changed[:, :96].any() == (index != 1) and changed[:, 96:].any()


@pytest.mark.usefixtures("egl")
def test_what_cannot_be_drawn_is_refused_before_the_work(cliffvid, clip, tmp_path):
    def refused(code, words, tracks, *more, video=clip):
        answer = cliffvid("overlay", video, tracks, "-o", "o.mp4", *more, toy_models=False)
        assert answer[0] == code and words in answer[2], answer[2]

    good = make_tracks(tmp_path / "good.npz", clip, [[0, 0, 4.0]], 30)
    smpl = make_tracks(tmp_path / "smpl.npz", clip, [[0, 0, 4.0]], 30, body="smpl")
    refused(2, "fetch SMPL_NEUTRAL.pkl from https://smpl.is.tue.mpg.de", smpl)
    refused(2, "belong to 'open-body' and to no other", good, "--body", "smpl")
    refused(2, "no track 7; it holds 1 to 1", good, "--track", 7)
    refused(2, "choose one of overlay, side, both, skeleton", good, "--view", "top")
    refused(2, "--alpha 0.0: must be a number, above 0 and at most 1", good, "--alpha", 0)
    refused(2, "no frame is between", good, "--start", 100, "--view", "skeleton")
    other = make_clip(tmp_path / "other.mp4", frames=3)
    refused(1, "tracks of clip.mp4, not of other.mp4", good, video=other)
    refused(1, "no such file", tmp_path / "none.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.npz", "other.mp4", "smpl.npz"]
    (tmp_path / "o.mp4").write_text("mine")
    refused(2, "exists already", good)
    assert (tmp_path / "o.mp4").read_text() == "mine"
    own = shutil.copy(clip, tmp_path / "own.mp4")
    refused(2, "own.mp4: is also an input", good, "--overwrite", "-o", own, video=own)
    assert own.read_bytes() == clip.read_bytes()


@pytest.mark.usefixtures("egl")
def test_the_command_says_what_it_used_and_did(cliffvid, clip, tmp_path):
    tracks = make_tracks(tmp_path / "a.npz", clip, [[0, 0, 4.0]], 20)
    code, out, err = cliffvid("overlay", clip, tracks, "-o", "o.mp4", toy_models=False)
    assert (code, out) == (0, "")
    assert "30 frames, 20 with people" in err and "renderer: gl (" in err and "frames/s" in err
    code, out, _ = cliffvid("overlay", clip, tracks, "-o", "p.mp4", "--json", "--view", "skeleton", toy_models=False)
    assert code == 0 and json.loads(out)["renderer"] is None and json.loads(out)["frames"] == 30


def test_without_egl_it_says_what_to_install(clip, tmp_path):
    tracks = make_tracks(tmp_path / "a.npz", clip, [[0, 0, 4.0]], 30)
    for renderer in ("gl", "pyrender"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "cliffvid",
                "overlay",
                clip,
                tracks,
                "-o",
                tmp_path / "o.mp4",
                "--renderer",
                renderer,
            ],
            env=os.environ | {"__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "apt-get install libegl1 libgl1 libgl1-mesa-dri" in done.stderr and "--view skeleton" in done.stderr
    assert not (tmp_path / "o.mp4").exists()


def test_a_fault_midway_leaves_nothing(clip, tmp_path, monkeypatch):
    from cliffvid.view import overlay as home

    tracks = make_tracks(tmp_path / "a.npz", clip, [[0, 0, 4.0]], 30)
    calls = []

    def fails(*given):
        calls.append(given)
        if len(calls) > 9:
            raise UsageError("stop")

    monkeypatch.setattr(home, "draw_skeletons", fails)
    with pytest.raises(UsageError, match="stop"):
        overlay(clip, tracks, tmp_path / "o.mp4", OverlayOptions(view="skeleton"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.usefixtures("egl")
def test_a_users_own_smplx_is_drawn_with_its_tracks(clip, tmp_path, monkeypatch):
    """Tracks of 21 joints and 11 betas; hands, jaw and eyes rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    tracks = make_tracks(tmp_path / "a.npz", clip, [[0, 0, 4.0]], 3, body="smplx", moved=21, betas=11)
    with pytest.raises(UsageError, match=r"fetch SMPLX_NEUTRAL\.npz from https://smpl-x.is.tue.mpg.de"):
        overlay(clip, tracks, tmp_path / "o.mp4")
    add_body(save_npz(tmp_path / "SMPLX_NEUTRAL.npz", body_arrays("smplx")))
    for view in ("overlay", "skeleton"):
        report = overlay(clip, tracks, tmp_path / "o.mp4", OverlayOptions(view=view, overwrite=True))
        assert report.drawn == 3
    load_body.cache_clear()
