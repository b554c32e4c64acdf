"""The report: what its numbers say, that it needs nothing else, and that it works in a real browser."""

import base64
import dataclasses
import json
import re
import zlib

import cv2
import numpy as np
import pytest

import browser
import needs
from bodies import body_arrays, save_npz
from cliffvid import read_tracks
from cliffvid.errors import InputError, UsageError
from cliffvid.geometry import project
from cliffvid.models.body import load_body
from cliffvid.models.smpl_files import add_body
from cliffvid.rotations import rotation_matrix
from cliffvid.tables import BAD_CAMERA, IMPLAUSIBLE
from cliffvid.tracks.motion import derivative
from cliffvid.view import charts
from cliffvid.view.report import report
from clips import make_clip
from track_files import make_tracks

PLACES = [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0], [0.3, 0.3, 4.0]]


@pytest.fixture
def tracks(clip, tmp_path):
    return make_tracks(tmp_path / "a.npz", clip, PLACES, 30)


def data_of(page):
    text = page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    packed = zlib.decompress(base64.b64decode(re.search(r'id="pack">(.*?)</script>', text, re.S)[1]))
    return data, lambda place: np.frombuffer(packed, "<" + place[0], place[2], place[1])


def test_the_player_is_given_every_row_and_the_body(tracks, tmp_path):
    page = report(tracks, tmp_path / "r.html", up="camera")
    assert (page.tracks, page.pictures, page.warnings) == (3, 0, [])
    assert page.bytes == (tmp_path / "r.html").stat().st_size < 2.5e6
    rows, body = read_tracks(tracks), load_body("open-body")
    data, numbers = data_of(tmp_path / "r.html")
    assert [track["id"] for track in data["tracks"]] == [1, 2, 3]
    for track in data["tracks"]:
        mine = rows[rows.track_id == track["id"]]
        np.testing.assert_allclose(numbers(track["time"]), mine.time_s, atol=1e-6)
        np.testing.assert_array_equal(numbers(track["transl"]).reshape(-1, 3), mine.transl)
        x, y, z, w = (numbers(track["turns"]).reshape(30, 24, 4) / 32767).transpose(2, 0, 1)
        pose = np.concatenate([mine.global_orient, mine.body_pose], axis=1).reshape(30, 24, 3)
        # the first row of a quaternion's matrix, and its trace
        first = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=-1)
        turn = rotation_matrix(pose)
        np.testing.assert_allclose(first, turn[..., 0, :], atol=3e-4)
        np.testing.assert_allclose(4 * w**2 - 1, np.trace(turn, axis1=-2, axis2=-1), atol=3e-4)
        rest = body.rest_joints(np.array([track["betas"]]))[0]
        np.testing.assert_allclose(numbers(track["rest"]).reshape(-1, 3), rest, atol=1e-5)
    mesh = data["mesh"]
    weights = numbers(mesh["weights"]).reshape(-1, 4)
    assert (weights.astype(int).sum(axis=1) == 255).all()
    dirs = numbers(mesh["dirs"]).reshape(10, -1, 3) * np.array(mesh["scales"])[:, None, None]
    truth = body.shape_dirs_m.reshape(10, 3, -1).transpose(0, 2, 1)
    assert np.abs(dirs - truth).max() < 1e-3
    np.testing.assert_array_equal(numbers(mesh["faces"]).reshape(-1, 3), body.faces)


