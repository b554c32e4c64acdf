import json
import re
import shutil
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import needs
from bench import __main__ as command
from bench import bulk, growth, host_gpu, overlay, threads, whole
from bench.clips import small_clip
from bench.fakes import constant_models
from bench.harness import Case, Result, take_turns
from bench.nets import constant_nets
from bench.plots import PLOTS, svg
from bench.readme import FIGURES, MARKS, PICTURES, draw, fill, lines, pages
from bench.shapes import cut_to_16_9, matched
from bench.timeline import profile
from cliffvid import Options, read_tracks
from cliffvid.pipeline import networks
from cliffvid.pipeline.process import process
from cliffvid.tables import image_column
from cliffvid.video import reader as decode
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.open import open_source
from cliffvid.video.reader import DecodeCounts


def test_cases_take_turns_and_the_first_turn_does_not_count():
    log = []
    cases = take_turns([Case("a", lambda: log.append("a"), 1), Case("b", lambda: log.append("b"), 1)], repeats=3)
    assert "".join(log) == "abababab" and [len(case.seconds) for case in cases] == [3, 3]


def test_figures_are_medians():
    case = Case("a", print, 10, seconds=[1.0, 9.0, 2.0])
    assert (case.median_s, case.rate, case.spread) == (2.0, 5.0, 2.0)


@pytest.mark.parametrize(("goal", "met"), [("<= 1.5", False), (">= 1.5", True), ("<= 2.0", True)])
def test_a_goal_is_met_or_not_and_kept_in_the_file(tmp_path, goal, met):
    result = Result("x", "frame", {"repeats": 1}, ratios={"r": 2.0}, goals={"r": goal})
    assert result.met("r") is met
    kept = json.loads(result.save(tmp_path).read_text())
    assert kept["ratios"] == {"r": 2.0} and kept["goals"] == {"r": goal} and kept["machine"]["cores"] >= 1


@pytest.mark.parametrize("people", [0, 3, 10])
def test_constant_networks_see_as_many_people_as_asked_for(tmp_path, street, people):
    report = process(street, tmp_path / "a.parquet", models=constant_models(people))
    assert report.people == people * report.frames
    assert report.tracks == people


def test_constant_networks_on_disk_answer_as_those_in_memory(tmp_path, street):
    options = constant_nets(tmp_path / "engines", people=3)
    process(street, tmp_path / "disk.parquet", options)
    process(street, tmp_path / "memory.parquet", models=constant_models(3))
    disk, memory = (read_tracks(tmp_path / f"{name}.parquet").columns() for name in ("disk", "memory"))
    for name, column in memory.items():
        np.testing.assert_array_equal(disk[name], column, err_msg=name)
    assert len(memory["pts"]) == 18


def test_bulk_annotation_is_measured_on_as_many_frames_as_it_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where clips are kept
    for name, value in {"CLIPS": 3, "LONG": 1, "LONG_S": 2}.items():
        monkeypatch.setattr(bulk, name, value)
    result = bulk.bulk(1)
    assert [row["units"] for row in result.rows] == [60, 150, 150] and "frames/s of annotate" in str(result.goals)
    assert all(value > 0 for value in result.ratios.values())


@pytest.mark.usefixtures("egl")
def test_renderers_are_measured_on_the_same_picture(monkeypatch):
    needs.package("pyrender")
    monkeypatch.setattr(overlay, "CROWDS", {2: [(2, 4.0)]})
    monkeypatch.setattr(overlay, "SIZES", {"720p": (320, 180), "1080p": (480, 270)})
    result = overlay.overlay(1)
    assert len(result.rows) == 2 * 3 + 1 + 2 and all(row["median_s"] > 0 for row in result.rows)
    assert len(result.ratios) == 4 and all(value > 0 for value in result.ratios.values())
    assert len(result.quality) == 4 and all(0.95 < value <= 1 for value in result.quality.values())


def test_threads_are_shared_as_each_case_says(monkeypatch, street):
    asked = {decode: set(), networks: set()}

    def recorded(module, name, place):
        real = getattr(module, name)

        def call(*given):
            asked[module].add(given[place])
            return real(*given)

        monkeypatch.setattr(module, name, call)

    recorded(decode, "open_video", 2)
    recorded(networks, "open_session", 3)
    monkeypatch.setattr(threads, "clip", lambda: street)
    monkeypatch.setattr(threads, "EXAMPLE", street)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    result = threads.threads(1)
    decoders = {1, 4, 8, result.settings["FFmpeg's own choice"]}
    assert asked == {decode: {0} | decoders, networks: {0, 1}}
    assert [row["units"] for row in result.rows] == [6] * (1 + len(decoders) + 1 + 2 * len(decoders))
    assert len(result.ratios) == 2 and all(value >= 1 for value in result.ratios.values())


