"""Write glTF 2.0 as one binary file (.glb): animated skinned bodies or stick figures, and the camera.

No library is used: it would add an object for each line of JSON below, but no validation.
"""

import json
import struct
from typing import NotRequired, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from ...geometry import Array
from ...models.body import Body, vertex_normals
from ...rotations import axis_angle, quaternion
from ..colors import track_color
from ..motion import Y_UP, Piece, SceneFacts

Json: TypeAlias = dict[str, object]
FLOAT, UINT, USHORT, UBYTE = 5126, 5125, 5123, 5121
KINDS = {FLOAT: "<f4", UINT: "<u4", USHORT: "<u2", UBYTE: "u1"}
VERTICES, INDICES = 34962, 34963
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
STICK = 0.12  # width of a skeleton's bone, relative to its length


class Primitive(TypedDict):
    """A triangle mesh: the indices of its accessors."""

    indices: int
    attributes: dict[str, int]
    material: NotRequired[int]


class Glb:
    """Builds a file: lists of glTF objects, and the binary block that accessors refer to."""

    def __init__(self) -> None:
        self.nodes: list[Json] = []
        self.meshes: list[Json] = []
        self.skins: list[Json] = []
        self.materials: list[Json] = []
        self.samplers: list[Json] = []
        self.channels: list[Json] = []
        self._views: list[Json] = []
        self._accessors: list[Json] = []
        self._data = bytearray()

    def add(
        self,
        values: Array | NDArray[np.integer],
        kind: int,
        shape: str,
        target: int | None = None,
        bounds: bool = False,
    ) -> int:
        """Add an accessor for these numbers and return its index."""
        array = np.ascontiguousarray(values, KINDS[kind])
        self._data += bytes(-len(self._data) % 4)
        view: Json = {"buffer": 0, "byteOffset": len(self._data), "byteLength": array.nbytes}
        self._views.append(view | ({"target": target} if target else {}))
        self._data += array.tobytes()
        accessor: Json = {"bufferView": len(self._views) - 1, "componentType": kind, "count": len(array), "type": shape}
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def node(self, **what: object) -> int:
        self.nodes.append(what)
        return len(self.nodes) - 1

    def animate(self, node: int, path: str, times: int, values: int, how: str = "LINEAR") -> None:
        self.samplers.append({"input": times, "output": values, "interpolation": how})
        self.channels.append({"sampler": len(self.samplers) - 1, "target": {"node": node, "path": path}})

    def file(self, name: str, roots: list[int], **more: object) -> bytes:
        document = {
            "asset": {"version": "2.0", "generator": "cliffvid"},
            "scene": 0,
            "scenes": [{"name": name, "nodes": roots}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "skins": self.skins,
            "materials": self.materials,
            "animations": [{"name": name, "samplers": self.samplers, "channels": self.channels}],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(document | more, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self._data) + bytes(-len(self._data) % 4)
        head = struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(data))
        chunks = [
            struct.pack("<II", len(part), kind) + part for part, kind in ((text, JSON_CHUNK), (data, BINARY_CHUNK))
        ]
        return head + b"".join(chunks)


def glb(tracks: list[list[Piece]], scene: SceneFacts) -> bytes:
    """Return the file for these tracks, each a list of pieces in time order; a track is hidden between its pieces.

    Axes: y up, x right; the camera looks along -z, so a person facing it faces +z. It is above the origin, or there if
    no floor is known. Units: metres, and seconds of the video; each row is a keyframe at its own timestamp. Bones have
    the body's names, the same for each person.
    """
    file = Glb()
    skin = None if scene.skeleton_only else _shared(file, scene.body)
    width, height = scene.size_px
    camera = {
        "aspectRatio": width / height,
        "yfov": float(2 * np.arctan(height / 2 / scene.focal_px)),
        "znear": 0.05,
    }
    level = tracks[0][0].level
    held = quaternion(axis_angle(Y_UP @ level.axes @ Y_UP.T))
    roots = [
        file.node(
            name="camera",
            camera=0,
            translation=[0, -(level.floor_m or 0), 0],
            rotation=held.tolist(),
            extras={"up_in_camera": level.up.tolist(), "floor_m": level.floor_m, "up_sigma_deg": level.sigma_deg},
        )
    ]
    for pieces in tracks:
        roots += _person(file, pieces, scene.body, 1 / scene.rate, skin)
    return file.file(scene.name, roots, cameras=[{"type": "perspective", "name": "camera", "perspective": camera}])


def _shared(file: Glb, body: Body) -> Primitive:
    """Return the attributes that all bodies share: faces, skinning joints and weights."""
    joints, weights = body.influences
    small = body.faces.max() < 65535
    return {
        "indices": file.add(body.faces.reshape(-1), USHORT if small else UINT, "SCALAR", INDICES),
        "attributes": {
            "JOINTS_0": file.add(np.where(weights > 0, joints, 0), UBYTE, "VEC4", VERTICES),
            "WEIGHTS_0": file.add(weights, FLOAT, "VEC4", VERTICES),
        },
    }


def _person(file: Glb, pieces: list[Piece], body: Body, step_s: float, skin: Primitive | None) -> list[int]:
    """Add a track and return its two nodes: the skeleton and the mesh skinned to it."""
    track_id, betas = pieces[0].track_id, pieces[0].betas
    rest = body.rest_joints(betas[None])[0]
    bones = [rest[j] - rest[p] if p >= 0 else np.zeros(3) for j, p in enumerate(body.parents)]
    first = len(file.nodes)
    for j, bone in enumerate(bones):
        children = [first + k for k, parent in enumerate(body.parents) if parent == j]
        more = {"children": children} if children else {}
        file.node(name=body.joint_names[j], translation=bone.tolist(), **more)
    person = file.node(name=f"track_{track_id}", children=[first])
    _keys(file, pieces, first, person, step_s)
    binds = np.tile(np.eye(4), (len(rest), 1, 1))
    binds[:, 3, :3] = -rest  # column-major
    binds_at = file.add(binds.reshape(len(rest), 16), FLOAT, "MAT4")
    file.skins.append({"inverseBindMatrices": binds_at, "joints": list(range(first, person)), "skeleton": person})
    red, green, blue = (np.array(track_color(track_id)) / 255) ** 2.2  # glTF's colours are linear
    look = {"baseColorFactor": [red, green, blue, 1], "metallicFactor": 0, "roughnessFactor": 0.8}
    file.materials.append({"name": f"track_{track_id}", "pbrMetallicRoughness": look})
    shape = _surface(file, body, betas, skin) if skin else _sticks(file, rest, body.parents)
    file.meshes.append({"primitives": [shape | {"material": len(file.materials) - 1}]})
    drawn = file.node(name=f"track_{track_id}_body", mesh=len(file.meshes) - 1, skin=len(file.skins) - 1)
    return [person, drawn]


def _keys(file: Glb, pieces: list[Piece], first: int, person: int, step_s: float) -> None:
    times = file.add(np.concatenate([p.time_s for p in pieces]), FLOAT, "SCALAR", bounds=True)
    turns = np.concatenate([p.turns for p in pieces])
    file.animate(first, "translation", times, file.add(np.concatenate([p.pelvis_m for p in pieces]), FLOAT, "VEC3"))
    for j in range(turns.shape[1]):
        file.animate(first + j, "rotation", times, file.add(turns[:, j], FLOAT, "VEC4"))
    shown = [(0.0, 0.0)] if pieces[0].time_s[0] > 0 else []
    for piece in pieces:
        shown += [(piece.time_s[0], 1.0), (piece.time_s[-1] + step_s, 0.0)]
    when, size = (np.array(column) for column in zip(*shown, strict=True))
    sizes = file.add(np.repeat(size[:, None], 3, axis=1), FLOAT, "VEC3")
    file.animate(person, "scale", file.add(when, FLOAT, "SCALAR", bounds=True), sizes, "STEP")


def _surface(file: Glb, body: Body, betas: Array, skin: Primitive) -> Primitive:
    dirs = body.shape_dirs_m[: len(betas)]
    rest = (body.rest_m + betas[: len(dirs)] @ dirs).reshape(3, -1).T
    own = {
        "POSITION": file.add(rest, FLOAT, "VEC3", VERTICES, bounds=True),
        "NORMAL": file.add(vertex_normals(rest, body.faces), FLOAT, "VEC3", VERTICES),
    }
    return skin | {"attributes": own | skin["attributes"]}


def _sticks(file: Glb, rest: Array, parents: tuple[int, ...]) -> Primitive:
    """Return a mesh with each bone as a thin octahedron from parent to child joint, skinned to the parent only."""
    points, follows = [], []
    for j, parent in enumerate(parents):
        bone = rest[j] - rest[parent]
        if parent < 0 or not bone.any():
            continue
        side = np.cross(bone, np.eye(3)[np.abs(bone).argmin()])
        side *= STICK * np.linalg.norm(bone) / np.linalg.norm(side) / 2
        other = np.cross(bone / np.linalg.norm(bone), side)
        belt = rest[parent] + 0.2 * bone
        points += [rest[parent], rest[j], belt + side, belt + other, belt - side, belt - other]
        follows += [parent] * 6
    one = [[end, 2 + (k + 1 - end) % 4, 2 + (k + end) % 4] for end in (0, 1) for k in range(4)]
    faces = np.concatenate([np.array(one) + start for start in range(0, len(points), 6)])
    joints = np.zeros((len(points), 4))
    joints[:, 0] = follows
    return {
        "indices": file.add(faces.reshape(-1), USHORT, "SCALAR", INDICES),
        "attributes": {
            "POSITION": file.add(np.array(points), FLOAT, "VEC3", VERTICES, bounds=True),
            "JOINTS_0": file.add(joints, UBYTE, "VEC4", VERTICES),
            "WEIGHTS_0": file.add(np.eye(1, 4).repeat(len(points), axis=0), FLOAT, "VEC4", VERTICES),
        },
    }
