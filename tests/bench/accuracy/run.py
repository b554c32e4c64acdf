"""Versions of the models run on the same films: tracks by version, of scenes and of films and stills."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from cliffvid import Options, Tracks, process, read_tracks
from cliffvid.evaluate.ground_truth import Truth
from cliffvid.evaluate.scores import Sums
from cliffvid.export.open.sources import source_table
from cliffvid.models.body import load_body
from cliffvid.models.registry import find_model
from cliffvid.models.session import Session, open_session
from cliffvid.pipeline.networks import Models
from cliffvid.tracks.level import find_level
from cliffvid.tracks.read import read_both
from cliffvid.video.image_files import is_image
from cliffvid.video.open import open_source

from . import confidence, labels, rows
from .adjust import adjusted
from .false_positives import agreed_on, of_nobody
from .follow import Sightings, follow
from .landmarks import Landmarker
from .scenes import Camera, Scene, load_scenes
from .score import Measured, Pairs, common, measure, pair
from .truth import LANDMARKS, People, own_error, refine, truth_of

HERE = Path(__file__).parent
RATE = 60.0  # of the scenes' films; their headers say so
EXACT = "onnxruntime:fp32"


class Version:
    """Models under test, each as BACKEND:PRECISION, and the tracks that they made, kept in a folder."""

    def __init__(
        self, name: str, folder: Path, models_dir: Path | None = None, detector: str = EXACT, regressor: str = EXACT
    ) -> None:
        self.name, self.folder = name, folder / re.sub("[ :]", "-", name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options = Options(models_dir=models_dir, overwrite=True)
        self.made: dict[str, Path] = {}  # tracks files by name
        self._models = Models(self._network("detect", detector), self._network("regress", regressor))

    def _network(self, task: str, run_as: str) -> Session:
        backend, precision = run_as.split(":")
        return open_session(find_model(task, "auto", self.options.models_dir), backend, precision=precision)

    def __enter__(self) -> "Version":
        return self

    def __exit__(self, *_: object) -> None:
        self._models.close()

    @property
    def words(self) -> str:
        """The two networks, each with its precision and backend."""
        networks = self._models.detector, self._models.regressor
        return " + ".join(f"{each.manifest.name} {each.precision} by {each.backend}" for each in networks)

    def tracks(self, film: Path, name: str, focal_px: float | None = None) -> Path:
        """Return the tracks file of a film or a still."""
        out = self.folder / f"{name.replace(' ', '-')}.parquet"
        process(film, out, replace(self.options, focal_px=focal_px), models=self._models)
        self.made[name] = out
        return out

    def scene_tracks(self, scene: Scene) -> list[Path]:
        """Return the tracks files of a scene's films, made with the known focal lengths."""
        films = zip(scene.cameras, scene.films, strict=True)
        return [self.tracks(film, f"{scene.name} {camera.name}", camera.focal_px) for camera, film in films]


def sightings_of(scene: Scene, seeds: list[Tracks], landmarker: Landmarker, folder: Path) -> Sightings:
    """Return what was seen of a scene's people; what the same code saw before from the same seeds is taken again."""
    code = [HERE / f"{name}.py" for name in ("scenes", "landmarks", "triangulate", "follow")]
    key = hashlib.sha256(source_table()["blazepose-heavy"]["member_sha256"].encode())
    for part in (*(path.read_bytes() for path in code), *(each.bbox_xyxy.tobytes() for each in seeds)):
        key.update(part)
    kept = folder / f"seen-{scene.name}-{key.hexdigest()[:12]}.npz"
    if not kept.is_file():
        part = kept.with_suffix(".part.npz")
        np.savez_compressed(part, **vars(follow(scene, seeds, landmarker)))
        part.replace(kept)
    with np.load(kept) as arrays:
        return Sightings(**arrays)


def judge_scenes(versions: list[Version], folder: Path) -> list[dict]:
    """Return the figures of all scenes, the cameras being moved to where the people of all scenes say they stand."""
    scenes, landmarker = load_scenes(), Landmarker()
    files = [[version.scene_tracks(scene) for version in versions] for scene in scenes]
    seen = [
        sightings_of(scene, [read_tracks(path) for path in made[0]], landmarker, folder)
        for scene, made in zip(scenes, files, strict=True)
    ]
    views = [each.views(LANDMARKS) for each in seen]
    by_all = adjusted(scenes[0].cameras, np.concatenate(views, axis=1))  # the same cameras filmed all scenes
    figures = []
    for k, (scene, each) in enumerate(zip(scenes, seen, strict=True)):
        by_others = adjusted(scene.cameras, np.concatenate(views[:k] + views[k + 1 :], axis=1))
        kinds = {"as given": scene.cameras, "moved by the other scenes": by_others, "moved by all scenes": by_all}
        told = {
            kind: own_error(refine(each.by(cameras), list(cameras), RATE), replace(scene, cameras=cameras))
            for kind, cameras in kinds.items()
        }
        scene = replace(scene, cameras=by_all)
        people = refine(each.by(by_all), list(by_all), RATE)
        found, confidences = judge_scene(scene, people, versions, files[k], landmarker)
        figures.append({"scene": scene.name, "truth": told, "figures": found, "confidence": confidences})
    return figures