def test_a_gpu_is_fed_as_many_people_as_each_case_says(monkeypatch):
    monkeypatch.setattr(host_gpu, "FRAMES", 32)
    result = host_gpu.host_gpu(1, people=(0, 2), fed=0)
    found = {name: rows for name, rows in result.quality.items() if "people found" in name}
    assert list(found.values()) == 4 * [0, 2] and len(result.rows) == len(result.ratios) == 8


def test_boxes_of_two_runs_are_paired_once_the_best_first(tmp_path):
    iou = np.array([[0.6, 0.9, 0], [0.8, 0.85, 0], [0, 0, 0.4]])
    assert matched(iou) == [(0, 1), (1, 0)]
    assert matched(np.zeros((0, 3))) == matched(np.zeros((3, 0))) == []


def test_a_frame_in_the_middle_of_the_canvas_is_cut_to_its_middle(street):
    with open_source(street, Options()) as source:
        frames = next(source.frames(2, DecodeCounts()))
    padded = [RgbImage(np.pad(image.rgb(), ((140, 140), (0, 0), (0, 0)))) for image in frames.images]
    square = replace(frames, images=image_column(padded))
    for cut, image in zip(cut_to_16_9(square).images, frames.images, strict=True):
        np.testing.assert_array_equal(cut.rgb(), image.rgb())


@pytest.fixture
def street(tmp_path):
    from clips import make_clip

    return make_clip(tmp_path / "street.mp4", frames=6, size=(640, 360))


def test_the_profile_shows_every_stage(tmp_path, street):
    page, text = profile(tmp_path / "out", street, constant_models(2))
    assert "letterboxed" in text.read_text()
    shown = page.read_text()
    for name in ("decode", "detect", "crop", "regress", "track and write"):
        assert re.search(f'<td>{name}<td><svg [^>]*>(<rect [^>]*/>)*<rect [^>]*fill="#3b8686"', shown), name
    assert shown.count("#3b8686") > 4 and "6 frames" in shown


