"""The pages in a real browser: on a phone and a desk, light and dark, by keys alone, and as axe-core judges them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import browser
import needs
from cliffvid.evaluate.options import PseudoGTViewOptions
from cliffvid.evaluate.pseudogt.files import write_npz
from cliffvid.evaluate.pseudogt.page import view
from cliffvid.tables import IMPLAUSIBLE
from cliffvid.view.report import report
from pseudogt_files import gt_arrays, save_images
from track_files import make_tracks

SERIOUS = ("serious", "critical")
PLACES = [[-1.0, 0.2, 5.0], [0.9, 0.1, 6.0], [0.3, 0.3, 4.0]]


@pytest.fixture
def window(tmp_path):
    if lacking := browser.missing():
        needs.lacks("chromium", f"{', '.join(lacking)} is not installed")
    with browser.Browser(tmp_path / "profile") as window:
        yield window


def write_report(folder, clip):
    """A page with each part that a report can have, notes and all."""
    tracks = make_tracks(folder / "a.npz", clip, PLACES, 30, flags={(29, 1): IMPLAUSIBLE})
    report(tracks, folder / "r.html", clip, skeleton_only=True, busy_s={"decode": 1.0, "detect": 2.0})
    return folder / "r.html"


def write_view(folder, clip):
    save_images(folder / "images", 6)
    write_npz(folder / "gt.npz", gt_arrays(6), {"body": {"name": "open-body"}})
    view(folder / "gt.npz", folder / "images", folder / "v.html", PseudoGTViewOptions(most=2, skeleton_only=True))
    return folder / "v.html"


def pixels(window):
    return cv2.imdecode(np.frombuffer(window.picture(), np.uint8), cv2.IMREAD_COLOR).astype(int)


@pytest.mark.parametrize("write", [write_report, write_view])
def test_everybody_can_read_it_on_phones_and_desks_in_light_and_dark(write, window, clip, tmp_path):
    """axe finds nothing serious, with a person selected or none; nothing is cut off; dark is dark, 3D view and all."""
    axe = Path(needs.package("axe_core_python").__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    page = write(tmp_path, clip)
    for width, height in ((390, 844), (1280, 800)):
        for dark in (False, True):
            window.appear(width, height, dark)
            window.open(page)
            assert window.until("document.querySelector('[data-ready]').dataset.ready") == "true"
            if width == 390:
                window.run("document.querySelector('button[data-track]')?.click()")
            window.run(axe)
            found = window.until("axe.run().then((found) => ({faults: found.violations}))")["faults"]
            serious = [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in SERIOUS]
            assert serious == [], (width, dark)
            beyond = window.run(
                "return [...document.querySelectorAll('body *')].filter((item) => !item.closest('svg')"
                " && item.getBoundingClientRect().right > innerWidth + 1).map((item) => item.outerHTML)"
            )
            assert beyond == [] and window.run("return document.documentElement.scrollWidth") <= width
            shot = pixels(window)
            assert (shot[2, 2] < 60).all() if dark else (shot[2, 2] > 200).all()
            if write is write_report:
                window.run("document.querySelector('canvas').scrollIntoView()")
                window.until(
                    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
                )
                corner = pixels(window)[5, width // 2]
                assert (corner < 60).all() if dark else (corner > 200).all()
    assert window.log() == []


def test_a_report_is_played_by_keys_alone(window, clip, tmp_path):
    window.open(write_report(tmp_path, clip))
    assert window.until("document.getElementById('player').dataset.ready") == "true"
    state = "document.getElementById('player').dataset"

    def now():
        return float(window.run(f"return {state}.time"))

    def press(*names):
        for name in names:
            window.key(name)

    press("ArrowRight", "ArrowRight")
    assert now() == pytest.approx(2 / 25, abs=1e-3)
    press("ArrowLeft")
    assert now() == pytest.approx(1 / 25, abs=1e-3)
    press("2")
    assert window.run(f"return {state}.selected") == "2"
    pressed = "[...document.querySelectorAll('button[data-track]')].map((b) => b.getAttribute('aria-pressed'))"
    assert window.run(f"return {pressed}") == ["false", "true", "false"]
    press("Escape")
    assert window.run(f"return {state}.selected") == ""
    window.run("document.querySelector('svg[role=slider]').focus()")
    slider = "document.activeElement"
    press("End")
    assert now() == pytest.approx(29 / 25, abs=1e-3)
    assert float(window.run(f"return {slider}.ariaValueMax")) == pytest.approx(29 / 25)
    assert float(window.run(f"return {slider}.getAttribute('aria-valuenow')")) == pytest.approx(29 / 25, abs=1e-3)
    assert window.run("return document.querySelector('.playhead').getAttribute('x1')") == "1000"
    press("Home", " ")
    window.until(f"Number({state}.time) > 0")
    press("ArrowLeft")
    assert window.run(f"return {state}.playing") == "false" and now() < 29 / 25
