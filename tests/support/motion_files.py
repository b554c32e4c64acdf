"""Plain readers of motion files, by what their formats say and nothing of cliffvid: where each joint is, and when."""

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp


def bvh_joints(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Places (F,3) of each named joint, and the seconds between frames. Channels in whatever order the file says."""
    words = path.read_text().split()
    at = 1
    names, parents, offsets, channels, open_joints = [], [], [], [], []
    while words[at] != "MOTION":
        if words[at] in ("ROOT", "JOINT", "End"):
            names.append(words[at + 1] if words[at] != "End" else f"tip of {names[open_joints[-1]]}")
            parents.append(open_joints[-1] if open_joints else -1)
            channels.append([])
            offsets.append(None)
            open_joints.append(len(names) - 1)
            at += 3
        elif words[at] == "OFFSET":
            offsets[open_joints[-1]] = np.array(words[at + 1 : at + 4], float)
            at += 4
        elif words[at] == "CHANNELS":
            count = int(words[at + 1])
            channels[open_joints[-1]] = words[at + 2 : at + 2 + count]
            at += 2 + count
        else:
            assert words[at] == "}", words[at]
            open_joints.pop()
            at += 1
    assert not open_joints and words[at + 1] == "Frames:" and words[at + 3 : at + 5] == ["Frame", "Time:"]
    frames, step_s = int(words[at + 2]), float(words[at + 5])
    values = np.array(words[at + 6 :], float).reshape(frames, sum(map(len, channels)))
    places, turns, used = [], [], 0
    for parent, offset, kinds in zip(parents, offsets, channels, strict=True):
        place, turn = np.tile(offset, (frames, 1)), Rotation.identity(frames)
        for kind in kinds:
            if kind.endswith("position"):
                place[:, "XYZ".index(kind[0])] += values[:, used]
            else:
                turn = turn * Rotation.from_euler(kind[0], values[:, used, None], degrees=True)
            used += 1
        if parent >= 0:
            place = places[parent] + turns[parent].apply(place)
            turn = turns[parent] * turn
        places.append(place)
        turns.append(turn)
    return dict(zip(names, places, strict=True)), step_s


SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
KINDS = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "u1"}


class Gltf:
    """A .glb file: what its nodes do at a moment, and where its skinned vertices are then."""

    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.json = json.loads(data[20 : 20 + size])
        rest = data[20 + size :]
        size, kind = struct.unpack_from("<I4s", rest)
        assert kind == b"BIN\0" and size == len(rest) - 8 == -(-self.json["buffers"][0]["byteLength"] // 4) * 4
        self.binary = rest[8:]
        self.parents = {child: k for k, node in enumerate(self.json["nodes"]) for child in node.get("children", [])}
        self.names = {self._path(k): k for k in range(len(self.json["nodes"]))}
        assert len(self.names) == len(self.json["nodes"])

    def _path(self, k: int) -> str:
        """The name of a node that is a root, root/name of any other."""
        name, top = self.json["nodes"][k]["name"], k
        while top in self.parents:
            top = self.parents[top]
        return name if top == k else f"{self.json['nodes'][top]['name']}/{name}"

    def numbers(self, accessor: int) -> np.ndarray:
        what = self.json["accessors"][accessor]
        view, width = self.json["bufferViews"][what["bufferView"]], SIZES[what["type"]]
        assert view["byteOffset"] % 4 == 0
        kind = np.dtype(KINDS[what["componentType"]])
        values = np.frombuffer(self.binary, kind, what["count"] * width, view["byteOffset"])
        values = values.reshape(-1, width) if width > 1 else values
        if "min" in what:
            np.testing.assert_array_equal(np.atleast_1d(values.min(axis=0)), np.array(what["min"], kind))
            np.testing.assert_array_equal(np.atleast_1d(values.max(axis=0)), np.array(what["max"], kind))
        return values

    def at(self, time_s: float) -> list[np.ndarray]:
        """The matrix (4,4) of each node in the world."""
        local = []
        for node in self.json["nodes"]:
            local.append({"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]} | node)
        for channel in self.json["animations"][0]["channels"]:
            sampler = self.json["animations"][0]["samplers"][channel["sampler"]]
            times = self.numbers(sampler["input"]).astype(float)
            assert (np.diff(times) > 0).all() and times[0] >= 0
            values = self.numbers(sampler["output"]).astype(float)
            node, path = channel["target"]["node"], channel["target"]["path"]
            when = np.clip(time_s, times[0], times[-1])
            if sampler["interpolation"] == "STEP":
                value = values[np.searchsorted(times, when, side="right") - 1]
            elif path == "rotation":
                np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
                spans = Slerp(times, Rotation.from_quat(values)) if len(times) > 1 else None
                value = spans(when).as_quat() if spans else values[0]
            else:
                value = [np.interp(when, times, column) for column in values.T]
            local[node][path] = value
        world: list = [None] * len(local)

        def place(k: int) -> np.ndarray:
            if world[k] is None:
                own = np.eye(4)
                own[:3, :3] = Rotation.from_quat(local[k]["rotation"]).as_matrix() * np.array(local[k]["scale"])
                own[:3, 3] = local[k]["translation"]
                world[k] = place(self.parents[k]) @ own if k in self.parents else own
            return world[k]

        return [place(k) for k in range(len(local))]

    def skinned(self, node_name: str, world: list[np.ndarray]) -> np.ndarray:
        """Vertices (V,3) of a skinned node."""
        node = self.json["nodes"][self.names[node_name]]
        assert self.names[node_name] in self.json["scenes"][0]["nodes"]
        attributes = self.json["meshes"][node["mesh"]]["primitives"][0]["attributes"]
        skin = self.json["skins"][node["skin"]]
        binds = self.numbers(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moves = np.stack([world[joint] @ bind for joint, bind in zip(skin["joints"], binds, strict=True)])
        rest, joints, weights = (self.numbers(attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        rest = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
        return np.einsum("vk,vkij,vj->vi", weights, moves[joints], rest)[:, :3]