def test_figures_take_the_place_between_their_marks_and_leave_the_rest(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- bench x z -->\nold\n<!-- end -->\nb\n<!-- bench x y -->\nkept\n<!-- end -->\n")
    Result("x", "frame", {"repeats": 3}, ratios={"r": 2.0, "beside": 3.0}, goals={"r": "<= 1.5"}).save(tmp_path)
    Result("z", "frame", {"repeats": 5}, ratios={"s": 0.9}, goals={"s": ">= 0.8"}).save(tmp_path)
    for _ in range(2):  # again and again gives the same
        assert fill(page, tmp_path) == ["x", "z"]
        text = page.read_text()
        assert (
            "| r | 2.00 | <= 1.5 |\n| s | 0.90 | >= 0.8 |\n" in text
            and "x 3, z 5." in text
            and "Load at the start: " in text
        )
        assert "old" not in text and "beside" not in text and text.startswith("a\n<!-- bench x z -->\n")
        assert text.endswith("<!-- end -->\nb\n<!-- bench x y -->\nkept\n<!-- end -->\n")


def test_accuracy_is_shown_of_whole_scenes_and_the_rest_of_each_film():
    whole = {"rows": "all", "name": "several", "people": 10, "found": 9, "precision": 0.987, "mpjpe_mm": 105.6}
    whole |= {"pa_mpjpe_mm": 59.3, "depth_ratio": 1.169}
    parts = [
        whole | {"name": "several cam01", "found": 3},
        whole | {"rows": "found by all versions", "found": 2},
        whole,
    ]
    scene = {"scene": "several", "figures": {"bundled": parts, "against": [whole | {"found": 10}]}}
    machine = {"cpu": "a", "cores": 2, "load_1min": None}
    facts = {"what": "accuracy", "date": "d", "commit": "c", "machine": machine, "settings": {}, "scenes": [scene]}
    facts["models"] = {"bundled": "p fp32 by x + open fp32 by x", "against": "p fp32 by x + heavy fp32 by x"}
    shown = lines([facts]).splitlines()
    assert shown[2] == "| two and three people | 9 of 10 | 0.99 | 106 mm | 59 mm | 1.17 |"
    assert shown[3].startswith("| two and three people, `heavy` | 10 of 10 |")
    of = {
        "rows": 7,
        "missed_percent": 1.3,
        "made_up_percent": 0.5,
        "rotation_median_deg": 0.04,
        "rotation_p90_deg": 4.76,
    }
    facts = facts | {"what": "every", "quality": {"a, every b, every 2": of}}
    facts["ratios"] = {"a, every b, every 2, times every frame": 1.534}
    peaks = {
        f"peak memory in MB, 4K, 60 frames, --pixels {pixels}": peak for pixels, peak in (("exact", 3), ("planes", 2))
    }
    assert "| 4K, 60 frames | 3 MB | 2 MB |" in lines([facts | {"what": "memory", "quality": peaks}])
    assert "| a, every b, 7 rows | 2 | 1.53 | 1.3 % | 0.5 % | 0.0, 4.8 degrees |" in lines([facts])


def test_tables_and_plots_of_the_documentation_are_those_of_the_figures_kept(tmp_path):
    kept = {path.stem: json.loads(path.read_text("utf-8")) for path in FIGURES.glob("*.json")}
    shown = set()
    for page in pages():
        shutil.copy(page, tmp_path / "page.md")
        shown |= {name for match in MARKS.finditer(page.read_text("utf-8")) for name in match[2].split()}
        fill(tmp_path / "page.md", FIGURES)
        assert (tmp_path / "page.md").read_text("utf-8") == page.read_text("utf-8"), f"{page}: make readme"
    assert shown <= kept.keys()
    for name, facts in kept.items():
        assert facts["what"] == name and facts["commit"] and facts["date"] and facts["settings"]["repeats"] >= 1
        assert facts["machine"]["cpu"] and facts["machine"]["cores"]
    drawn = draw(FIGURES, tmp_path)
    assert {path.name for path in drawn} == {path.name for path in PICTURES.glob("growth-*.svg")}
    for path in drawn:
        assert path.read_bytes() == (PICTURES / path.name).read_bytes(), f"{path.name}: make readme"


def test_a_plot_places_its_points_on_the_scale_that_it_shows():
    drawn = ElementTree.fromstring(svg([(0, 50), (10, 100)], "ms <a frame>", "people"))
    name = "{http://www.w3.org/2000/svg}"
    texts = {each.text: (float(each.get("x")), float(each.get("y"))) for each in drawn.iter(f"{name}text")}
    points = [(float(each.get("cx")), float(each.get("cy"))) for each in drawn.iter(f"{name}circle")]
    assert {"ms <a frame>", "people", "0", "10", "20", "40", "60", "80", "100"} <= texts.keys()
    assert points[1][1] == texts["100"][1] - 4 and points[0][1] == (texts["40"][1] + texts["60"][1]) / 2 - 4
    assert points[1][0] == texts["10"][0] and points[0][0] < points[1][0]


def test_growth_is_measured_over_what_each_row_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where clips are kept
    monkeypatch.setattr(growth, "clip", lambda size="", frames=6: small_clip(frames))
    sizes = {"PIECE": 6, "LENGTHS": (6, 12), "PEOPLE": (0, 2), "PIXELS": ("720p",), "FRAMES": 6}
    for name, value in (sizes | {"AT_ONCE": (1, 2), "SHORT": 3, "WORKERS": (1,), "BULK": 2}).items():
        monkeypatch.setattr(growth, name, value)
    result = growth.growth(1)
    rows = {(row["plot"], row["x"]): row["units"] for row in result.rows}
    assert rows == {
        ("frames", 6): 6, ("frames", 12): 12, ("people", 0): 6, ("people", 2): 6, ("pixels", 0.9216): 6,
        ("at_once", 1): 90, ("at_once", 2): 90, ("workers", 1): 60,
    }  # fmt: skip
    result.save(tmp_path)
    assert {path.name for path in draw(tmp_path, tmp_path)} == {f"growth-{name}.svg" for name in PLOTS}


def test_figures_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "track", "write", "--repeats", "1", "--out", str(tmp_path)])
    assert command.main() == 0 and "people a frame" in capsys.readouterr().out
    for name in ("track", "write"):
        figures = json.loads((tmp_path / f"{name}.json").read_text())
        assert all(row["median_s"] > 0 for row in figures["rows"])


def test_e2e_measures_all_that_is_end_to_end(tmp_path, monkeypatch):
    parts = {"host": "host", "engine": "engine_bound", "many": "many", "start": "start", "memory": "memory"}
    for name, function in parts.items():  # what each measures takes minutes
        monkeypatch.setattr(whole, function, lambda repeats, name=name: Result(name, "frame", {"repeats": repeats}))
    monkeypatch.setattr(sys, "argv", ["bench", "e2e", "--repeats", "2", "--out", str(tmp_path)])
    assert command.main() == 0
    written = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert written.keys() == parts.keys() and all(facts["settings"]["repeats"] == 2 for facts in written.values())
