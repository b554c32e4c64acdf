"""Write USD by usd-core: animated skinned bodies or skeletons (UsdSkel), and the camera."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...files import cannot_write, folder_beside
from ...geometry import Array
from ...models.body import Body, vertex_normals
from ...names import printable
from ...optional import load
from ..colors import track_color
from ..motion import Y_UP, Piece, SceneFacts
from .table import FORMATS, check_ending

Values: TypeAlias = str | float | Sequence[str] | Array | NDArray[np.integer]
# The class of Vt that holds the values of an array type, and the dtype of its numbers.
ARRAYS = {
    "int[]": ("IntArray", "i4"),
    "float[]": ("FloatArray", "f4"),
    "float3[]": ("Vec3fArray", "f4"),
    "half3[]": ("Vec3hArray", "f2"),
    "point3f[]": ("Vec3fArray", "f4"),
    "normal3f[]": ("Vec3fArray", "f4"),
    "color3f[]": ("Vec3fArray", "f4"),
    "quatf[]": ("QuatfArray", "f4"),
    "matrix4d[]": ("Matrix4dArray", "f8"),
}
ROOT = "/World"
APERTURE_MM = 36.0


class Usd(NamedTuple):
    """The modules of usd-core that are used."""

    gf: ModuleType
    sdf: ModuleType
    tf: ModuleType
    usd: ModuleType
    usd_geom: ModuleType
    vt: ModuleType


def load_usd() -> Usd:
    """Return usd-core. Raises NotInstalledError if it is missing."""
    return Usd(
        *(load(f"pxr.{name}", 'pip install "cliffvid[usd]"') for name in ("Gf", "Sdf", "Tf", "Usd", "UsdGeom", "Vt"))
    )


class UsdStage:
    """Builds a file of prims and attributes. Y is up; units are metres, times are seconds of the video."""

    def __init__(self, path: Path, rate: float) -> None:
        self._usd, self._rate = load_usd(), rate
        self._stage = self._usd.usd.Stage.CreateNew(str(path))
        self._usd.usd_geom.SetStageUpAxis(self._stage, "Y")
        self._usd.usd_geom.SetStageMetersPerUnit(self._stage, 1.0)
        self._stage.SetTimeCodesPerSecond(rate)
        self._stage.SetFramesPerSecond(rate)
        self._stage.SetDefaultPrim(self._stage.DefinePrim(ROOT, "Xform"))

    def prim(self, path: str, kind: str, *schemas: str) -> None:
        """Add a prim of a type, with API schemas."""
        prim = self._stage.DefinePrim(path, kind)
        for schema in schemas:
            prim.AddAppliedSchema(schema)

    def set(
        self,
        path: str,
        kind: str,
        values: Values,
        time_s: float | None = None,
        *,
        uniform: bool = False,
        facts: Mapping[str, str | int] | None = None,
    ) -> None:
        """Set the attribute ``prim.name``, at a time or for all. ``facts``: its metadata."""
        prim, _, name = path.rpartition(".")
        sdf = self._usd.sdf
        variability = sdf.VariabilityUniform if uniform else sdf.VariabilityVarying
        attribute = self._stage.GetPrimAtPath(prim).CreateAttribute(
            name, sdf.ValueTypeNames.Find(kind), False, variability
        )
        for key, value in (facts or {}).items():
            attribute.SetMetadata(key, value)
        at = () if time_s is None else (self._usd.usd.TimeCode(time_s * self._rate),)
        attribute.Set(self._value(kind, values), *at)

    def point(self, path: str, target: str) -> None:
        """Let the relationship ``prim.name`` point to a prim."""
        prim, _, name = path.rpartition(".")
        self._stage.GetPrimAtPath(prim).CreateRelationship(name, False).SetTargets([target])

    def finish(self, start_s: float, end_s: float, comment: str) -> None:
        self._stage.SetStartTimeCode(start_s * self._rate)
        self._stage.SetEndTimeCode(end_s * self._rate)
        self._stage.SetMetadata("comment", comment)
        self._stage.Save()

    def _value(self, kind: str, values: Values) -> object:
        if kind == "token[]":
            return self._usd.vt.TokenArray(list(values))  # type: ignore[arg-type]
        if kind == "matrix4d":
            return self._usd.gf.Matrix4d(np.asarray(values, np.float64))
        if kind not in ARRAYS:
            return values
        name, dtype = ARRAYS[kind]
        return getattr(self._usd.vt, name).FromNumpy(np.ascontiguousarray(values, dtype))


def usd_file(tracks: list[list[Piece]], scene: SceneFacts, out: Path) -> bytes:
    """Return the file for these tracks, each a list of pieces in time order; a track is hidden between its pieces.

    Axes: y up, x right; the camera looks along -z, so a person facing it faces +z. It is above the origin, or there if
    no floor is known. Metres; a time sample at each row's own timestamp. The ending of ``out`` tells whether it is text
    (.usda).
    """
    check_ending(out, *FORMATS["usd"].endings)
    with folder_beside(out) as folder:
        path = folder / f"stage{out.suffix.lower()}"
        try:
            _write(path, tracks, scene)
        except UnicodeEncodeError:
            raise cannot_write(out, OSError(0, "usd-core takes only folders whose names are UTF-8")) from None
        except load_usd().tf.ErrorException as error:  # a list of errors, all of which follow from the first
            first = str(error).partition(" : '")[2].partition("'\n")[0].removesuffix("'")
            raise cannot_write(out, OSError(0, printable(first))) from None
        return path.read_bytes()


def _write(path: Path, tracks: list[list[Piece]], scene: SceneFacts) -> None:
    stage = UsdStage(path, scene.rate)
    _camera(stage, scene, tracks[0][0])
    for pieces in tracks:
        _person(stage, pieces, scene)
    every = [piece.time_s for pieces in tracks for piece in pieces]
    stage.finish(min(t[0] for t in every), max(t[-1] for t in every), f"cliffvid: {printable(scene.name)}")


def _camera(stage: UsdStage, scene: SceneFacts, piece: Piece) -> None:
    width, height = scene.size_px
    matrix = np.eye(4)
    matrix[:3, :3] = (Y_UP @ piece.level.axes @ Y_UP.T).T  # of row vectors
    matrix[3, 1] = -(piece.level.floor_m or 0)
    camera = f"{ROOT}/camera"
    stage.prim(camera, "Camera")
    stage.set(f"{camera}.xformOp:transform", "matrix4d", matrix)
    stage.set(f"{camera}.xformOpOrder", "token[]", ["xformOp:transform"], uniform=True)
    stage.set(f"{camera}.focalLength", "float", APERTURE_MM * scene.focal_px / width)
    stage.set(f"{camera}.horizontalAperture", "float", APERTURE_MM)
    stage.set(f"{camera}.verticalAperture", "float", APERTURE_MM * height / width)


def _person(stage: UsdStage, pieces: list[Piece], scene: SceneFacts) -> None:
    """Add a track: a SkelRoot with its skeleton, the animation of that, and the surface."""
    body, betas, track_id = scene.body, pieces[0].betas, pieces[0].track_id
    root = f"{ROOT}/track_{track_id}"
    rest = body.rest_joints(betas[None])[0]
    bones = [rest[j] - rest[p] if p >= 0 else rest[j] for j, p in enumerate(body.parents)]
    paths = joint_paths(body)
    stage.prim(root, "SkelRoot")
    stage.prim(f"{root}/skeleton", "Skeleton", "SkelBindingAPI")
    stage.set(f"{root}/skeleton.joints", "token[]", paths, uniform=True)
    stage.set(f"{root}/skeleton.bindTransforms", "matrix4d[]", _moves(rest), uniform=True)
    stage.set(f"{root}/skeleton.restTransforms", "matrix4d[]", _moves(np.array(bones)), uniform=True)
    stage.point(f"{root}/skeleton.skel:animationSource", f"{root}/animation")
    stage.prim(f"{root}/animation", "SkelAnimation")
    stage.set(f"{root}/animation.joints", "token[]", paths, uniform=True)
    stage.set(f"{root}/animation.scales", "half3[]", np.ones((len(paths), 3)))
    for piece in pieces:
        turns = np.zeros((len(piece), len(paths), 4))
        turns[..., 3] = 1
        turns[:, : piece.turns.shape[1]] = piece.turns
        for time_s, turn, pelvis in zip(piece.time_s.tolist(), turns, piece.pelvis_m, strict=True):
            stage.set(f"{root}/animation.rotations", "quatf[]", turn, time_s)
            stage.set(f"{root}/animation.translations", "float3[]", np.array([pelvis, *bones[1:]]), time_s)
    shown = [(0.0, "invisible")] if pieces[0].time_s[0] > 0 else []
    for piece in pieces:
        shown += [(piece.time_s[0], "inherited"), (piece.time_s[-1] + 1 / scene.rate, "invisible")]
    for time_s, word in shown:
        stage.set(f"{root}.visibility", "token", word, time_s)
    places = np.concatenate([piece.joints(body).reshape(-1, 3) for piece in pieces])
    reach = 0.0
    if not scene.skeleton_only:
        reach = _surface(stage, root, body, betas, track_id, rest)
    stage.set(f"{root}.extent", "float3[]", np.array([places.min(axis=0) - reach, places.max(axis=0) + reach]))


def _surface(stage: UsdStage, root: str, body: Body, betas: Array, track_id: int, rest: Array) -> float:
    """Add the mesh, and return how far from the joints it may be."""
    mesh, dirs = f"{root}/body", body.shape_dirs_m[: len(betas)]
    points = (body.rest_m + betas[: len(dirs)] @ dirs).reshape(3, -1).T
    joints, weights = body.influences
    each: dict[str, str | int] = {"interpolation": "vertex"}
    stage.prim(mesh, "Mesh", "SkelBindingAPI")
    stage.set(f"{mesh}.subdivisionScheme", "token", "none", uniform=True)
    stage.set(f"{mesh}.points", "point3f[]", points)
    stage.set(f"{mesh}.extent", "float3[]", np.array([points.min(axis=0), points.max(axis=0)]))
    stage.set(f"{mesh}.normals", "normal3f[]", vertex_normals(points, body.faces), facts=each)
    stage.set(f"{mesh}.faceVertexCounts", "int[]", np.full(len(body.faces), 3))
    stage.set(f"{mesh}.faceVertexIndices", "int[]", body.faces.reshape(-1))
    color = (np.array(track_color(track_id)) / 255) ** 2.2  # USD's colours are linear
    stage.set(f"{mesh}.primvars:displayColor", "color3f[]", color[None], facts={"interpolation": "constant"})
    influences = each | {"elementSize": joints.shape[1]}
    used = np.where(weights > 0, joints, 0)
    stage.set(f"{mesh}.primvars:skel:jointIndices", "int[]", used.reshape(-1), facts=influences)
    stage.set(f"{mesh}.primvars:skel:jointWeights", "float[]", weights.reshape(-1), facts=influences)
    stage.set(f"{mesh}.primvars:skel:geomBindTransform", "matrix4d", np.eye(4))
    stage.point(f"{mesh}.skel:skeleton", f"{root}/skeleton")
    reaches = np.linalg.norm(points[:, None] - rest[joints], axis=2)
    return float((weights * reaches).sum(axis=1).max())


def _moves(places: Array) -> Array:
    """Return matrices (J,4,4), of row vectors, that move to these places (J,3)."""
    moves: Array = np.tile(np.eye(4), (len(places), 1, 1))
    moves[:, 3, :3] = places
    return moves


def joint_paths(body: Body) -> list[str]:
    """Return the path of each joint from the root, as UsdSkel names joints: pelvis/left_hip/left_knee."""
    paths: list[str] = []
    for name, parent in zip(body.joint_names, body.parents, strict=True):
        paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
    return paths