def kept_scenes(folder: Path) -> list[tuple[Scene, People]]:
    """Return the scenes, cameras moved by all, and the people that an earlier run saw and kept in a folder."""
    scenes, seen = load_scenes(), []
    for scene in scenes:
        (path,) = folder.glob(f"seen-{scene.name}-*.npz")
        with np.load(path, allow_pickle=False) as arrays:
            seen.append(Sightings(**arrays))
    cameras = adjusted(scenes[0].cameras, np.concatenate([each.views(LANDMARKS) for each in seen], axis=1))
    return [
        (replace(scene, cameras=cameras), refine(each.by(cameras), list(cameras), RATE))
        for scene, each in zip(scenes, seen, strict=True)
    ]


def judge_scene(
    scene: Scene, people: People, versions: list[Version], files: list[list[Path]], landmarker: Landmarker
) -> tuple[dict[str, list[dict]], dict[str, list[dict]]]:
    """Return the figures of each version's tracks ``files``, by camera, and on rows that all found; and what is known
    of their own confidence."""
    totals: dict[tuple[str, str], Measured] = {}
    figures: dict[str, list[dict]] = {version.name: [] for version in versions}
    truths = [truth_of(people, scene, c, size_of(film)) for c, film in enumerate(scene.films)]
    found = [paired(scene, people, truths, made, landmarker) for made in files]
    for c, (camera, truth) in enumerate(zip(scene.cameras, truths, strict=True)):
        pairs = [each[c] for each in found]
        kinds = {"all": pairs} | ({"found by all versions": common(pairs)} if len(versions) > 1 else {})
        for kind, chosen in kinds.items():
            for version, each in zip(versions, chosen, strict=True):
                measured = measure(truth, each)
                off = {"up_off_deg": up_off_deg(files[versions.index(version)][c], camera)}
                figures[version.name].append({"rows": kind, **measured.facts(f"{scene.name} {camera.name}"), **off})
                if (version.name, kind) in totals:
                    totals[version.name, kind].add(measured)
                else:
                    totals[version.name, kind] = measured
    for (name, kind), total in totals.items():
        off = [each["up_off_deg"] for each in figures[name] if each["rows"] == kind and each["up_off_deg"] is not None]
        median = {"up_off_deg": float(np.median(off)) if off else None}
        figures[name].append({"rows": kind, **total.facts(scene.name), **median})
    confidences = {
        version.name: [
            confidence.facts(f"{scene.name} {column}", told)
            for column, told in confidence.together(totals[version.name, "all"].told).items()
        ]
        for version in versions
    }
    return figures, confidences


def paired(scene: Scene, people: People, truths: list[Truth], files: list[Path], landmarker: Landmarker) -> list[Pairs]:
    """Return what one version found in each film; rows of people whom the truth lacks are no false positives."""
    both = [read_both(file) for file in files]
    pairs = [
        pair(truth, table, load_body(meta["body"]["name"])) for truth, (table, meta) in zip(truths, both, strict=True)
    ]
    tables, unmatched = [table for table, _ in both], [each.false_positives for each in pairs]
    there = agreed_on(scene.cameras, people, tables, unmatched)
    rest = [np.setdiff1d(rows, known) for rows, known in zip(unmatched, there, strict=True)]
    wrong = [of_nobody(*each, landmarker) for each in zip(scene.films, truths, tables, rest, strict=True)]
    return [replace(each, false_positives=rows) for each, rows in zip(pairs, wrong, strict=True)]


def up_off_deg(file: Path, camera: Camera) -> float | None:
    """Return how far the up found in a film is from the true one, z of the scene; None if nobody stands."""
    table, meta = read_both(file)
    level = find_level(table, load_body(meta["body"]["name"]))
    return level and float(np.degrees(np.arccos(np.clip(level.up @ camera.turn[:, 2], -1, 1))))


def size_of(film: Path) -> tuple[int, int]:
    """Return a film's width and height as its header has them."""
    with open_source(film) as source:
        return source.info.width_px, source.info.height_px


def judge_rows(version: Version) -> list[dict]:
    """Return how many rows are implausible and how they jitter, of all tracks that the version made."""
    found = []
    for name, tracks in version.made.items():
        table, meta = read_both(tracks)
        size = meta["video"]["width_px"], meta["video"]["height_px"]
        found.append(rows.facts(name, table, load_body(meta["body"]["name"]), size))
    return found


def judge_labels(version: Version, media: Path | None) -> list[dict]:
    """Return recall and precision on those labelled files that the folder has, and on all stills together."""
    figures, stills = [], Sums()
    for name, known in labels.read_labels().items():
        path = media / name if media else None
        if path is None or not path.is_file():
            continue
        sums = labels.counts(labels.labelled(name, known["frames"]), read_tracks(version.tracks(path, path.stem)))
        figures.append(labels.facts(name, sums))
        if is_image(path):
            stills.add(sums)
    return figures + ([labels.facts("all stills", stills)] if stills.people else [])