def test_bodies_that_do_not_fit_are_counted_and_not_shown(clip, tmp_path):
    flags = {(3, 1): IMPLAUSIBLE, (4, 1): IMPLAUSIBLE, (4, 2): BAD_CAMERA}
    report(make_tracks(tmp_path / "a.npz", clip, PLACES, 6, flags=flags), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<b>2</b><span>implausible rows, not drawn</span>" in text
    assert "<b>1</b><span>rows with an impossible camera</span>" in text
    data, numbers = data_of(tmp_path / "r.html")
    assert [len(numbers(track["time"])) for track in data["tracks"]] == [4, 5, 6]


def test_a_long_film_is_thinned_and_that_is_said(tracks, tmp_path, monkeypatch):
    monkeypatch.setattr("cliffvid.view.player.ROWS_MAX", 40)
    page = report(tracks, tmp_path / "r.html")
    assert "of 90 rows the 3D view holds every 3th" in page.warnings[0]
    data, numbers = data_of(tmp_path / "r.html")
    assert [len(numbers(track["time"])) for track in data["tracks"]] == [10, 10, 10]


def test_charts_show_what_is_in_the_tracks(tracks):
    rows = read_tracks(tracks)
    rows = rows[~((rows.track_id == 2) & (rows.frame_idx >= 10) & (rows.frame_idx < 20))]
    line = charts.timeline(rows)
    groups = re.findall(r'<g data-track="(\d+)".*?</g>', line, re.S)
    assert groups == ["1", "2", "3"]
    second = re.search(r'<g data-track="2".*?</g>', line, re.S)[0]
    bars = [(float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)" y="4" width="([\d.]+)"', second)]
    np.testing.assert_allclose(bars, [(0, 1000 / 3), (2000 / 3, 1000 / 3)], atol=0.02)
    levels = [re.findall(r'class="c(\d)"', g)[0] for g in re.findall(r'<g data-track="\d".*?</g>', line, re.S)]
    assert levels == ["5", "4", "3"]  # of 0.9, 0.7, 0.5
    heights = [float(y) for y in re.findall(r"V([\d.]+)H", charts.people_per_frame(rows))]
    np.testing.assert_allclose(heights, [0] * 10 + [30] * 10 + [0] * 10, atol=0.1)  # 3, 2, 3 of 3 people, from above
    assert charts.depth(rows).count('<path class="line"') == 3
    assert len(re.findall("M", re.search(r'data-track="2".*?d="(.*?)"', charts.depth(rows))[1])) == 2  # the gap
    assert re.findall(r'<span data-track="(\d)">', charts.depth(rows)) == ["1", "2", "3"]  # the legend


@pytest.mark.parametrize(
    "seconds, expected",
    [(0.0, ["0 s"]), (5.0, [f"{t} s" for t in range(6)]), (1.4, ["0 s", "0.5 s", "1 s"])]
    + [(150.0, ["0:00 min", "0:30 min", "1:00 min", "1:30 min", "2:00 min", "2:30 min"])]
    + [(9000.0, ["0:00 min", "30:00 min", "1:00:00 h", "1:30:00 h", "2:00:00 h", "2:30:00 h"])],
)
def test_times_below_a_chart_are_round_and_where_they_belong(seconds, expected, tracks):
    rows = read_tracks(tracks)
    rows = dataclasses.replace(rows, time_s=seconds * (rows.time_s - rows.time_s.min()) / np.ptp(rows.time_s))
    found = re.findall(r'<span style="--at:([\d.]+)%">(.*?)</span>', charts.depth(rows))
    assert [label for _, label in found] == expected
    spread = [float(share) / 100 * seconds for share, _ in found]
    np.testing.assert_allclose(np.diff(spread), seconds and np.diff(spread)[0], rtol=1e-2)


def test_jitter_is_acceleration_whatever_the_clock():
    times = np.cumsum([0.0, 0.04, 0.02, 0.06, 0.04, 0.04])
    joints = np.zeros((6, 2, 3))
    joints[:, 0, 1] = 0.5 * 3.0 * times**2
    joints[:, 1, 0] = 2 * times
    found = derivative(joints, np.array([0, 1, 2, 3, 5, 6]), times, 2)
    np.testing.assert_allclose(found[:2], 1.5)  # mean of 3 m/s2 and none
    assert np.isnan(found[2:]).all()  # frame 4 is missing


@pytest.mark.usefixtures("egl")
def test_pictures_show_each_person_with_a_body(clip, tmp_path):
    tracks = make_tracks(tmp_path / "a.npz", clip, [[-1.7, -0.3, 6.0], [-1.4, -0.3, 5.0]], 5)
    for skeleton_only in (False, True):
        page = report(tracks, tmp_path / "r.html", clip, skeleton_only, overwrite=True)
        text = (tmp_path / "r.html").read_text()
        found = re.findall(r'<figure data-track="(\d)"><img alt="Track \d" src="data:image/jpeg;base64,(.*?)"', text)
        assert page.pictures == 2 and [track for track, _ in found] == ["1", "2"]
        images = [cv2.imdecode(np.frombuffer(base64.b64decode(b), np.uint8), 1) for _, b in found]
        assert all(image.shape == (240, 180, 3) for image in images)
        assert np.abs(images[0].astype(int) - images[1]).max() > 50
    other = make_clip(tmp_path / "clip.mp4", frames=3)
    best = make_tracks(tmp_path / "c.npz", other, [[0, 0, 4.0]], 3)
    report(best, tmp_path / "s.html", other)
    with pytest.raises(InputError, match=r"tracks of clip\.mp4, not of"):
        report(best, tmp_path / "t.html", make_clip(tmp_path / "other.mp4", frames=3))


def test_a_licensed_body_is_warned_about_and_can_be_left_out(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_body.cache_clear()
    add_body(save_npz(tmp_path / "SMPL_NEUTRAL.npz", body_arrays("smpl")))
    tracks = make_tracks(tmp_path / "a.npz", clip, PLACES, 3, body="smpl")
    page = report(tracks, tmp_path / "whole.html")
    assert "licensed body 'smpl': do not pass it on; --skeleton-only" in page.warnings[0]
    assert "do not pass it on" in (tmp_path / "whole.html").read_text()
    page = report(tracks, tmp_path / "bones.html", skeleton_only=True)
    assert page.warnings == [] and data_of(tmp_path / "bones.html")[0]["mesh"] is None
    assert data_of(tmp_path / "whole.html")[0]["mesh"] is not None
    load_body.cache_clear()


@pytest.mark.usefixtures("egl")
def test_pages_of_nobody_and_with_strange_names(tmp_path):
    clip = make_clip(tmp_path / "a <b> & 'c'.mp4", frames=2)
    tracks = make_tracks(tmp_path / "a.npz", clip, np.zeros((0, 3)), 2)
    report(tracks, tmp_path / "r.html", clip)
    text = (tmp_path / "r.html").read_text()
    assert "<b> & 'c'" not in text and "a &lt;b&gt; &amp; &#x27;c&#x27;.mp4" in text
    with pytest.raises(UsageError, match="exists already"):
        report(tracks, tmp_path / "r.html")


@pytest.mark.usefixtures("egl")
def test_the_command(cliffvid, clip, tracks, tmp_path):
    code, out, err = cliffvid("report", tracks, "--video", clip, "-o", "r.html", toy_models=False)
    assert (code, out) == (0, "") and "3 tracks, 3 pictures" in err and (tmp_path / "r.html").exists()
    code, _, err = cliffvid("report", "none.npz", "-o", "s.html", toy_models=False)
    assert code == 1 and "no such file" in err


@pytest.mark.usefixtures("egl")
def test_a_run_can_write_its_page_with_its_timings(cliffvid, tmp_path):
    """With --report: pictures and body of the tracks just made, seconds of each stage; one page an input."""
    for name in ("a.mp4", "b.mp4"):
        make_clip(tmp_path / name, frames=6)
    code, out, _ = cliffvid("process", "a.mp4", "--report", "r.html", "--json")
    told = json.loads(out)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert code == 0 and told["report"] == "r.html" and told["overlay"] is None
    assert "Time at work" in text
    for stage, seconds in told["busy_s"].items():
        assert re.search(rf"<span>{stage}</span><i [^>]*></i>{seconds:.2f} s<", text)
    data, _ = data_of(tmp_path / "r.html")
    assert len(data["tracks"]) == 2 and text.count("<figure") == 2 and data["mesh"]
    (tmp_path / "pages").mkdir()
    args = "process", "a.mp4", "b.mp4", "--report", "pages", "--view", "skeleton"
    assert cliffvid(*args, "--overwrite")[0] == 0
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["a.html", "b.html"]
    assert data_of(tmp_path / "pages" / "b.html")[0]["mesh"] is None


@pytest.mark.parametrize("name, said", [("r.html", "exists already; give --overwrite"), ("a.mp4", "must end in .html")])
def test_a_page_that_must_not_be_written_is_refused_before_the_work(name, said, cliffvid, tmp_path):
    make_clip(tmp_path / "a.mp4", frames=3)
    (tmp_path / "r.html").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    extra = [] if name == "r.html" else ["--overwrite"]
    code, _, err = cliffvid("process", "a.mp4", "--report", name, *extra)
    assert code == 2 and said in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("skeleton_only", [False, True])
def test_it_plays_and_selects_in_a_real_browser(skeleton_only, clip, tracks, tmp_path):
    """No console error, nothing fetched, people where the camera saw them, time that runs, a click that selects."""
    if lacking := browser.missing():
        needs.lacks("chromium", f"{', '.join(lacking)} is not installed")
    page = tmp_path / "r.html"
    report(tracks, page, clip, skeleton_only)
    rows, body = read_tracks(tracks)[:3], load_body("open-body")
    with browser.Browser(tmp_path / "profile") as window:
        window.requests()
        window.open(page)
        assert window.until("document.getElementById('player').dataset.ready") == "true"
        window.run("document.querySelector('canvas').scrollIntoView()")
        window.run("window.box = document.querySelector('canvas').getBoundingClientRect()")
        x, y, width, height = window.run("return [box.x, box.y, box.width, box.height]")
        window.until("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        shot = cv2.imdecode(np.frombuffer(window.picture(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        joints = body.joints(rows.global_orient, rows.body_pose, rows.betas, rows.transl)
        centred = project(joints, rows.focal_px, (0, 0))
        at = centred * height / 144 + [x + width / 2, y + height / 2]
        for person in range(3):
            for joint in (3, 4, 5, 7, 8):
                u, v = at[person, joint].astype(int)
                assert np.ptp(shot[v, u]) > 20, (person, joint)  # a colour, where the room is grey
        state = "document.getElementById('player').dataset"
        window.click("[data-do=play]")
        window.until(f"Number({state}.time) > 0.3")
        # In one script: on a busy machine the film may end before a click that is to pause it, which then starts it.
        window.run(f"""const button = document.querySelector('[data-do=play]');
            if ({state}.playing == 'false') button.click();
            button.click()""")
        assert window.run(f"return {state}.playing") == "false"
        still = window.run(f"return {state}.time")
        window.click("g[data-track='2'] .hit")
        assert window.run(f"return {state}.selected") == "2"
        assert window.run("return document.querySelectorAll('figure.selected').length") == 1
        window.click("g[data-track='2'] .hit")
        assert window.run(f"return {state}.selected") == ""
        window.click("figure[data-track='3']")
        assert window.run(f"return [{state}.selected, {state}.time]") == ["3", still]
        window.click("[data-look=above]")
        window.run("const s = document.querySelector('input'); s.value = 0.5; s.dispatchEvent(new Event('input'))")
        assert window.run(f"return {state}.time") == "0.500"
        assert window.log() == []
        assert window.requests() == [page.as_uri()]
